"""Pointers from code and config to the observation that has the result. Runs nothing.

``cache/<2 digits>/<key>`` holds one id. A pointer only saves a search: it may be missing or
point at an observation that is gone, and deleting all of them loses nothing.
"""

from __future__ import annotations

from digital_experiments.files import read_bytes, write_atomic
from digital_experiments.store.layout import cache_folder


def find(root: str, key: str) -> str | None:
    """The id that a key points at, if any."""
    try:
        return read_bytes(f"{cache_folder(root, key)}/{key}").decode() or None
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None


def point(root: str, key: str, id: str) -> None:
    """Let a key point at an observation from now on."""
    write_atomic(cache_folder(root, key), key, id.encode())
