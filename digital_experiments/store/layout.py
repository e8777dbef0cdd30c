"""Where in a store's folder things lie. Reads and writes nothing."""

from __future__ import annotations

from digital_experiments.ids import check_id

STORAGE = "storage"
BLOBS = "blobs"
CACHE = "cache"
RUNNING = "running"
CLAIMS = "claims"
NOTES = "notes"
STUDIES = "studies"
TRASH = "trash"
DAMAGED = "damaged"
ELSEWHERE = "elsewhere.txt"
"""The list of the observations that came from elsewhere, so that their pickles are not trusted."""

PURGED = "purged-"
"""How the lists of ids in the trash begin that were removed for good."""

ASIDE = ".collected-"
"""How folders of blobs begin that a collection has not decided on yet."""


def storage_folder(root: str, id: str) -> str:
    """The folder of the files that a run left."""
    return f"{root}/{STORAGE}/{check_id(id)}"


def blob_folder(root: str, name: str) -> str:
    """The folder of a blob, by the first two digits of its hash."""
    return f"{root}/{BLOBS}/{name[:2]}"


def cache_folder(root: str, key: str) -> str:
    """The folder of the pointer from a fingerprint and a config to an observation's id."""
    return f"{root}/{CACHE}/{key[:2]}"


def shared_folder(root: str) -> str:
    """The folder of locks and journals by which processes work together for a while."""
    return f"{root}/{CLAIMS}/shared"
