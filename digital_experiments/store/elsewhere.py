"""Which observations came from elsewhere: their pickles are loaded only for who trusts them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache

from digital_experiments.files import append, make_folder, read_bytes
from digital_experiments.store.layout import ELSEWHERE

_TRUSTED = "\t"  # no id holds one


def note_elsewhere(root: str, ids: Iterable[str]) -> None:
    """Take note that observations came from elsewhere, before they come."""
    lines = "".join(f"{id}\n" for id in ids)
    if lines:
        make_folder(root)
        append(f"{root}/{ELSEWHERE}", lines.encode())


def note_trusted(root: str, ids: Iterable[str]) -> None:
    """Take note that observations are trusted from now on, wherever they came from."""
    lines = "".join(f"{_TRUSTED}{id}\n" for id in ids if is_from_elsewhere(root, id))
    if lines:
        append(f"{root}/{ELSEWHERE}", lines.encode())


def is_from_elsewhere(root: str, id: str) -> bool:
    """Whether an observation was brought from a bucket, rather than made here."""
    path = f"{root}/{ELSEWHERE}"
    try:
        status = os.stat(path)
    except OSError:
        return False
    return id in _ids(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _ids(path: str, size: int, changed: int) -> frozenset[str]:
    found: set[str] = set()
    for line in read_bytes(path).decode().split("\n"):
        if line.startswith(_TRUSTED):
            found.discard(line.removeprefix(_TRUSTED))
        else:
            found.add(line)
    return frozenset(found)
