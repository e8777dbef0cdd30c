"""A selection put to an index: which observations, which columns. Writes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from digital_experiments.columns import SHARED, cells_of, column_name, in_order, restore
from digital_experiments.config import same_value
from digital_experiments.errors import UnknownColumn, did_you_mean
from digital_experiments.memory import paused_collection
from digital_experiments.observation import Notes, Observation
from digital_experiments.observations import has_values
from digital_experiments.selection import Selection
from digital_experiments.store import results
from digital_experiments.store.batches import FALSE, TRUE, batches, cell, uncell
from digital_experiments.store.blobs import Blobs
from digital_experiments.store.codecs import load_pickle
from digital_experiments.store.comparing import COMPARISONS, ordinal
from digital_experiments.store.index import Index, Kind
from digital_experiments.values import Plain, decode, peek

T = TypeVar("T")

PAGE = 2000
_CHUNK = 10_000
_WIDEST = 1000  # columns of a result; SQLite gives 2000
_OWN = {"id": "rows.id", "start": "rows.start"}
_DURATION = ("metadata.timing.duration", "metadata.timing.total.duration")
_OF_KINDS = ("status", "experiment", "fingerprint", "tags")
_NO_NOTES = Notes()
_SCALARS = (bool, int, float, str)


class Found(NamedTuple):
    """What a selection found.

    Attributes
    ----------
    observations : list of Observation
        In the order asked for.
    hidden : dict
        How many others of the experiment were left out for how they ended or by what code.
    """

    observations: list[Observation]
    hidden: dict[str, int]


class Query:
    """One selection, put to one index.

    Parameters
    ----------
    index : Index
        The records.
    selection : Selection
        Which of them.
    lead : sequence of str
        Columns that a table has after the id, unless it is of certain columns only.
    """

    def __init__(self, index: Index, selection: Selection, lead: Sequence[str] = ()) -> None:
        self.index = index
        self.selection = selection
        self.lead = ["id", *lead]
        self.blobs = Blobs(str(index.source.root))
        self.hidden: dict[str, int] = {}
        self._facts: dict[int, dict[str, Any]] = {}

    # -- observations -----------------------------------------------------------------------

    def observations(self) -> Iterator[Observation]:
        """The observations, read a page at a time as they are asked for."""
        wanted, given = self.selection.limit, 0
        after: Any = None
        fresh = True
        config = {k: v for k, v in self.selection.config.items() if not self._is_comparable(v)}
        while wanted is None or given < wanted:
            size = PAGE if wanted is None else min(PAGE, wanted - given)
            rows = self._read(partial(self._page, after=after, size=size), fresh)
            found = [o for o in rows if has_values(o, config)] if config else rows
            given += len(found)
            yield from found
            if len(rows) < size:
                return
            after, fresh = self._after(rows[-1], after, len(rows)), False

    def _after(self, last: Observation, before: Any, count: int) -> Any:
        """Where the next page starts: after an id, or in another order at a number of rows."""
        return last.id if self.selection.order is None else (before or 0) + count

    def _page(self, database: sqlite3.Connection, after: Any, size: int) -> list[Observation]:
        kinds = self._chosen(database)
        if not kinds:
            return []
        slots = sorted({slot for kind in kinds for slot in kind.columns.values()})
        cells = ["rows.id", "kind", *(f"c{slot}" for slot in slots)]
        rest = "(SELECT data FROM rests WHERE rests.id = rows.id)"
        cells.append("NULL" if all(kind.simple for kind in kinds) else rest)
        condition, parameters = self._condition(kinds)
        order = self._order()
        paging = ""
        if after is not None and self.selection.order is None:
            condition += f" AND rows.id {'<' if self.selection.newest_first else '>'} ?"
            parameters.append(after)
        elif after is not None:
            paging = f" OFFSET {after}"
        text = f"SELECT {', '.join(cells)} FROM rows WHERE {condition} {order} LIMIT {size}{paging}"
        place = {slot: n for n, slot in enumerate(slots, 2)}
        picks = {
            kind.number: (kind, [place[slot] for slot in kind.columns.values()]) for kind in kinds
        }
        asks = "fact(" in text  # what is in blobs may be out of reach now, and there again later
        with paused_collection():
            rows = (
                database.execute(text, parameters).fetchall()
                if asks
                else self.index.rows(text, parameters)
            )
            return [self._observation(row, *picks[row[1]]) for row in rows]

    def _observation(self, row: Sequence[Any], kind: Kind, picks: list[int]) -> Observation:
        notes = self.index.notes.get(row[0], _NO_NOTES)

        def record(id: str) -> Plain:
            return _restored(kind, row, picks) if kind.simple else load_pickle(row[-1])

        return self.index.source.listed(row[0], record, kind.simple, notes)

    def _is_comparable(self, value: Any) -> bool:
        return type(value) in _SCALARS and value == value

    # -- columns ----------------------------------------------------------------------------

    def table(
        self,
        columns: Iterable[str] | None = None,
        include_metadata: bool = False,
        sep: str = ".",
    ) -> dict[str, Sequence[Any]]:
        """The cells of the observations, column by column; None where one has no such field.

        A column of a large table may be a NumPy array.

        Raises
        ------
        UnknownColumn
            For a column that there is not.
        """
        asked = None if columns is None else list(columns)
        if asked is not None and sep != ".":  # they may be named as the table names them
            asked = [name if "." in name else name.replace(sep, ".") for name in asked]
        if any(not self._is_comparable(v) for v in self.selection.config.values()):
            return self._table_of(list(self.observations()), asked, include_metadata, sep)
        return self._read(partial(self._table, asked=asked, metadata=include_metadata, sep=sep))

    def _table(
        self, database: sqlite3.Connection, asked: list[str] | None, metadata: bool, sep: str
    ) -> dict[str, Sequence[Any]]:
        kinds = self._chosen(database)
        names = self._named(kinds, asked, metadata)
        read = [name for name in names if name not in _OF_KINDS and not _is_shared(name)]
        if "tags" in names and "id" not in read:
            read.append("id")
        numbers, cells = self._fetch(database, kinds, read)
        present = [self.index.kinds[number] for number in set(numbers)]
        if asked is None:
            names = [name for name in names if self._is_held(name, present)]
        found: dict[str, Sequence[Any]] = {}
        for name in names:
            if name in cells:
                found[name] = _shown(cells[name])
            elif name == "tags":
                pairs = zip(cells["id"], numbers, strict=True)
                found[name] = [self._tags(id, n) for id, n in pairs]
            else:
                by_kind = {kind.number: self._fact(kind, name) for kind in present}
                found[name] = [by_kind[n] for n in numbers]
        if sep == ".":
            return found
        return {self._renamed(name, kinds, sep): values for name, values in found.items()}

    def _fetch(
        self, database: sqlite3.Connection, kinds: list[Kind], names: list[str]
    ) -> tuple[Sequence[int], dict[str, Sequence[Any]]]:
        """The kind of each row, and the columns named."""
        if not kinds:
            return [], {name: [] for name in names}
        cells = ["kind", *(self._sql_of(name, kinds) or "NULL" for name in names)]
        condition, parameters = self._condition(kinds)
        limit = "" if self.selection.limit is None else f"LIMIT {self.selection.limit}"
        rest = f"FROM rows WHERE {condition} {self._order()} {limit}"
        with paused_collection():
            database.execute("BEGIN")  # all of it as it is now, whoever writes meanwhile
            try:
                place = results.place_of(database, f"{cells} {rest}", parameters)
                columns = results.find(place)
                if columns is None and self._has_chunks(names):
                    columns = self._of_chunks(kinds, names)
                elif columns is None:
                    columns = self._select(database, cells, rest, parameters)
                    if len(columns[0]) >= results.LARGE:
                        columns = results.keep(place, columns)
            finally:
                database.execute("COMMIT")
        return results.listed(columns[0]), dict(zip(names, columns[1:], strict=True))

    def _has_chunks(self, names: list[str]) -> bool:
        """Whether whole columns are there, and nothing else is asked for."""
        whole = Selection(
            statuses=self.selection.statuses,
            experiment=self.selection.experiment,
            is_current=self.selection.is_current,
        )
        held = all(name in _OWN or name in self.index.slots for name in names)
        return held and self.selection == whole and self.index.has_chunks

    def _of_chunks(self, kinds: list[Kind], names: list[str]) -> list[Sequence[Any]]:
        """The kind of each row, and whole columns."""
        ids: list[results.Packed] = []
        numbers: list[results.Packed] = []
        parts: list[list[results.Packed]] = [[] for _ in names]
        for kind, count, columns in self.index.chunks(kinds):
            held = dict(zip((*_OWN, *kind.columns), columns, strict=True))
            ids.append(held["id"])
            numbers.append(("", [kind.number] * count))
            for name, part in zip(names, parts, strict=True):
                part.append(held.get(name, ("", [None] * count)))
        found = [results.join(part) for part in (numbers, *parts)]
        if len({kind for (_, (kind, *_)) in numbers}) > 1:
            found = _sorted_by(results.join(ids), found)
        return found

    def _select(
        self, database: sqlite3.Connection, cells: list[str], rest: str, parameters: list[Any]
    ) -> list[Sequence[Any]]:
        """The columns of cells, a few hundred of them at a time."""
        columns: list[Sequence[Any]] = []
        for some in batches(cells, _WIDEST):
            columns += _read_columns(database, f"SELECT {', '.join(some)} {rest}", parameters)
        return columns

    def _named(self, kinds: list[Kind], asked: list[str] | None, metadata: bool) -> list[str]:
        """The columns asked for; a name such as ``config`` stands for all that start so."""
        known = self.names(kinds, metadata or any(n.startswith("metadata") for n in asked or ()))
        if asked is None:
            own = [*self.lead, *(["tags", "note"] if metadata and self.index.notes else [])]
            own += [n for n in known if metadata or not n.startswith("metadata.")]
            return list(dict.fromkeys(own))
        named: list[str] = []
        for name in asked:
            group = [n for n in known if n == name or n.startswith(f"{name}.")]
            if not group and self._sql_of(name, kinds) is None and name not in _ALWAYS:
                raise UnknownColumn(
                    f"There is no column {name!r}. {did_you_mean(name, [*_ALWAYS, *known])}"
                )
            named.extend(group or [name])
        return list(dict.fromkeys(named))

    def names(self, kinds: list[Kind], shared: bool = True) -> list[str]:
        """The columns that observations of some kinds have, in order.

        Those of the environment and the code are in blobs, read only for ``shared`` columns.
        """
        held = (name for kind in kinds for name in kind.names)
        facts = (name for kind in kinds if shared for name in self._facts_of(kind))
        return in_order((*held, *facts))

    def _is_held(self, name: str, kinds: list[Kind]) -> bool:
        """Whether any of the observations has such a field."""
        if name in _ALWAYS:
            return True
        return any(
            name in kind.names or (_is_shared(name) and name in self._facts_of(kind))
            for kind in kinds
        )

    def _tags(self, id: str, number: int) -> list[str]:
        own = self.index.kinds[number].shared.get("tags") or []
        return self.index.notes.get(id, _NO_NOTES).tags_with(own)

    def _renamed(self, name: str, kinds: list[Kind], sep: str) -> str:
        for kind in kinds:
            if name in kind.names:
                return column_name(kind.paths[kind.names.index(name)], sep)
        return name.replace(".", sep)

    def _table_of(
        self, found: list[Observation], asked: list[str] | None, metadata: bool, sep: str
    ) -> dict[str, Sequence[Any]]:
        """The same from observations that had to be looked at one by one."""
        inner = Selection(
            where=None, order=self.selection.order, newest_first=self.selection.newest_first
        )
        ids = {o.id for o in found}
        columns = None if asked is None else ["id", *asked]
        whole = as_lists(Query(self.index, inner, self.lead).table(columns, metadata, sep))
        keep = [n for n, id in enumerate(whole["id"]) if id in ids]
        names = (
            whole if asked is None else [name for name in whole if name != "id" or "id" in asked]
        )
        return {name: [whole[name][n] for n in keep] for name in names}

    # -- conditions -------------------------------------------------------------------------

    def _chosen(self, database: sqlite3.Connection) -> list[Kind]:
        """The kinds of rows that are asked for; counts the others by why they are not."""
        chosen, self.hidden = [], {}
        for kind in self.index.kinds.values():
            if not kind.count or not self._is_mine(kind):
                continue
            why = self._why_hidden(kind)
            if why is None:
                chosen.append(kind)
            else:
                self.hidden[why] = self.hidden.get(why, 0) + kind.count
        return chosen

    def _is_mine(self, kind: Kind) -> bool:
        wanted = self.selection.experiment
        return wanted is None or kind.experiment in (None, wanted)

    def _why_hidden(self, kind: Kind) -> str | None:
        if kind.status not in self.selection.statuses:
            return kind.status
        current = self.selection.is_current
        return "from older code" if current is not None and not current(kind.shared) else None

    def _condition(self, kinds: list[Kind]) -> tuple[str, list[Any]]:
        selection = self.selection
        parts, parameters = [], []
        parts.append(f"kind IN ({', '.join(str(kind.number) for kind in kinds)})")
        if selection.since is not None:
            parts.append("start >= ?")
            parameters.append(selection.since)
        if selection.until is not None:
            parts.append("start < ?")
            parameters.append(selection.until)
        parts.extend(self._tagged(tag, parameters) for tag in selection.tags)
        for name, value in selection.config.items():
            if self._is_comparable(value):
                parts.append(self._has_value(name, kinds))
                parameters.append(cell(value))
        if selection.where is not None:
            text, more = selection.where.sql(_Columns(self, kinds))
            parts.append(text)
            parameters.extend(more)
        return " AND ".join(parts), parameters

    def _has_value(self, name: str, kinds: list[Kind]) -> str:
        """A config field's having a value; text that only shows another value does not count."""
        simple = ", ".join(str(kind.number) for kind in kinds if kind.simple)
        sql = self._sql_of(column_name(("config", name)), kinds) or "NULL"
        return f"iif(kind IN ({simple}), {sql}, field(rows.id, {_literal(name)})) = ?"

    def _order(self) -> str:
        direction = "DESC" if self.selection.newest_first else "ASC"
        if self.selection.order is None:
            return f"ORDER BY rows.id {direction}"
        name, descending = self.selection.order
        kinds = [kind for kind in self.index.kinds.values() if kind.count]
        sql = self._sql_of(name, kinds)
        if sql is None:
            known = [*_ALWAYS, *self.names(kinds)]
            raise UnknownColumn(f"There is no column {name!r}. {did_you_mean(name, known)}")
        key = f"iif(typeof({sql}) = 'blob', ordinal({sql}, 0), {sql})"
        return (
            f"ORDER BY {key} IS NULL, {key} {'DESC' if descending else 'ASC'}, rows.id {direction}"
        )

    def _sql_of(self, name: str, kinds: list[Kind]) -> str | None:
        """The SQL of a column's cell; None if there is no such column."""
        if name in _OWN:
            return _OWN[name]
        if name == "note":
            return "(SELECT note FROM notes WHERE notes.id = rows.id)"
        if name == "duration":
            cells = [f"c{self.index.slots[n]}" for n in _DURATION if n in self.index.slots]
            return f"ifnull({', '.join(cells)})" if len(cells) > 1 else (cells or ["NULL"])[0]
        if name in self.index.slots:
            return f"c{self.index.slots[name]}"
        if name in _OF_KINDS[:3] or (
            _is_shared(name) and any(name in self._facts_of(kind) for kind in kinds)
        ):
            return f"fact(kind, {_literal(name)})"
        if any(name in kind.names for kind in kinds):
            return f"untabled(rows.id, {_literal(name)})"
        return None

    def _tagged(self, tag: str, parameters: list[Any]) -> str:
        given = "(SELECT given FROM tags WHERE tags.id = rows.id AND tag = ?)"
        parameters.extend((cell(tag), cell(tag)))
        return f"ifnull({given}, has_tag(kind, ?))"

    # -- what SQLite asks us -----------------------------------------------------------------

    def _read(self, work: Callable[[sqlite3.Connection], T], fresh: bool = True) -> T:
        """What ``work`` finds, while SQLite can ask us for what the tables do not hold."""

        def asking(database: sqlite3.Connection) -> T:
            functions = self._functions(partial(_rest_of, database))
            try:
                for name, function in functions.items():
                    database.create_function(name, 2, function)
                return work(database)
            finally:  # lest the connection and its functions keep each other alive
                for name in functions:
                    database.create_function(name, 2, None)

        return self.index.read(asking, fresh)

    def _functions(self, rest: Callable[[str], Plain]) -> dict[str, Callable[[Any, Any], Any]]:
        kinds = self.index.kinds
        return {
            "fact": lambda number, name: cell(self._fact(kinds[number], _text(name))),
            "has_tag": lambda number, tag: uncell(tag) in (kinds[number].shared.get("tags") or ()),
            "untabled": lambda id, name: cell(dict(cells_of(rest(id), True, ".")).get(_text(name))),
            "field": lambda id, name: _scalar_field(rest(id), _text(name)),
            "holds": _holds,
            "ordinal": ordinal,
            **COMPARISONS,
        }

    def _fact(self, kind: Kind, name: str) -> Any:
        if name in _OF_KINDS:
            return kind.status if name == "status" else kind.shared.get(name)
        return self._facts_of(kind).get(name)

    def _facts_of(self, kind: Kind) -> dict[str, Any]:
        """The columns that all observations of a kind have in common, with their values."""
        known = self._facts.get(kind.number)
        if known is None:
            shared = {key: decode(item, self.blobs) for key, item in kind.shared.items()}
            record = {"config": {}, "result": None, "metadata": shared}
            known = dict(cells_of(record, True, "."))
            del known["result"]
            self._facts[kind.number] = known
        return known


_ALWAYS = ("id", "start", "duration", "status", "experiment", "fingerprint", "tags", "note")


class _Columns:
    """The columns of a query, for an expression."""

    def __init__(self, query: Query, kinds: list[Kind]) -> None:
        self.query = query
        self.kinds = kinds

    def column(self, name: str) -> str | None:
        return self.query._sql_of(name, self.kinds)

    def tagged(self, tag: str, parameters: list[Any]) -> str:
        return self.query._tagged(tag, parameters)

    def names(self) -> list[str]:
        return [*_ALWAYS, *self.query.names(self.kinds)]

    def cell(self, value: Any) -> Any:
        return cell(value)


def as_lists(table: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Columns as lists, those too that are arrays."""
    return {name: results.listed(values) for name, values in table.items()}


def _sorted_by(ids: Sequence[str], columns: list[Sequence[Any]]) -> list[Sequence[Any]]:
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return [
        [column[n] for n in order] if isinstance(column, list) else column[order]  # type: ignore[call-overload] # an array
        for column in columns
    ]


def _read_columns(
    database: sqlite3.Connection, text: str, parameters: list[Any]
) -> list[list[Any]]:
    rows = database.execute(text, parameters)
    columns: list[list[Any]] = [[] for _ in rows.description]
    while chunk := rows.fetchmany(_CHUNK):
        for column, part in zip(columns, zip(*chunk, strict=True), strict=True):
            column.extend(part)
    return columns


def _is_shared(name: str) -> bool:
    """Whether a column holds metadata that many runs have in common."""
    part, _, rest = name.partition(".")
    return part == "metadata" and rest.partition(".")[0] in SHARED


def _restored(kind: Kind, row: Sequence[Any], picks: list[int]) -> Plain:
    return restore(kind.paths, (uncell(row[n]) for n in picks), kind.shared)


def _shown(cells: Sequence[Any]) -> Sequence[Any]:
    """Cells as a table shows them; an array of numbers stays one."""
    if not isinstance(cells, list):
        return cells
    kinds = set(map(type, cells))
    if bytes not in kinds:
        return cells
    if kinds == {bytes} and set(cells) <= {TRUE, FALSE}:
        return [c == TRUE for c in cells]
    return [peek(uncell(c)) if type(c) is bytes else c for c in cells]


def _literal(text: str) -> str:
    """A text in SQL, whatever its characters are: the hexadecimal digits of its bytes."""
    return f"x'{text.encode(errors='surrogatepass').hex()}'"


def _text(literal: bytes) -> str:
    return literal.decode(errors="surrogatepass")


def _rest_of(database: sqlite3.Connection, id: str) -> Plain:
    found = database.execute("SELECT data FROM rests WHERE id = ?", (id,)).fetchone()
    return load_pickle(found[0]) if found else {"config": {}, "result": None, "metadata": {}}


def _scalar_field(record: dict[str, Plain], name: str) -> Any:
    value = record["config"].get(name)
    return cell(value) if type(value) in _SCALARS else None


def _holds(container: Any, value: Any) -> bool:
    """Whether a text has a part, or a list an item."""
    if isinstance(container, str):
        return isinstance(value, str) and value in container
    held, wanted = uncell(container), uncell(value)
    if not isinstance(held, (list, tuple, set, dict)):
        return False
    return any(same_value(item, wanted) for item in held)
