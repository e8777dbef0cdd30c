"""Large tables that were read once, kept beside the index until it changes. Runs no query.

A column of one type of number is kept as the bytes of an array, one of texts as one text, any
other as plain data.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from digital_experiments.digest import short_hash
from digital_experiments.errors import DamagedRecord
from digital_experiments.files import read_bytes, write_atomic
from digital_experiments.store.codecs import load_pickle

LARGE = 20_000
"""Rows from which on a table is worth keeping."""

Packed = tuple[str, Any]
"""What a column holds, and its content."""

_KEPT = 4
_NUMBERS = ("d", "q")


def pack(columns: Sequence[Sequence[Any]]) -> bytes:
    """Columns as bytes."""
    return pickle.dumps([_packed(column) for column in columns], 5)


def join(parts: Sequence[Packed]) -> Sequence[Any]:
    """One column of several that follow each other."""
    kinds = {kind for kind, _ in parts}
    if len(kinds) == 1 and kinds <= set(_NUMBERS):
        return _unpacked(parts[0][0], b"".join(data for _, data in parts))
    if kinds == {"t"}:
        return _unpacked("t", "\n".join(text for _, text in parts))
    return [value for part in parts for value in listed(_unpacked(*part))]


def listed(values: Any) -> list[Any]:
    """A column as a list, also if it is an array."""
    found: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return found


def place_of(database: sqlite3.Connection, text: str, parameters: list[Any]) -> str | None:
    """The file for what a query gives while the index is as it is now; None for one in memory."""
    index = database.execute("PRAGMA database_list").fetchone()[2]
    change = database.execute("SELECT value FROM meta WHERE key = 'change'").fetchone()
    key = short_hash(repr((change, text, parameters)).encode())
    return f"{index}-table-{key}" if index else None


def find(place: str | None) -> list[Sequence[Any]] | None:
    """The columns that were kept in a file, if they were."""
    if place is None:
        return None
    try:
        return [_unpacked(*column) for column in load_pickle(read_bytes(place))]
    except (OSError, DamagedRecord, pickle.UnpicklingError, ValueError, TypeError, EOFError):
        return None


def keep(place: str | None, columns: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Keep columns in a file if that can be done; they are given back as ``find`` gives them."""
    packed = [_packed(column) for column in columns]
    if place is not None:
        folder, name = os.path.split(place)
        with suppress(OSError):  # it saves time, no more
            write_atomic(folder, name, pickle.dumps(packed, 5))
            _remove_old(folder, name.partition("-table-")[0])
    pairs = zip(columns, packed, strict=True)
    return [_unpacked(*p) if p[0] in _NUMBERS else column for column, p in pairs]


def _remove_old(folder: str, index: str) -> None:
    with os.scandir(folder) as entries:
        kept = [
            (e.stat().st_mtime, e.path) for e in entries if e.name.startswith(f"{index}-table-")
        ]
    for _, path in sorted(kept)[:-_KEPT]:
        os.unlink(path)


def _packed(column: Sequence[Any]) -> Packed:
    kinds = set(map(type, column))
    if kinds == {float}:
        return "d", array("d", column).tobytes()
    if kinds == {int}:
        return "q", array("q", column).tobytes()
    if kinds == {str}:
        text = "\n".join(column)
        if text.count("\n") == len(column) - 1 and text.isascii():
            return "t", text
    return "", column


def _unpacked(kind: str, data: Any) -> Sequence[Any]:
    if kind not in _NUMBERS:
        column: Sequence[Any] = data.split("\n") if kind == "t" else data
        return column
    import numpy

    numbers: Any = numpy.frombuffer(data, numpy.float64 if kind == "d" else numpy.int64)
    return numbers  # type: ignore[no-any-return] # an array is sequence enough
