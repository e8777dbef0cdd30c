"""The file that an index is kept in: where it lies, how it is opened, what its tables are.

Each build of an index is a file of its own in the user's cache directory; the newest counts.
So one process can build anew while others read, and deleting any of them loses nothing.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress

from digital_experiments.digest import short_hash
from digital_experiments.files import make_folder
from digital_experiments.ids import new_id

VERSION = 5
_ENDING = ".sqlite"
_UNUSED = 90 * 24 * 3600  # seconds
_ABANDONED = 3600  # seconds
_BUSY = 10.0  # seconds to wait for another writer
_DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_SCHEMA"}
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value); -- with rowids: keys are found past large values
CREATE TABLE columns (slot INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE kinds (kind INTEGER PRIMARY KEY, count INTEGER, detail BLOB);
CREATE TABLE rows (id TEXT PRIMARY KEY, kind INTEGER, start TEXT) WITHOUT ROWID;
CREATE TABLE chunks (kind INTEGER, count INTEGER, data BLOB);
CREATE TABLE rests (id TEXT PRIMARY KEY, data BLOB);
CREATE TABLE damaged (name TEXT PRIMARY KEY, problem TEXT) WITHOUT ROWID;
CREATE TABLE vanished (name TEXT PRIMARY KEY, seen TEXT) WITHOUT ROWID;
CREATE TABLE tags (id TEXT, tag TEXT, given INTEGER, PRIMARY KEY (id, tag)) WITHOUT ROWID;
CREATE TABLE notes (id TEXT PRIMARY KEY, note TEXT) WITHOUT ROWID;
"""


def index_folder(key: str) -> str:
    """The folder of the index of a store, by what tells the store from others."""
    place = os.environ.get("DE_CACHE_DIR")
    if not place:
        import platformdirs

        place = platformdirs.user_cache_dir("digital_experiments", appauthor=False)
    return os.path.join(os.path.expanduser(place), "index", short_hash(key.encode()))


def newest(folder: str) -> str | None:
    """The file of the last build of an index."""
    with suppress(OSError):
        found = [name for name in os.listdir(folder) if name.endswith(_ENDING)]
        return os.path.join(folder, max(found)) if found else None
    return None


def connect(path: str) -> sqlite3.Connection:
    """Open a database that may be used by any thread, one at a time."""
    database = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA temp_store = MEMORY")
    return database


def open_file(path: str) -> sqlite3.Connection | None:
    """The index in a file; None if another release made it."""
    database = connect(path)
    if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        database.close()
        return None
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    with suppress(OSError):
        os.utime(path)  # it is in use
    return database


def begin_file(folder: str) -> tuple[sqlite3.Connection, str]:
    """A new database that nobody else sees yet, and its path."""
    make_folder(folder)
    _remove_unused(os.path.dirname(folder))
    path = os.path.join(folder, f".{new_id()}.tmp")
    return begin_part(path), path


def begin_part(path: str) -> sqlite3.Connection:
    """A new database that a crash may spoil."""
    database = connect(path)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    create(database)
    return database


def finish_file(database: sqlite3.Connection, path: str) -> sqlite3.Connection:
    """Let everybody see a database that was begun, in place of earlier ones."""
    database.close()
    folder = os.path.dirname(path)
    final = os.path.join(folder, new_id() + _ENDING)
    os.replace(path, final)
    for name in os.listdir(folder):
        other = os.path.join(folder, name)
        if name.startswith("."):
            _discard_abandoned(other)
        elif not name.startswith(os.path.basename(final)):
            discard(other)
    finished = open_file(final)
    if finished is None:
        raise sqlite3.OperationalError("somebody removed the index as it was made")
    return finished


def _discard_abandoned(path: str) -> None:
    """Remove what a killed process has begun."""
    with suppress(OSError):
        if time.time() - os.stat(path).st_mtime > _ABANDONED:
            os.unlink(path)


def discard(path: str) -> None:
    """Remove a database; whoever has it open goes on with what it was."""
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(OSError):
            os.unlink(name)


def create(database: sqlite3.Connection) -> None:
    """Make the tables."""
    database.executescript(_SCHEMA)
    database.execute(f"PRAGMA user_version = {VERSION}")


def is_damage(problem: sqlite3.Error) -> bool:
    """Whether an error means that the file has to be made anew."""
    return getattr(problem, "sqlite_errorname", "SQLITE_ERROR").startswith(tuple(_DAMAGED))


def _remove_unused(place: str) -> None:
    """Remove the indexes of stores that nobody has looked at for three months."""
    with suppress(OSError):
        for folder in list(os.scandir(place)):
            path = newest(folder.path)
            if path and time.time() - os.stat(path).st_mtime > _UNUSED:
                for name in os.listdir(folder.path):
                    discard(os.path.join(folder.path, name))
                os.rmdir(folder.path)
