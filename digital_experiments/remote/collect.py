"""Blobs of a bucket that nothing names, removed while others write.

A writer looks whether a blob is there at most a few seconds before it writes the record that names
it; where that takes longer it looks again afterwards. So: what nothing names is moved aside; after
that time all records are looked at again; what they name by now is moved back, the rest is removed.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from digital_experiments.files import abandoned, read_many
from digital_experiments.ids import new_id
from digital_experiments.store.layout import ASIDE, BLOBS, DAMAGED, TRASH
from digital_experiments.store.progress import progress
from digital_experiments.store.records import record_names
from digital_experiments.upkeep.collect import Collected
from digital_experiments.upkeep.references import BLOB_NAME, names_in, with_inner

if TYPE_CHECKING:
    from digital_experiments.remote.copies import WorkingCopy

WAIT = 8.0
"""Seconds that are waited for writers: more than twice what a blob is taken to be there for."""

_OLD = 3600.0  # seconds after which what is aside was left by a kill


def collect(copy: WorkingCopy, dry_run: bool) -> Collected:
    """Remove the blobs that no record names: in the store, its trash, or set aside."""
    copy.refresh()
    if not dry_run:
        _remove_torn(copy.folder)
    there = copy.bucket.below(BLOBS)
    _put_back(copy, [name for name, it in there.items() if _is_left(name, it.modified)])
    blobs = {name: it.size for name, it in there.items() if f"/{ASIDE}" not in name}
    named = _named(copy)
    unused = {n: size for n, size in blobs.items() if BLOB_NAME.fullmatch(_last(n))}
    unused = {n: size for n, size in unused.items() if _last(n) not in named}
    if dry_run or not unused:
        return Collected(sorted(map(_last, unused)), sum(unused.values()), 0, postponed=False)
    aside = f"{BLOBS}/{ASIDE}{new_id()}"
    copy.bucket.each([("copy", name, f"{aside}/{_last(name)}") for name in unused])
    copy.bucket.each([("remove", name) for name in unused])
    _wait()
    copy.refresh()
    needed = [name for name in unused if _last(name) in _named(copy)]
    _put_back(copy, [f"{aside}/{_last(name)}" for name in needed])
    gone = [name for name in unused if name not in needed]
    copy.bucket.each([("remove", f"{aside}/{_last(name)}") for name in gone])
    return Collected(
        sorted(map(_last, gone)), sum(unused[name] for name in gone), 0, postponed=False
    )


def _remove_torn(folder: str) -> None:
    """Remove files of the working copy whose writers were killed, but for journals."""
    for place, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        for name in abandoned(place):
            with suppress(FileNotFoundError):
                os.unlink(f"{place}/{name}")


def _named(copy: WorkingCopy) -> set[str]:
    """The blobs that are named in any record."""
    found: set[str] = set()
    for folder in (copy.folder, f"{copy.folder}/{TRASH}", f"{copy.folder}/{DAMAGED}"):
        for data in read_many(folder, list(record_names(folder))):
            if isinstance(data, OSError):
                raise data  # what it names can't be told
            found |= names_in(data or b"")
    return with_inner(copy.folder, found)


def _is_left(name: str, modified: float) -> bool:
    return f"/{ASIDE}" in name and time.time() - modified > _OLD


def _put_back(copy: WorkingCopy, names: list[str]) -> None:
    pairs = [(name, f"{BLOBS}/{_last(name)[:2]}/{_last(name)}") for name in names]
    copy.bucket.each([("copy", *pair) for pair in pairs])
    copy.bucket.each([("remove", name) for name in names])


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _wait() -> None:
    """Wait for writers, and show that."""
    with progress(int(WAIT * 10), "Waiting for whoever records now") as advance:
        for _ in range(int(WAIT * 10)):
            time.sleep(0.1)
            advance(1)
