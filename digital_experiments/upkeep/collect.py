"""Blobs that nothing refers to, removed while others write.

A writer makes the temporary file of its record first, then looks which blobs are there, then
gives the record its name. So: blobs without a reference are moved aside; every writer that had
begun before is waited for; what the records written meanwhile refer to is moved back; only the
rest is removed. Where a writer takes too long, all is moved back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from digital_experiments.files import abandoned, in_flight, make_folder, read_many
from digital_experiments.ids import FULL_ID, new_id
from digital_experiments.store.flight import landed
from digital_experiments.store.layout import (
    ASIDE,
    BLOBS,
    CACHE,
    DAMAGED,
    NOTES,
    RUNNING,
    STUDIES,
    TRASH,
    blob_folder,
    shared_folder,
)
from digital_experiments.store.progress import progress
from digital_experiments.store.records import record_names
from digital_experiments.upkeep.references import blob_names, names_in, with_inner

_PATIENCE = 10.0  # seconds that writers are waited for
_UNUSED = 30 * 86_400.0  # seconds after which what processes share is not needed any more
_OLD = 3600.0  # seconds after which what is aside was left by a kill


class Collected(NamedTuple):
    """What a collection removed.

    Attributes
    ----------
    blobs : list of str
        Their names.
    bytes : int
        What they took.
    leftovers : int
        How many files of killed writers, and pointers to what is gone, were removed too.
    postponed : bool
        Whether nothing was removed because a writer took too long.
    """

    blobs: list[str]
    bytes: int
    leftovers: int
    postponed: bool


def collect(root: str, dry_run: bool = False) -> Collected:
    """Remove the blobs that no record refers to: in the store, its trash, or set aside."""
    put_back(root)
    seen: set[str] = set()
    kept = with_inner(root, _references(root, seen))
    unused = sorted(set(blob_names(root)) - kept)
    sizes = {name: _size(root, name) for name in unused}
    if dry_run:
        return Collected(unused, sum(sizes.values()), 0, postponed=False)
    removed = _remove(root, unused, seen) if unused else []
    if removed is None:
        return Collected([], 0, 0, postponed=True)
    size = sum(sizes[name] for name in removed)
    return Collected(removed, size, _leftovers(root), postponed=False)


def _remove(root: str, unused: list[str], seen: set[str]) -> list[str] | None:
    """Remove blobs, except those that a writer has come to need; None if that can't be told."""
    aside = f"{root}/{BLOBS}/{ASIDE}{new_id()}"
    make_folder(aside)  # a change of the folder, at which writers look blobs up anew
    for name in unused:
        with suppress(FileNotFoundError):
            os.replace(f"{blob_folder(root, name)}/{name}", f"{aside}/{name}")
    settled = _wait_for_writers(root)
    needed = _references(root, seen) if settled else set(unused)
    for name in with_inner_aside(root, aside, needed):
        _return(root, aside, name)
    removed = sorted(os.listdir(aside))
    for name in removed:
        with suppress(FileNotFoundError):
            os.unlink(f"{aside}/{name}")
    with suppress(OSError):
        os.rmdir(aside)
    return removed if settled else None


def with_inner_aside(root: str, aside: str, names: set[str]) -> set[str]:
    """Of some blobs those that were moved aside, and those named in them."""
    moved = set(os.listdir(aside))
    needed = with_inner(root, names)
    waiting = list(needed & moved)
    while waiting:
        for data in read_many(aside, [waiting.pop()]):
            inner = names_in(data) & moved - needed if isinstance(data, bytes) else set()
            needed |= inner
            waiting.extend(inner)
    return needed & moved


def _return(root: str, aside: str, name: str) -> None:
    folder = blob_folder(root, name)
    make_folder(folder)
    with suppress(FileNotFoundError):
        os.replace(f"{aside}/{name}", f"{folder}/{name}")


def put_back(root: str, older_than: float = _OLD) -> int:
    """Move back what a killed collection left aside, and return how many blobs that were."""
    count = 0
    for aside in left_aside(root, older_than):
        for name in os.listdir(aside):
            _return(root, aside, name)
            count += 1
        with suppress(OSError):
            os.rmdir(aside)
    return count


def left_aside(root: str, older_than: float = _OLD) -> list[str]:
    """The folders of collections that were begun so many seconds ago and are still there."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(f"{root}/{BLOBS}"):
            path = f"{root}/{BLOBS}/{name}"
            if name.startswith(ASIDE) and time.time() - os.stat(path).st_mtime >= older_than:
                found.append(path)
    return found


def _references(root: str, seen: set[str]) -> set[str]:
    """The blobs that records name which were not looked at before."""
    found: set[str] = set()
    for folder in (root, f"{root}/{TRASH}", f"{root}/{DAMAGED}"):
        names = [n for n in record_names(folder) if f"{folder}/{n}" not in seen]
        with progress(len(names), f"Reading {folder}") as advance:
            for name, data in zip(names, read_many(folder, names), strict=True):
                advance(1)
                if isinstance(data, OSError):
                    raise data  # what it refers to can't be told
                if data is not None:
                    seen.add(f"{folder}/{name}")
                    found |= names_in(data)
    return found


def _wait_for_writers(root: str) -> bool:
    """Wait until every record that is being written now has its name."""
    waiting = set(in_flight(root))
    until = time.monotonic() + _PATIENCE
    while waiting and time.monotonic() < until:
        time.sleep(0.02)
        waiting &= set(in_flight(root))
    return not waiting


def _leftovers(root: str) -> int:
    """Remove what killed writers left, and pointers to observations that are gone."""
    removed = 0
    for path in [*leftovers(root), *dead_pointers(root)]:
        with suppress(FileNotFoundError):
            os.unlink(path)
            removed += 1
    return removed


def _folders(root: str) -> list[str]:
    """The folders into which records, blobs, pointers, notes and plans are written."""
    found = [root, f"{root}/{NOTES}", f"{root}/{RUNNING}"]
    for place in (f"{root}/{BLOBS}", f"{root}/{CACHE}", f"{root}/{STUDIES}"):
        with suppress(FileNotFoundError, NotADirectoryError):
            found += [f"{place}/{name}" for name in os.listdir(place)]
    return found


def leftovers(root: str) -> list[str]:
    """The paths of the temporary files that killed writers left."""
    torn = [f"{folder}/{name}" for folder in _folders(root) for name in abandoned(folder)]
    return torn + landed(root) + _unused(root)


def _unused(root: str) -> list[str]:
    """The files by which processes worked together, long ago."""
    found = []
    folder = shared_folder(root)
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):
                if time.time() - os.stat(f"{folder}/{name}").st_mtime > _UNUSED:
                    found.append(f"{folder}/{name}")
    return found


def dead_pointers(root: str) -> list[str]:
    """The paths of pointers to observations that are gone, or to none at all."""
    ids = {id for id, _ in record_names(root).values()}
    return [path for path, id in _pointers(root) if id not in ids]


def wrong_pointers(root: str) -> list[str]:
    """The paths of pointers that hold no id at all."""
    return [path for path, id in _pointers(root) if not FULL_ID.fullmatch(id)]


def _pointers(root: str) -> Iterator[tuple[str, str]]:
    """The path of each pointer of the cache, and the id that it holds."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for part in os.listdir(f"{root}/{CACHE}"):
            folder = f"{root}/{CACHE}/{part}"
            names = [n for n in os.listdir(folder) if n[0] != "."]
            for name, data in zip(names, read_many(folder, names), strict=True):
                if isinstance(data, bytes):
                    text = data.decode(errors="replace")
                    yield f"{folder}/{name}", text.partition(" ")[0]  # of a step a blob follows


def _size(root: str, name: str) -> int:
    with suppress(OSError):
        return os.stat(f"{blob_folder(root, name)}/{name}").st_size
    return 0
