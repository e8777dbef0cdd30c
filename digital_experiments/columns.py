"""Records as rows of a table: flattened, named, put together again, made into a frame.

A cell's place is a path such as ``("config", "lr")``; its column is named ``config.lr``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from digital_experiments.values import Plain, peek
from digital_experiments.views import PLAIN_SCALARS, ValueView, printable, short_repr

if TYPE_CHECKING:
    import pandas

Path = tuple[Any, ...]
Block = tuple[Path, tuple[Any, ...]]
"""A prefix, and the keys that follow it: the places of several cells that stand together."""

SHARED = frozenset({"experiment", "status", "fingerprint", "tags", "environment", "code"})
"""Metadata that many runs have in common."""

_EXACT = 2**53  # integers that a float holds exactly
_TIMES = {"start", "end"}


class Flat(NamedTuple):
    """A record as a row.

    Attributes
    ----------
    blocks : tuple
        The places of the values, in order.
    values : list
        Scalars, and containers that are no dicts with content.
    shared : dict
        The metadata that many runs have in common, as it was.
    simple : bool
        Whether the record can be put together from the values again.
    """

    blocks: tuple[Block, ...]
    values: list[Any]
    shared: dict[str, Plain]
    simple: bool


class _Row:
    """One walk over one record."""

    __slots__ = ("blocks", "simple", "values")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.values: list[Any] = []
        self.simple = True

    def fields(self, place: Path, value: dict[Any, Any]) -> None:
        """Each entry of a dict that is no tag."""
        if PLAIN_SCALARS.issuperset(map(type, value.values())):
            self.blocks.append((place, tuple(value)))
            self.values.extend(value.values())
            return
        for key, item in value.items():
            self.entry(place, key, item)

    def entry(self, place: Path, key: Any, item: Any) -> None:
        if type(item) is dict and item:
            self.dict((*place, key), item)
        else:
            self.leaf(place, key, item)

    def leaf(self, place: Path, key: Any, item: Any) -> None:
        self.blocks.append((place, (key,)))
        self.values.append(item)
        if type(item) not in PLAIN_SCALARS and _holds_tag(item):
            self.simple = False

    def dict(self, place: Path, value: dict[Any, Any]) -> None:
        first = next(iter(value))
        if type(first) is not str or first[:1] != "$":
            self.fields(place, value)
            return
        self.simple = False
        shown = peek(value)
        if isinstance(shown, ValueView):
            shown = _untagged(shown)
        if isinstance(shown, dict) and shown:
            for key, item in shown.items():
                self.entry(place, key, _untagged(item))
        else:
            self.leaf(place[:-1], place[-1], shown)


def flatten(record: dict[str, Plain]) -> Flat:
    """The row of a record.

    >>> flat = flatten({"config": {"lr": 0.1}, "result": 9, "metadata": {"status": "failed"}})
    >>> flat.values, flat.shared
    ([9, 0.1], {'status': 'failed'})
    """
    row = _Row()
    result = record["result"]
    if type(result) is dict and result:
        row.dict(("result",), result)
    else:
        row.leaf((), "result", result)
    if record["config"]:
        row.fields(("config",), record["config"])
    shared = {}
    for key, item in record["metadata"].items():
        if key in SHARED:
            shared[key] = item
        elif type(item) is dict and item:
            row.dict(("metadata", key), item)
        else:
            row.leaf(("metadata",), key, item)
    return Flat(tuple(row.blocks), row.values, shared, row.simple)


def paths_of(blocks: Iterable[Block]) -> list[Path]:
    """The places of the cells in blocks, one by one.

    >>> paths_of([(("config",), ("lr", "seed"))])
    [('config', 'lr'), ('config', 'seed')]
    """
    return [(*place, key) for place, keys in blocks for key in keys]


def restore(paths: Iterable[Path], values: Iterable[Any], shared: dict[str, Plain]) -> Plain:
    """The record of a simple row: config, result and metadata.

    >>> restore([("result",), ("config", "lr")], [9, 0.1], {})
    {'config': {'lr': 0.1}, 'metadata': {}, 'result': 9}
    """
    record: dict[str, Any] = {"config": {}, "metadata": dict(shared)}
    for path, value in zip(paths, values, strict=True):
        inner = record
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return record


def _untagged(item: Any) -> Any:
    """A value, or what stands for one that is no plain data: a plain value, fields, its repr."""
    if not isinstance(item, ValueView):
        return item
    return item.plain if item.plain is not None else item.fields or repr(item)


def _holds_tag(item: Any) -> bool:
    if type(item) is dict:
        return any(str(key)[:1] == "$" for key in item) or any(map(_holds_tag, item.values()))
    return type(item) in (list, tuple) and any(map(_holds_tag, item))


def column_name(path: Path, sep: str = ".") -> str:
    """What the column of a place is called; the last value of a metric goes by the metric's name.

    A lone surrogate in a key is escaped.

    >>> column_name(("metadata", "metrics", "loss", "last"))
    'metrics.loss'
    """
    if path[:2] == ("metadata", "metrics") and len(path) == 4 and path[3] == "last":
        path = ("metrics", path[2])
    return sep.join(printable(k) if isinstance(k, str) else short_repr(k) for k in path)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of columns, each once, with the result first, then config, metrics, metadata."""
    return sorted(dict.fromkeys(names), key=_part)


def _part(name: str) -> int:
    parts = ("id", "status", "tags", "note", "result", "config", "metrics", "metadata")
    return next((n for n, part in enumerate(parts) if name.startswith(part)), len(parts))


def cells_of(record: dict[str, Plain], include_metadata: bool, sep: str) -> Iterator[Any]:
    """Names and values of the cells of one record; of what is no plain data, its views."""
    flat = flatten(record)
    shared = _Row()
    for key, item in flat.shared.items() if include_metadata else ():
        shared.entry(("metadata",), key, item)
    for path, value in (
        *zip(paths_of(flat.blocks), flat.values, strict=True),
        *zip(paths_of(shared.blocks), shared.values, strict=True),
    ):
        name = column_name(path, sep)
        if include_metadata or not name.startswith(f"metadata{sep}"):
            yield name, value if type(value) in PLAIN_SCALARS else peek(value)


def frame(columns: Mapping[str, Sequence[Any]]) -> pandas.DataFrame:
    """Columns of cells as a frame: numbers as numbers, times as times, None where nothing is."""
    import pandas

    made = {name: _column(name, values) for name, values in columns.items()}
    return pandas.DataFrame(made, copy=False)


def _column(name: str, values: Sequence[Any]) -> Any:
    import numpy
    import pandas

    if isinstance(values, numpy.ndarray):
        return values.copy()  # it may be read-only
    kinds = set(map(type, values))
    present = kinds - {type(None)}
    if kinds == {int}:
        return _integers(values)
    if present == {float} or (present <= {int, float} and present and _fits_floats(values)):
        return numpy.array(values, dtype=float)  # None becomes NaN
    if kinds == {bool}:
        return numpy.array(values)
    if present == {str}:
        return _times(values) if is_time(name) else _texts(values)
    if present == {datetime}:
        return pandas.Series(values)
    return pandas.Series(values, dtype=object)


def _integers(values: Sequence[int]) -> Any:
    import numpy
    import pandas

    try:
        return numpy.array(values, dtype=numpy.int64)
    except OverflowError:
        return pandas.Series(values, dtype=object)


def _fits_floats(values: Sequence[Any]) -> bool:
    return all(type(v) is not int or -_EXACT <= v <= _EXACT for v in values)


def _texts(values: Sequence[Any]) -> Any:
    import pandas

    try:
        return pandas.Series(values)
    except UnicodeEncodeError:  # lone surrogates
        return pandas.Series(values, dtype=object)


def is_time(name: str) -> bool:
    """Whether a column of texts holds moments: those that a run's timing keeps."""
    return name == "start" or (
        name.startswith("metadata") and "timing" in name and name.endswith(("start", "end"))
    )


def _times(values: Sequence[Any]) -> Any:
    import pandas

    try:
        return pandas.to_datetime(pandas.Series(values), utc=True, format="ISO8601")
    except ValueError:  # somebody has kept something else there
        return _texts(values)
