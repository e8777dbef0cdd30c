"""Tables as CSV, with a schema beside each that tells what its texts were. Knows no run.

The schema is JSON: how many of the ``columns`` are the ``index``, the ``names`` of the levels of
their labels, and of each its ``label`` and its ``kind`` of values, as pandas names them. A CSV
file without one is read as pandas reads it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

SCHEMA = ".schema.json"
"""What is added to the name of a CSV file for that of its schema."""

_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
_TIMES = ("datetime64", "datetime")
_SPANS = ("timedelta64", "timedelta")


def table_files(table: pandas.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Endings and bytes of the files of a table: first its schema, then the CSV."""
    import pandas

    counted = pandas.RangeIndex(len(table))
    plain = isinstance(table.index, pandas.RangeIndex) and table.index.identical(counted)
    index = [] if plain else [table.index.get_level_values(n) for n in range(table.index.nlevels)]
    columns = [table.iloc[:, n] for n in range(table.shape[1])]
    described = [_described(column) for column in [*index, *columns]]
    levels = [_plain(name) for name in table.columns.names]
    schema = {"index": len(index), "names": levels, "columns": described}
    yield f".csv{SCHEMA}", json.dumps(schema, indent=2).encode()
    names = [_flat(column["label"]) for column in described]
    text = table.set_axis(names[len(index) :], axis=1).to_csv(
        index=bool(index), index_label=names[: len(index)], quoting=csv.QUOTE_NONNUMERIC
    )
    yield ".csv", text.encode(errors="backslashreplace")


def _described(column: Any) -> dict[str, Any]:
    from pandas.api.types import infer_dtype

    name = column.name
    label = [_plain(part) for part in name] if isinstance(name, tuple) else _plain(name)
    return {"label": label, "kind": infer_dtype(column.astype(object), skipna=True)}


def _plain(label: Any) -> Any:
    label = label.item() if hasattr(label, "item") else label
    return label if isinstance(label, (str, int, float, type(None))) else str(label)


def _flat(label: Any) -> str:
    parts = label if isinstance(label, list) else [label]
    return " ".join("" if part is None else str(part) for part in parts)


def read_table(path: Path) -> pandas.DataFrame:
    """The table in a CSV file; an empty cell is missing, all other texts are what they are."""
    import pandas

    try:
        schema = json.loads(path.with_name(path.name + SCHEMA).read_bytes())
        table = _restored(path, schema["index"], schema["columns"])
        table.columns.names = schema["names"]
        return table
    except (OSError, ValueError, LookupError, TypeError):  # none, or the table was altered
        pass
    try:
        return pandas.read_csv(path, keep_default_na=False, na_values=[""])
    except pandas.errors.EmptyDataError:
        return pandas.DataFrame()


def _restored(path: Path, index: int, described: list[dict[str, Any]]) -> pandas.DataFrame:
    import pandas

    cells = pandas.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    if cells.shape[1] != len(described):
        raise ValueError("the table has other columns than its schema")
    values = [_column(cells.iloc[:, n], column["kind"]) for n, column in enumerate(described)]
    labels = [_label(column["label"]) for column in described]
    table = pandas.concat(values[index:], axis=1) if values[index:] else cells.iloc[:, :0]
    table.columns = _columns(labels[index:])
    if index:
        table.index = _index(values[:index], labels[:index])
    return table


def _label(label: Any) -> Any:
    return tuple(label) if isinstance(label, list) else label


def _columns(labels: list[Any]) -> Any:
    import pandas

    levels = {len(label) if isinstance(label, tuple) else 0 for label in labels}
    whole = len(levels) == 1 and levels != {0}
    return pandas.MultiIndex.from_tuples(labels) if whole else pandas.Index(labels)


def _index(values: list[Any], labels: list[Any]) -> Any:
    import pandas

    if len(values) == 1:
        return pandas.Index(values[0]).rename(labels[0])
    return pandas.MultiIndex.from_arrays(values, names=labels)


def _column(texts: Any, kind: str) -> Any:
    """Texts as the values that they stand for; those that stand for none stay texts."""
    import pandas

    with suppress(ValueError, TypeError):
        if kind == "integer" and texts.isna().any():
            whole = [None if text != text else int(text) for text in texts]
            return pandas.Series(whole, dtype="Int64")
        if kind in _NUMBERS:
            return pandas.to_numeric(texts)
        if kind == "boolean":
            return texts.map({"True": True, "False": False})
        if kind in _TIMES:
            return pandas.to_datetime(texts, format="ISO8601")
        if kind in _SPANS:
            return pandas.to_timedelta(texts)
    return texts
