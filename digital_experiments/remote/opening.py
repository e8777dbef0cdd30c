"""Buckets opened, and looked into for stores; where on this machine they are worked on."""

from __future__ import annotations

import atexit
import json
import os
import re
from contextlib import suppress
from functools import lru_cache

from digital_experiments.digest import short_hash
from digital_experiments.errors import BucketUnreachable, InvalidName, OfflineWarning
from digital_experiments.faults import warn_user
from digital_experiments.files import make_folder, read_bytes
from digital_experiments.remote.buckets import Bucket, Found
from digital_experiments.remote.filesystems import bucket_by_fsspec
from digital_experiments.remote.journal import has_journals
from digital_experiments.remote.names import is_safe, listed
from digital_experiments.remote.places import Place, is_for_obstore
from digital_experiments.store.layout import BLOBS, NOTES, RUNNING, STORAGE, TRASH
from digital_experiments.store.progress import progress
from digital_experiments.store.records import record_names, split_name

PLACE = ".place.json"
"""What tells whose working copy a folder is, in the folder."""

SEEN = ".seen.json"
"""What was in a bucket when it was last looked at, in the folder of the working copy."""


def bucket_of(place: Place) -> Bucket:
    """What asks the bucket of a place, in this process.

    Raises
    ------
    ImportError
        If the package that it needs is not installed.
    """
    if place.filesystem is None and is_for_obstore(place.scheme):
        from digital_experiments.remote import objects

        if objects.is_usable():
            return objects.ObjectBucket(place)
        from digital_experiments.remote.agent import AgentBucket

        return AgentBucket(place)
    return bucket_by_fsspec(place)


def folder_for(place: Place) -> str:
    """The folder in which the store at a place is worked on."""
    inside = _temporary(os.getpid()) if place.is_in_process else copies_folder()
    readable = re.sub(r"[^\w.-]", "_", place.name)[:40].lstrip(".")
    return f"{inside}/{readable}-{short_hash(place.key.encode())[:12]}"


@lru_cache(maxsize=1)
def _temporary(pid: int) -> str:
    """A folder that is gone with this process, as is what is kept in its memory."""
    import shutil
    import tempfile

    def remove() -> None:
        if os.getpid() == pid:  # its children end too
            shutil.rmtree(folder, ignore_errors=True)

    folder = tempfile.mkdtemp(prefix="digital_experiments-")
    atexit.register(remove)
    return folder


def copies_folder() -> str:
    """The folder of the working copies: it holds what has not gone up yet."""
    place = os.environ.get("DE_DATA_DIR")
    if not place:
        import platformdirs

        place = platformdirs.user_data_dir("digital_experiments", appauthor=False)
    return os.path.join(os.path.expanduser(place), "copies")


def download(bucket: Bucket, found: dict[str, Found], folder: str) -> None:
    """Write files of objects into a folder, many at a time, those that are not there yet.

    Raises
    ------
    InvalidName
        If a name points out of the folder.
    """
    calls: list[tuple[str, str, str]] = []
    empty: list[tuple[str, str, str]] = []
    for name, it in found.items():
        path = f"{folder}/{name}"
        if not is_safe(name):
            raise InvalidName(
                f"{name!r:.300} in the bucket can't be the name of a file here: it points out of "
                "its folder, or is too long."
            )
        if not os.path.isfile(path) or os.path.getsize(path) != it.size:
            (calls if it.size else empty).append(("download", name, path))
    for parent in {os.path.dirname(path) for _, _, path in calls + empty}:
        make_folder(parent)
    with progress(len(calls) + len(empty), "Fetching files") as advance:
        bucket.each(calls, advance)
        for answer in bucket.many(empty, advance):
            if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                raise answer  # else it stands for a folder


def fetched_all(place: Place, folder: str) -> str:
    """A folder that holds the files of all objects at a place."""
    bucket = bucket_of(place)
    download(bucket, bucket.below(""), folder)
    return folder


def is_on_bucket(place: Place) -> bool:
    """Whether there is a store at a place.

    Raises
    ------
    BucketUnreachable
        If the bucket does not answer.
    """
    bucket = bucket_of(place)
    return _holds_store(bucket, bucket.here(""))


def stores_on_bucket(place: Place) -> list[Place]:
    """The stores that lie at a place, sorted by name.

    Raises
    ------
    BucketUnreachable
        If the bucket does not answer, and this machine has seen none of them before.
    """
    try:
        return _stores_there(place)
    except BucketUnreachable as problem:
        known = known_stores(place)
        if not known:
            raise
        warn_user(f"{problem} Told are the stores that this machine has seen.", OfflineWarning)
        return known


def known_stores(place: Place) -> list[Place]:
    """The stores at a place that this machine has seen, sorted by name."""
    inside = [known for known in known_places() if known.uri.rpartition("/")[0] == place.uri]
    children = [place.child(known.name) for known in inside]
    return sorted((c for c in children if is_known(folder_for(c))), key=lambda child: child.uri)


def known_places() -> list[Place]:
    """Where the stores lie of which this machine has working copies."""
    found = []
    for name in sorted(listed(copies_folder(), folders=True)):
        with suppress(OSError, ValueError, KeyError):
            told = json.loads(read_bytes(f"{copies_folder()}/{name}/{PLACE}"))
            account, _, server = (told.get("account") or "").partition(" ")
            options = {"endpoint_url": told.get("endpoint")}
            options.update(account_name=account, endpoint=server)
            found.append(Place(told["uri"], {k: v for k, v in options.items() if v}))
    return found


def _stores_there(place: Place) -> list[Place]:
    bucket = bucket_of(place)
    _, folders = bucket.here("")
    looks = bucket.each([("here", folder) for folder in folders])
    inside = [name for name, look in zip(folders, looks, strict=True) if _holds_store(bucket, look)]
    return [place.child(name) for name in sorted(inside) if is_safe(name)]


def _holds_store(bucket: Bucket, look: tuple[dict[str, Found], list[str]]) -> bool:
    """Whether a folder holds records, or what runs leave; experiments may be named like that."""
    files, folders = look
    if any(split_name(name.rpartition("/")[2]) is not None for name in files):
        return True
    parts = [f for f in folders if f.rpartition("/")[2] in (BLOBS, STORAGE, RUNNING, NOTES, TRASH)]
    return any(f"{part}/{BLOBS}" not in bucket.here(part)[1] for part in parts)


def is_known(folder: str) -> bool:
    """Whether a working copy holds something of its store."""
    is_listed = os.path.exists(f"{folder}/{SEEN}")
    return is_listed or has_journals(folder) or bool(record_names(folder))
