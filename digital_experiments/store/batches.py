"""Records as rows for the tables of an index, a few thousand at a time. Knows no database."""

from __future__ import annotations

import marshal
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any, NamedTuple, Protocol, TypeVar

from digital_experiments.columns import Block, Flat, flatten
from digital_experiments.errors import DamagedRecord
from digital_experiments.observation import Notes, Observation
from digital_experiments.store.codecs import load_pickle
from digital_experiments.values import Plain, without_pickles

T = TypeVar("T")
Key = tuple[tuple[Block, ...], bytes, bool]
"""What tells kinds apart: blocks, what is shared as bytes, whether they are simple."""

Scanned = tuple[str, str, "dict[str, Plain] | DamagedRecord | None"]

TRUE, FALSE, NAN = b"t", b"f", b"n"
_CONSTANTS = {TRUE: True, FALSE: False, NAN: float("nan")}
_BATCH = 5000
_NO_REFERENCES = 2  # the version of marshal's bytes that are equal for equal values
_LARGEST = 2**63


class Source(Protocol):
    """What an index asks of a backend."""

    root: Any

    @property
    def key(self) -> str | None:
        """What tells its store from others; None if its index is not to be kept."""

    def state(self) -> list[int] | None:
        """What changes whenever a record comes or goes; None if nothing tells."""

    def listing(self) -> bytes:
        """The names of its files, others than records too, a line each."""

    def scan(self, names: list[str]) -> Iterator[Scanned]:
        """Name, id and record of each of them; a problem if it is damaged, None if it is none."""

    def listed(
        self,
        id: str,
        record: Callable[[str], Plain],
        simple: bool,
        notes: Notes | Callable[[str], Notes],
    ) -> Observation:
        """The observation of a record; unless ``simple``, its values are to be read again."""

    def in_flight(self) -> dict[str, dict[str, Plain]]:
        """The records of runs that have not ended, by id, as they are now."""

    def notes_state(self) -> list[int] | None:
        """What changes whenever a note comes or goes."""

    def all_notes(self) -> Mapping[str, Notes]:
        """What was noted on observations."""

    def deleted(self, names: set[str]) -> set[str]:
        """Those of some names whose records were deleted on purpose."""


class Prepared(NamedTuple):
    """What is to be put into the tables for some files.

    Attributes
    ----------
    files : int
        How many.
    rows : list of Rows
        Those of each kind.
    problems : dict
        Of damaged files, by their names.
    """

    files: int
    rows: list[Rows]
    problems: dict[str, str]


class Rows(NamedTuple):
    """Rows of one kind, column by column."""

    key: Key
    shared: dict[str, Plain]
    ids: list[str]
    starts: list[str | None]
    columns: list[Sequence[Any]]
    rests: list[bytes | None]


class Group:
    """Rows of one kind, as they come: their values row by row."""

    def __init__(self, flat: Flat, key: Key) -> None:
        self.first = flat
        self.rows = Rows(key, flat.shared, [], [], [], [])
        self.values: list[list[Any]] = []
        self._tells = _is_of_texts(flat.shared)

    def takes(self, flat: Flat) -> bool:
        """Whether a row is of this kind, as far as that is seen sooner than by a key."""
        mine = self.first
        return (
            self._tells
            and flat.blocks == mine.blocks
            and flat.shared == mine.shared
            and flat.simple == mine.simple
        )

    def add(self, id: str, record: dict[str, Plain], flat: Flat) -> None:
        """Add the row of a record."""
        rows = self.rows
        rows.ids.append(id)
        rows.starts.append(start_of(record))
        rows.rests.append(None if flat.simple else pickle.dumps(without_pickles(record), 5))
        self.values.append(flat.values)


class Groups:
    """Rows by their kinds."""

    def __init__(self) -> None:
        self._known: dict[Key, Group] = {}
        self._last: Group | None = None

    def add(self, id: str, record: dict[str, Plain]) -> None:
        """Add the row of a record."""
        flat = flatten(record)
        group = self._last
        if group is None or not group.takes(flat):
            key = kind_key(flat.blocks, flat.shared, flat.simple)
            group = self._known.get(key)
            if group is None:
                group = self._known[key] = Group(flat, key)
            self._last = group
        group.add(id, record, flat)

    def rows(self) -> list[Rows]:
        """All of them, column by column."""
        for group in self._known.values():
            group.rows.columns.extend(map(_cells, zip(*group.values, strict=True)))
        return [group.rows for group in self._known.values()]


def prepared(source: Source, names: list[str]) -> Iterator[Prepared]:
    """What is to be put into the tables for some files, a few thousand at a time."""
    for some in batches(names, _BATCH):
        problems: dict[str, str] = {}
        groups = Groups()
        for name, id, record in source.scan(some):
            if isinstance(record, DamagedRecord):
                problems[name] = str(record)
            elif record is not None:
                groups.add(id, record)
        yield Prepared(len(some), groups.rows(), problems)


def rows_of(records: Iterable[tuple[str, dict[str, Plain]]]) -> list[Rows]:
    """Some records with their ids as rows."""
    groups = Groups()
    for id, record in records:
        groups.add(id, record)
    return groups.rows()


def _is_of_texts(value: Plain) -> bool:
    """Whether there is nothing in it that equals a value of another type, as 1 does True."""
    if isinstance(value, dict):
        return all(map(_is_of_texts, value.values())) and all(type(key) is str for key in value)
    if isinstance(value, list):
        return all(map(_is_of_texts, value))
    return value is None or type(value) is str


def kind_key(blocks: tuple[Block, ...], shared: dict[str, Plain], simple: bool) -> Key:
    """What tells kinds apart, quick to make and to compare."""
    try:
        return (blocks, marshal.dumps(shared, _NO_REFERENCES), simple)
    except ValueError:  # it holds what is no plain data of Python's own
        return (blocks, repr(shared).encode(errors="backslashreplace"), simple)


def cell(value: Any) -> Any:
    """A plain value as it stands in the table: SQLite has no booleans, no NaN, no containers."""
    kind = type(value)
    if kind is float:
        return value if value == value else NAN
    if kind is str:
        return value if value.isascii() or _is_unicode(value) else _packed(value)
    if kind is int:
        return value if -_LARGEST <= value < _LARGEST else _packed(value)
    if kind is bool:
        return TRUE if value else FALSE
    return None if value is None else _packed(value)


def _cells(column: Sequence[Any]) -> Sequence[Any]:
    """Many values of one column as they stand in the table; most are so already."""
    kinds = set(map(type, column))
    if kinds == {float} and isfinite(sum(column)):  # NaN would show in the sum
        return column
    if kinds == {str} and "".join(column).isascii():
        return column
    if kinds == {int} and min(column) >= -_LARGEST and max(column) < _LARGEST:
        return column
    return list(map(cell, column))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _packed(value: Any) -> bytes:
    return b"p" + pickle.dumps(without_pickles(value), 5)


def uncell(value: Any) -> Any:
    """The plain value that stands in a cell."""
    if type(value) is not bytes:
        return value
    return _CONSTANTS[value] if value in _CONSTANTS else load_pickle(value[1:])


def start_of(record: dict[str, Plain]) -> str | None:
    """When a run began, as ISO 8601 in UTC."""
    try:
        timing = record["metadata"]["timing"]
        start = timing.get("total", timing)["start"]
    except (KeyError, TypeError, AttributeError):
        return None
    if type(start) is not str or not start.isascii():
        return None
    if start[-6:] == "+00:00":
        return start
    from digital_experiments.selection import moment

    try:
        return moment(start, "start")  # digital-experiments 2.x kept the local time
    except ValueError:
        return None


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many items."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
