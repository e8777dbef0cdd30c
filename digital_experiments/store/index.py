"""All records of a store in a database, so that a hundred thousand are at hand at once.

Files are the truth, this is a cache: it is brought up to date from the listing of the folder at
each read, and made anew whenever it is missing, damaged or of another release. Where it can't be
kept on disk it is made in memory. Nothing is written to it when a run is recorded.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from digital_experiments.columns import Block, Path, column_name, paths_of, restore
from digital_experiments.files import is_settled
from digital_experiments.ids import new_id, utc_text
from digital_experiments.memory import paused_collection
from digital_experiments.observation import Notes
from digital_experiments.store import database, halves, results
from digital_experiments.store.batches import (
    Key,
    Rows,
    Source,
    cell,
    kind_key,
    prepared,
    rows_of,
    uncell,
)
from digital_experiments.store.codecs import load_pickle
from digital_experiments.store.listings import difference, lines_of
from digital_experiments.store.progress import progress
from digital_experiments.store.records import replaced_id
from digital_experiments.values import Plain

T = TypeVar("T")

SLOTS = 1500  # columns of a table; SQLite takes 2000
_SAVED = 2.0  # seconds for which a listing is not kept whole again
_FEW = 200
_KEPT = 200_000  # cells of answers


class Kind:
    """What many rows have in common: their columns, and metadata that are the same."""

    def __init__(self, number: int, blocks: tuple[Block, ...], shared: Any, simple: bool) -> None:
        self.number = number
        self.blocks = blocks
        self.shared: dict[str, Plain] = shared
        self.simple = simple
        self.paths: list[Path] = paths_of(blocks)
        self.names = [column_name(path) for path in self.paths]
        self.count = 0
        self.kept: list[bool] = []
        self.columns: dict[str, int] = {}

    def lay_out(self, slots: Mapping[str, int]) -> None:
        """Tell which values have a column of the table; of those of one name, the last has."""
        last = {name: n for n, name in enumerate(self.names)}
        self.kept = [last[name] == n and name in slots for n, name in enumerate(self.names)]
        kept = (name for name, keep in zip(self.names, self.kept, strict=True) if keep)
        self.columns = {name: slots[name] for name in kept}

    @property
    def status(self) -> str:
        """How its runs ended."""
        return str(self.shared.get("status", "completed"))

    @property
    def experiment(self) -> str | None:
        """The experiment that its runs belong to, where they say so."""
        name = self.shared.get("experiment")
        return None if name is None else str(name)


class Index:
    """The records of one store, as tables.

    Parameters
    ----------
    source : Source
        The backend that has them.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._database: sqlite3.Connection | None = None
        self._path: str | None = None
        self._forget()

    def _forget(self) -> None:
        self.kinds: dict[int, Kind] = {}
        self.slots: dict[str, int] = {}
        self.notes: Mapping[str, Notes] = {}
        self.damaged: dict[str, str] = {}
        self.vanished_names: set[str] = set()
        self._kind_of: dict[Key, Kind] = {}
        self._version = -1
        self._seen: bytes | None = None
        self._saved_at = 0.0
        self._packs = False
        self._meta: dict[str, Any] = {}
        self._answers: dict[tuple[str, *tuple[Any, ...]], list[tuple[Any, ...]]] = {}

    def read(self, work: Callable[[sqlite3.Connection], T], fresh: bool = True) -> T:
        """What ``work`` finds in the database, brought up to date before if it is to be fresh."""
        if self._process != os.getpid():  # a fork must not touch its parent's connection
            self.__init__(self.source)  # type: ignore[misc]
        with self._lock:
            for place in self._places():
                try:
                    if self._database is None:
                        self._open(place)
                    if fresh:
                        self._update()
                    assert self._database is not None
                    return work(self._database)
                except sqlite3.Error as problem:
                    self._close(database.is_damage(problem))
                    last = problem
            raise last

    def rows(self, query: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        """What a query gives; short answers are kept until the tables change."""
        assert self._database is not None
        key = (query, *parameters)
        found = self._answers.get(key)
        if found is None:
            found = self._database.execute(query, parameters).fetchall()
            cells = sum(
                len(rows) * len(rows[0]) for rows in (found, *self._answers.values()) if rows
            )
            if cells <= _KEPT:
                self._answers[key] = found
        return found

    def _places(self) -> list[str]:
        """Where to have the database: on disk, anew on disk, or else in memory."""
        folder = self.source.key and database.index_folder(self.source.key)
        return [*([folder, folder] if folder else []), "", ":memory:"]

    def _open(self, place: str) -> None:
        self._forget()
        path = database.newest(place) if place and place != ":memory:" else None
        if path is not None:
            self._database, self._path = database.open_file(path), path
            if self._database is not None:
                return
            database.discard(path)
        if place in ("", ":memory:"):
            self._database, self._path = database.connect(place), None
            database.create(self._database)
            return
        self._build(place)

    def _build(self, folder: str) -> None:
        try:
            made, path = database.begin_file(folder)
        except OSError as problem:
            raise sqlite3.OperationalError(str(problem)) from problem
        try:
            self._database = made
            self._update()
            self._database = database.finish_file(made, path)
            self._path = database.newest(folder)
        except BaseException as problem:
            self._close(damaged=False)
            database.discard(path)
            if isinstance(problem, OSError):
                raise sqlite3.OperationalError(str(problem)) from problem
            raise

    def __del__(self) -> None:
        """Close the connection, unless it is the parent's of a fork."""
        if self._process == os.getpid():
            self._close(damaged=False)

    def _close(self, damaged: bool) -> None:
        if self._database is not None:
            self._database.close()
        if damaged and self._path is not None:
            database.discard(self._path)
        self._database = self._path = None

    # -- bringing it up to date -------------------------------------------------------------

    def _update(self) -> None:
        self._reload()
        state = self.source.state()
        flight = self.source.in_flight()
        if state is None or self.damaged or state != self._meta.get("state"):
            self._update_records(state)
        if flight != self._meta.get("flight", {}):
            self._update_flight(flight)
        notes = self.source.notes_state()
        if notes != self._meta.get("notes"):
            self._update_notes(notes)

    def _reload(self) -> None:
        """Read what this process has in mind again, if another one has changed it."""
        assert self._database is not None
        version = self._database.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._version = version
        self._seen = None
        self._answers = {}
        run = self._database.execute
        try:
            self._recall(run)
        except (ValueError, TypeError, LookupError, EOFError, pickle.UnpicklingError) as problem:
            raise sqlite3.DatabaseError(f"the index is damaged: {problem}") from problem

    def _recall(self, run: Callable[[str], Iterable[Any]]) -> None:
        self.slots = {name: slot for slot, name in run("SELECT slot, name FROM columns")}
        for number, count, detail in run("SELECT kind, count, detail FROM kinds"):
            if number not in self.kinds:
                self._add_kind(Kind(number, *load_pickle(detail)))
            self.kinds[number].count = count
        rows = run("SELECT key, value FROM meta WHERE key NOT IN ('listing', 'added')")
        self._meta = {key: load_pickle(value) for key, value in rows}
        self.damaged = dict(run("SELECT name, problem FROM damaged"))
        self.vanished_names = {name for (name,) in run("SELECT name FROM vanished")}
        tags: dict[str, dict[str, bool]] = {}
        for id, tag, given in run("SELECT id, tag, given FROM tags"):
            tags.setdefault(id, {})[uncell(tag)] = bool(given)
        texts = {id: uncell(note) for id, note in run("SELECT id, note FROM notes")}
        self.notes = {id: Notes(tags.get(id, {}), texts.get(id)) for id in {*tags, *texts}}

    def _add_kind(self, kind: Kind) -> None:
        kind.lay_out(self.slots)
        self.kinds[kind.number] = kind
        self._kind_of[kind_key(kind.blocks, kind.shared, kind.simple)] = kind

    def _update_records(self, state: list[int] | None) -> None:
        listed_at = time.time()
        known, later = self._known()  # before the folder is listed: what is gone by then is gone
        listing = self.source.listing()
        changes = difference(known, listing, later)
        settled = state is not None and is_settled(state, listed_at)
        if not (changes.added or changes.gone or self.damaged):
            self._keep_state(state if settled else None)
            self._seen = listing
            return
        with self._transaction():
            self._reload()
            self._drop_chunks()
            self._drop_flight()
            if changes.gone:
                self._remove(changes.gone, listing)
            wanted = changes.added - self.damaged.keys() if self.damaged else changes.added
            replaced = set(filter(None, map(replaced_id, changes.added)))
            if replaced:
                wanted = wanted | self._forget_rows(replaced, listing)
            self._add(self._unknown(wanted) + list(self.damaged))
            if changes.gone or len(changes.added) > _FEW or listed_at - self._saved_at > _SAVED:
                self._put("listing", listing, packed=False)
                self._put("added", b"", packed=False)
                self._saved_at = listed_at
            else:
                more = map(os.fsencode, changes.added)
                added = b"\n".join([*filter(None, [self._kept("added")]), *more])
                self._put("added", added, packed=False)
            self._keep_state(state if settled else None)
        self._seen = listing

    def vanished(self) -> dict[str, str]:
        """Records that were seen and are gone without having been deleted, and until when."""
        query = "SELECT name, seen FROM vanished"
        return self.read(lambda database: dict(database.execute(query).fetchall()))

    def forget(self) -> None:
        """Take note that what is gone is known to be gone."""

        def remove(database: sqlite3.Connection) -> None:
            with self._transaction():
                database.execute("DELETE FROM vanished")

        self.read(remove)

    def _known(self) -> tuple[bytes, set[str]]:
        """The listing that was kept whole, and the names that the tables have beside it."""
        if self._seen is not None:
            return self._seen, set()
        return self._kept("listing"), lines_of(self._kept("added"))

    def _kept(self, key: str) -> bytes:
        """A text of names; of those that were added since the listing was kept whole, or of all."""
        assert self._database is not None
        query = "SELECT value FROM meta WHERE key = ?"
        found = self._database.execute(query, [key]).fetchone()
        return bytes(found[0]) if found else b""

    def _unknown(self, names: set[str]) -> list[str]:
        """Those of a few names whose records are not in the table yet."""
        assert self._database is not None
        if len(names) > _FEW or not names:
            return sorted(names)
        ids = {name: name.rpartition(".")[0] for name in names}
        marks = ",".join("?" * len(ids))
        query = f"SELECT id FROM rows WHERE id IN ({marks})"
        known = {id for (id,) in self._database.execute(query, list(ids.values()))}
        return sorted(name for name, id in ids.items() if id not in known)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        assert self._database is not None
        self._answers = {}
        self._database.execute("BEGIN IMMEDIATE")
        try:
            with paused_collection():
                yield
            self._put("change", new_id())
            self._database.execute("COMMIT")
            self._let_go()
        except BaseException:
            self._seen = None
            self._version = -1  # what this process has in mind was not kept
            self.kinds, self._kind_of = {}, {}
            if self._database is not None and self._database.in_transaction:
                self._database.execute("ROLLBACK")
                self._let_go()
            raise

    def _let_go(self) -> None:
        """Let go of the tables that were taken over; that can't be done in a transaction."""
        assert self._database is not None
        if any(name == "part" for _, name, _ in self._database.execute("PRAGMA database_list")):
            self._database.execute("DETACH part")

    def _forget_rows(self, ids: set[str], listing: bytes) -> set[str]:
        """Forget observations whose records were replaced; the names of their files."""
        for id in ids:
            self._delete_row(id)
        return {name for name in lines_of(listing) if name.rpartition(".")[0] in ids}

    def _put(self, key: str, value: Any, packed: bool = True) -> None:
        assert self._database is not None
        data = pickle.dumps(value) if packed else value
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, data))
        if packed:
            self._meta[key] = value

    def _keep_state(self, state: list[int] | None) -> None:
        if state != self._meta.get("state"):
            self._put("state", state)

    def _remove(self, gone: set[str], listing: bytes) -> None:
        assert self._database is not None
        run = self._database.execute
        whole = self._database.execute("SELECT count(*) FROM rows").fetchone()[0]
        vanished: set[str] = set()
        for name in gone:
            id = name.rpartition(".")[0]
            run("DELETE FROM damaged WHERE name = ?", (name,))
            if self._delete_row(id):
                vanished.add(name)
            self.damaged.pop(name, None)
        if len(vanished) < whole:  # unless the store was made anew
            vanished -= self.source.deleted(vanished)
            seen = utc_text(time.time())
            query = "INSERT OR REPLACE INTO vanished VALUES (?, ?)"
            self._database.executemany(query, [(name, seen) for name in vanished])
            self.vanished_names |= vanished
        ids = {name.rpartition(".")[0] for name in gone}
        self._add([name for name in lines_of(listing) if name.rpartition(".")[0] in ids])

    def _add(self, names: list[str]) -> None:
        """Put the records of files into the tables."""
        if not names:
            return
        self._find_again(names)
        self._packs = len(names) >= results.LARGE and not any(k.count for k in self.kinds.values())
        own, others = halves.split(names) if self._is_on_disk() else (names, [])
        with progress(len(names), f"Indexing {self.source.key or 'observations'}") as advance:
            if others:
                self._add_with_a_child(own, others, advance)
            else:
                self._add_own(own, advance)
        if self._packs and self._are_all_packed():
            self._put("packed", True)

    def _are_all_packed(self) -> bool:
        """Whether the whole columns are those of the rows, of which no two have one id."""
        assert self._database is not None
        (packed,) = self._database.execute("SELECT ifnull(sum(count), 0) FROM chunks").fetchone()
        return bool(packed == sum(kind.count for kind in self.kinds.values()))

    def _add_own(self, names: list[str], advance: halves.Advance) -> None:
        for some in prepared(self.source, names):
            self._note_damage(some.problems)
            for rows in some.rows:
                self._insert(rows)
            advance(some.files)

    def _add_with_a_child(self, own: list[str], others: list[str], advance: halves.Advance) -> None:
        """Have a child make tables of some records, and take these over."""
        path = os.path.join(os.path.dirname(self._file()), f".{new_id()}.part")
        child = halves.Child(lambda tell: self._make_part(path, others, tell))
        try:
            self._add_own(own, advance)
            whole = child.wait(advance) and self._take_over(path)
        finally:
            child.leave()
            with suppress(FileNotFoundError):
                os.unlink(path)
        if not whole:
            self._add_own(others, advance)

    def _make_part(self, path: str, names: list[str], tell: halves.Advance) -> None:
        """Make tables of some records in a file of their own."""
        part = Index(self.source)
        part._packs = self._packs
        part._database = database.begin_part(path)
        part._database.execute("BEGIN")
        with paused_collection():
            part._add_own(names, tell)
        part._database.execute("COMMIT")
        part._database.close()

    def _is_on_disk(self) -> bool:
        return bool(self._file())

    def _file(self) -> str:
        """The file of the database, empty for one in memory."""
        assert self._database is not None
        path: str = self._database.execute("PRAGMA database_list").fetchone()[2]
        return path

    def _take_over(self, path: str) -> bool:
        """Take over the tables that another index has made in a file; False if they do not fit."""
        assert self._database is not None
        run = self._database.execute
        run("ATTACH ? AS part", (path,))
        names = dict(run("SELECT slot, name FROM part.columns").fetchall())
        numbers = []
        for theirs, detail in run("SELECT kind, detail FROM part.kinds").fetchall():
            blocks, shared, simple = load_pickle(detail)
            key = kind_key(blocks, shared, simple)
            kind = self._kind_of.get(key) or self._new_kind(key, shared)
            if kind.simple != simple:
                return False
            numbers.append(f"({theirs}, {kind.number})")
        if not all(name in self.slots for name in names.values()):
            return False
        if numbers:
            theirs = ", ".join(["id", "start", "ours", *(f"c{slot}" for slot in names)])
            ours = ["id", "start", "kind", *(f"c{self.slots[name]}" for name in names.values())]
            renumbered = f"WITH numbers(theirs, ours) AS (VALUES {', '.join(numbers)})"
            run(
                f"{renumbered} INSERT OR IGNORE INTO rows ({', '.join(ours)}) "
                f"SELECT {theirs} FROM part.rows CROSS JOIN numbers ON theirs = kind"
            )
            run(
                f"{renumbered} INSERT INTO chunks (kind, count, data) SELECT ours, count, data "
                "FROM part.chunks CROSS JOIN numbers ON theirs = kind ORDER BY part.chunks.rowid"
            )
        run("INSERT OR REPLACE INTO rests SELECT * FROM part.rests")
        self._note_damage(dict(run("SELECT name, problem FROM part.damaged")))
        for number, count in run("SELECT kind, count(*) FROM rows GROUP BY kind").fetchall():
            self._count(self.kinds[number], count - self.kinds[number].count)
        return True

    def _find_again(self, names: list[str]) -> None:
        """Forget what is known of files that are looked at again."""
        assert self._database is not None
        if not (self.damaged or self.vanished_names):
            return
        for name in self.damaged.keys() & set(names):
            del self.damaged[name]
            self._database.execute("DELETE FROM damaged WHERE name = ?", (name,))
        for name in self.vanished_names.intersection(names):
            self.vanished_names.remove(name)
            self._database.execute("DELETE FROM vanished WHERE name = ?", (name,))

    def _note_damage(self, problems: dict[str, str]) -> None:
        assert self._database is not None
        self.damaged.update(problems)
        query = "INSERT OR REPLACE INTO damaged VALUES (?, ?)"
        self._database.executemany(query, problems.items())

    def _new_kind(self, key: Key, shared: dict[str, Plain]) -> Kind:
        """A kind that was not seen before, with columns for what it holds."""
        assert self._database is not None
        blocks, _, simple = key
        paths = paths_of(blocks)
        names = [column_name(path) for path in paths]
        plain = all(type(key) is str for path in paths for key in path)
        fits = len(set(names)) == len(names)
        for name in names:
            if name not in self.slots and len(self.slots) < SLOTS:
                slot = len(self.slots)
                self._database.execute(f"ALTER TABLE rows ADD COLUMN c{slot}")
                self._database.execute("INSERT INTO columns VALUES (?, ?)", (slot, name))
                self.slots[name] = slot
        simple = simple and plain and fits and all(name in self.slots for name in names)
        known = self._kind_of.get(kind_key(blocks, shared, simple))
        if known is None:
            number = 1 + max(self.kinds, default=0)
            known = Kind(number, blocks, shared, simple)
            detail = pickle.dumps((blocks, shared, simple))
            self._database.execute("INSERT INTO kinds VALUES (?, 0, ?)", (number, detail))
            self._add_kind(known)
        self._kind_of[key] = known
        return known

    def _insert(self, rows: Rows) -> None:
        assert self._database is not None
        kind = self._kind_of.get(rows.key) or self._new_kind(rows.key, rows.shared)
        columns = rows.columns
        if not kind.simple:
            query = "INSERT OR REPLACE INTO rests VALUES (?, ?)"
            self._database.executemany(query, zip(rows.ids, _rests(kind, rows), strict=True))
            columns = [c for c, keep in zip(columns, kind.kept, strict=True) if keep]
        slots = [f"c{slot}" for slot in kind.columns.values()]
        places = ", ".join(["id", "start", "kind", *slots])
        marks = ", ".join(["?", "?", str(kind.number), *("?" * len(slots))])
        query = f"INSERT OR IGNORE INTO rows ({places}) VALUES ({marks})"
        if self._packs:
            data = results.pack([rows.ids, rows.starts, *columns])
            chunk = (kind.number, len(rows.ids), data)
            self._database.execute("INSERT INTO chunks VALUES (?, ?, ?)", chunk)
        cells = zip(rows.ids, rows.starts, *columns, strict=True)
        self._count(kind, self._database.executemany(query, cells).rowcount)

    def _count(self, kind: Kind, change: int) -> None:
        assert self._database is not None
        kind.count += change
        query = "UPDATE kinds SET count = ? WHERE kind = ?"
        self._database.execute(query, (kind.count, kind.number))

    def _update_flight(self, flight: dict[str, dict[str, Plain]]) -> None:
        """Put the runs in flight into the tables as they are now."""
        with self._transaction():
            self._reload()
            self._drop_chunks()
            self._drop_flight()
            for rows in rows_of(flight.items()):
                self._insert(rows)
            self._put("flight", flight)

    def _drop_chunks(self) -> None:
        """Whole columns hold only as long as no row comes or goes."""
        assert self._database is not None
        if self._meta.pop("packed", None):
            self._database.execute("DELETE FROM chunks")
            self._database.execute("DELETE FROM meta WHERE key = 'packed'")

    def chunks(self, kinds: Iterable[Kind]) -> Iterator[tuple[Kind, int, list[results.Packed]]]:
        """The columns ``id``, ``start`` and those of the kind, some thousand rows at a time."""
        assert self._database is not None
        wanted = {kind.number: kind for kind in kinds}
        for number, count, data in self._database.execute("SELECT kind, count, data FROM chunks"):
            if number in wanted:
                yield wanted[number], count, load_pickle(data)

    @property
    def has_chunks(self) -> bool:
        """Whether there are whole columns of all rows."""
        return "packed" in self._meta

    def _drop_flight(self) -> None:
        assert self._database is not None
        for id in self._meta.get("flight", {}):
            self._delete_row(id)
        self._meta.pop("flight", None)
        self._database.execute("DELETE FROM meta WHERE key = 'flight'")

    def _delete_row(self, id: str) -> bool:
        """Remove the row of an id; whether there was one."""
        assert self._database is not None
        run = self._database.execute
        found = run("DELETE FROM rows WHERE id = ? RETURNING kind", (id,)).fetchall()
        run("DELETE FROM rests WHERE id = ?", (id,))
        for (number,) in found:
            self._count(self.kinds[number], -1)
        return bool(found)

    def _update_notes(self, state: list[int] | None) -> None:
        assert self._database is not None
        notes = self.source.all_notes()
        with self._transaction():
            run = self._database.execute
            run("DELETE FROM tags")
            run("DELETE FROM notes")
            for id, added in notes.items():
                for tag, given in added.tags.items():
                    run("INSERT INTO tags VALUES (?, ?, ?)", (id, cell(tag), given))
                if added.text is not None:
                    run("INSERT INTO notes VALUES (?, ?)", (id, cell(added.text)))
            self._put("notes", state)
        self.notes = notes


def _rests(kind: Kind, rows: Rows) -> Iterator[bytes]:
    """Whole records, of those too whose columns are too many, or of one name."""
    for rest, *values in zip(rows.rests, *rows.columns, strict=True):
        whole = restore(kind.paths, map(uncell, values), rows.shared)
        yield pickle.dumps(whole, 5) if rest is None else rest
