"""Large tables that were read once, kept in the index until it changes. Runs no query.

A column of one type of number is kept as the bytes of an array, any other as plain data.
"""

from __future__ import annotations

import pickle
import sqlite3
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from digital_experiments.digest import short_hash
from digital_experiments.store.codecs import load_pickle

LARGE = 20_000
"""Rows from which on a table is worth keeping."""

_KEPT = 4
_BUSY = "PRAGMA busy_timeout"


def find(
    database: sqlite3.Connection, text: str, parameters: list[Any]
) -> list[Sequence[Any]] | None:
    """The columns that a query gave when the index was as it is now, if they were kept."""
    query = "SELECT data FROM results WHERE key = ?"
    found = database.execute(query, (_key(database, text, parameters),)).fetchone()
    return [_unpacked(*column) for column in load_pickle(found[0])] if found else None


def keep(
    database: sqlite3.Connection, text: str, parameters: list[Any], columns: list[list[Any]]
) -> None:
    """Keep the columns that a query has given, unless somebody else is writing."""
    key = _key(database, text, parameters)
    data = pickle.dumps([_packed(column) for column in columns], 5)
    waited = database.execute(_BUSY).fetchone()[0]
    database.execute(f"{_BUSY} = 0")
    with suppress(sqlite3.Error):  # it saves time, no more
        database.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (key, data))
        newest = f"SELECT rowid FROM results ORDER BY rowid DESC LIMIT {_KEPT}"
        database.execute(f"DELETE FROM results WHERE rowid NOT IN ({newest})")
    database.execute(f"{_BUSY} = {waited}")


def _key(database: sqlite3.Connection, text: str, parameters: list[Any]) -> str:
    change = database.execute("SELECT value FROM meta WHERE key = 'change'").fetchone()
    return short_hash(repr((change, text, parameters)).encode())


def _packed(column: list[Any]) -> tuple[str, Any]:
    kinds = set(map(type, column))
    if kinds == {float}:
        return "d", array("d", column).tobytes()
    if kinds == {int}:
        return "q", array("q", column).tobytes()
    return "", column


def _unpacked(kind: str, data: Any) -> Sequence[Any]:
    if not kind:
        column: Sequence[Any] = data
        return column
    import numpy

    numbers: Any = numpy.frombuffer(data, numpy.float64 if kind == "d" else numpy.int64)
    return numbers  # type: ignore[no-any-return] # an array is sequence enough
