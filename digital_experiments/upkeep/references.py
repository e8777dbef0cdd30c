"""Which blobs the records of a store name. Runs and unpickles nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

from digital_experiments.errors import DamagedRecord
from digital_experiments.files import read_bytes
from digital_experiments.store.layout import BLOBS, blob_folder
from digital_experiments.values import Plain

BLOB_NAME = re.compile(r"[0-9a-f]{64}\.(?:txt|json|pkl|cloudpickle)")
_NAME_BYTES = re.compile(BLOB_NAME.pattern.encode())
_HOLD_NAMES = (".json", ".pkl")


def names_in(data: bytes) -> set[str]:
    """Whatever in the bytes of a record looks like the name of a blob, damaged or not."""
    return {name.decode() for name in _NAME_BYTES.findall(data)}


def with_inner(root: str, names: Iterable[str]) -> set[str]:
    """Blobs, and those that are named in them."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name.endswith(_HOLD_NAMES):
            with suppress(OSError):
                waiting.extend(names_in(read_bytes(f"{blob_folder(root, name)}/{name}")))
    return found


def blob_names(root: str) -> Iterator[str]:
    """The names of all blobs that are there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for folder in sorted(os.listdir(f"{root}/{BLOBS}")):
            with suppress(FileNotFoundError, NotADirectoryError):
                for name in os.listdir(f"{root}/{BLOBS}/{folder}"):
                    if BLOB_NAME.fullmatch(name):
                        yield name


def tagged(plain: Plain, place: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The blobs that plain data names by a tag, each with its place there."""
    if type(plain) is dict:
        name = plain.get("$blob")
        if isinstance(name, str):
            yield name, place
        for key, item in plain.items():
            if key != "$blob":
                yield from tagged(item, (*place, str(key)))
    elif type(plain) in (list, tuple):
        for number, item in enumerate(plain):
            yield from tagged(item, (*place, str(number)))


def problem_with(root: str, name: str) -> str | None:
    """What is wrong with a blob: it is missing, or its content is not what its name says."""
    from digital_experiments.store.blobs import Blobs

    try:
        Blobs(root).bytes_of(name)
    except DamagedRecord as problem:
        return str(problem)
    return None
