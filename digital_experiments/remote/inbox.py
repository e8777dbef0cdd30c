"""What comes from a bucket into its working copy, at each look."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache

from digital_experiments.errors import DamagedRecord
from digital_experiments.files import (
    folder_state,
    is_settled,
    make_folder,
    read_bytes,
    write_here,
)
from digital_experiments.ids import new_id
from digital_experiments.memory import paused_collection
from digital_experiments.remote.buckets import Bucket
from digital_experiments.remote.names import RECORDS, id_of, is_record, is_safe, kind, listed
from digital_experiments.remote.opening import SEEN
from digital_experiments.remote.outbox import Outbox
from digital_experiments.store.blobs import sha256
from digital_experiments.store.elsewhere import is_from_elsewhere, note_elsewhere
from digital_experiments.store.flight import SILENT
from digital_experiments.store.formats import check_record
from digital_experiments.store.layout import (
    BLOBS,
    CLAIMS,
    DAMAGED,
    NOTES,
    RUNNING,
    STORAGE,
    STUDIES,
    TRASH,
)
from digital_experiments.store.progress import progress
from digital_experiments.store.records import (
    note_replaced,
    parse_record,
    purged,
    split_name,
)

_CHUNK = 2000  # objects that are fetched before they are written
_LISTED = (NOTES, RUNNING, TRASH, f"{TRASH}/{RUNNING}", DAMAGED)


class Inbox:
    """Brings records, notes, plans and runs in flight of others into a working copy.

    Parameters
    ----------
    folder : str
        The folder of the copy.
    name : str
        What the bucket is called.
    bucket : callable
        Gives what is asked, in this process.
    outbox : Outbox
        What is told of files that have not gone up yet.
    shown : collection of str
        The names of runs in flight that this process shows.

    Attributes
    ----------
    whole : set of str
        The folders of runs whose files are here and have been handed out.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        bucket: Callable[[], Bucket],
        outbox: Outbox,
        shown: Container[str],
    ) -> None:
        self.whole: set[str] = set()
        self._folder = folder
        self._name = name
        self._bucket = bucket
        self._outbox = outbox
        self._shown = shown
        self._records: set[str] = set()
        self._state: list[int] | None = None
        self._moments: dict[str, float] = {}
        self._lag: float | None = None

    def settle(self, here: set[str], seen: dict[str, str], stamps: dict[str, str]) -> None:
        """Make the folder what the bucket is, but for what has not gone up yet.

        Parameters
        ----------
        here, seen
            What was in the folder, and in the bucket at the last look, before this one.
        stamps
            What is in the bucket.
        """
        if stamps != seen or here != stamps.keys():
            changed = {name for name, stamp in stamps.items() if seen.get(name) != stamp}
            wanted = changed | (stamps.keys() - here)
            wanted -= self._outbox.replacing()
            self._fetch([n for n in wanted if self._is_to_be_fetched(n, here, seen)])
            self._drop(here - stamps.keys(), stamps.keys() | seen.keys())
            with suppress(OSError):  # a full disk: the next look takes longer
                write_here(self._folder, SEEN, json.dumps(stamps).encode())
        self._outbox.owed |= self._outbox.replacing() & here
        if self._outbox.owed:
            self._outbox.send({})

    def _forget_files(self, names: Iterable[str]) -> None:
        """Remove the files of runs whose records are replaced by others from the bucket."""
        for name in names:
            if os.path.exists(f"{self._folder}/{name}"):
                note_replaced(self._folder, id_of(name) or "")
                folder = f"{STORAGE}/{id_of(name)}"
                self.whole.discard(folder)
                shutil.rmtree(f"{self._folder}/{folder}", ignore_errors=True)

    def _drop(self, names: set[str], known: set[str]) -> None:
        """Remove what was deleted elsewhere; the rest of what is not there is to go up."""
        gone = purged(self._folder)
        for name in names - self._outbox.sending:
            if name in known or f"{TRASH}/{name}" in known or id_of(name) in gone:
                with suppress(FileNotFoundError):
                    os.unlink(f"{self._folder}/{name}")
            elif kind(name) != RUNNING:
                self._outbox.owed.add(name)

    def _is_to_be_fetched(self, name: str, here: set[str], seen: dict[str, str]) -> bool:
        if name in self._shown or not is_safe(name):
            return False  # this process writes it; or its name points elsewhere
        return name not in here or name in seen or kind(name) == RUNNING

    def listing(self) -> dict[str, str]:
        """The records, notes, plans and runs in flight that are in the bucket, and the stamps."""
        with paused_collection():
            stamps, folders = self._bucket().stamps(RECORDS)
        calls = [("here", part) for part in _LISTED if part.partition("/")[0] in folders]
        inside = dict(self._bucket().below(STUDIES)) if STUDIES in folders else {}
        for found, _ in self._bucket().each(calls):
            inside.update(found)
        self._moments = {name: it.modified for name, it in inside.items() if kind(name) == RUNNING}
        stamps.update((name, it.stamp) for name, it in inside.items())
        return stamps

    def names_here(self) -> set[str]:
        """The names of the same in the folder."""
        found = self._records_here()
        for part in _LISTED:
            found |= {f"{part}/{n}" for n in listed(f"{self._folder}/{part}")}
        for study in listed(f"{self._folder}/{STUDIES}", folders=True):
            found |= {f"{STUDIES}/{study}/{n}" for n in listed(f"{self._folder}/{STUDIES}/{study}")}
        return found

    def _records_here(self) -> set[str]:
        state, now = folder_state(self._folder), time.time()
        if state is None or state != self._state:
            make_folder(self._folder)  # somebody may have removed it
            names = os.listdir(self._folder)
            self._records = {name for name in names if name.endswith(RECORDS) and name[0] != "."}
            self._state = state if state is not None and is_settled(state, now) else None
        return self._records.copy()

    def seen(self) -> dict[str, str]:
        """What was in the bucket when it was last looked at, and the stamps."""
        path = f"{self._folder}/{SEEN}"
        try:
            return _loaded(path, os.stat(path).st_mtime_ns)
        except (OSError, ValueError):
            return {}

    def _fetch(self, names: Sequence[str]) -> None:
        """Write objects into the folder."""
        with progress(len(names), f"Fetching from {self._name}") as advance:
            for start in range(0, len(names), _CHUNK):
                some = names[start : start + _CHUNK]
                answers = self._bucket().many([("read", name) for name in some], advance)
                self._keep_all(dict(zip(some, answers, strict=True)))

    def _keep_all(self, answers: dict[str, bytes | Exception]) -> None:
        self._outbox.journal.settle()  # what this machine has made is not from elsewhere
        found = {}
        for name, data in answers.items():
            if isinstance(data, bytes):
                if data != self._outbox.content(name) and not self._is_better_here(name, data):
                    found[name] = data
            elif not isinstance(data, FileNotFoundError):  # else it was deleted meanwhile
                raise data
        note_elsewhere(
            self._folder,
            [id for n in found if (id := id_of(n)) and not self._was_here(n, found[n])],
        )
        self._forget_files(name for name in found if is_record(name))
        for name, data in found.items():
            self.keep(name, data)
            if kind(name) == RUNNING:
                moment = self._last_beat(name)
                os.utime(f"{self._folder}/{name}", (moment, moment))

    def _last_beat(self, name: str) -> float:
        """When a run in flight last showed that it lives, by the clock of this machine."""
        now = time.time()
        beat = self._moments.get(name, now)
        if now - SILENT / 2 < beat <= now:
            return beat
        return beat + self._behind()

    def _behind(self) -> float:
        """The seconds by which the clock of the server is behind ours; zero if it won't tell."""
        if self._lag is None:
            self._lag = 0.0
            name = f"{CLAIMS}/{new_id()}.clock"
            with suppress(OSError, KeyError):
                self._bucket().write(name, b"", new=False)
                self._lag = time.time() - self._bucket().here(CLAIMS)[0][name].modified
                self._bucket().remove(name)
        return self._lag

    def _was_here(self, name: str, data: bytes) -> bool:
        """Whether a record of this machine was moved by somebody: to the trash, or out of it."""
        if is_from_elsewhere(self._folder, id_of(name) or ""):
            return False
        last = name.rpartition("/")[2]
        return kind(name) in ("", TRASH) and data in map(
            self._outbox.content, (last, f"{TRASH}/{last}")
        )

    def _is_better_here(self, name: str, data: bytes) -> bool:
        """Whether a record was damaged in the bucket and is whole here, or a run lives here."""
        if kind(name) == RUNNING:
            is_ours = not is_from_elsewhere(self._folder, id_of(name) or "")
            return is_ours and os.path.exists(f"{self._folder}/{name}")
        return is_record(name) and self.is_whole(name) and not _can_be_read(name, data)

    def keep(self, name: str, data: bytes) -> None:
        """Write an object into the folder."""
        folder, _, last = f"{self._folder}/{name}".rpartition("/")
        write_here(folder, last, data)

    def is_whole(self, name: str) -> bool:
        """Whether a record of this machine, or a blob, is here and not damaged."""
        data = self._outbox.content(name)
        if data is None:
            return False
        if kind(name) == BLOBS:
            return sha256(data) == name.rpartition("/")[2].partition(".")[0]
        if not is_record(name) or is_from_elsewhere(self._folder, id_of(name) or ""):
            return False
        return _can_be_read(name, data)


def _can_be_read(name: str, data: bytes) -> bool:
    """Whether the bytes of a record are those of its observation."""
    parts = split_name(name)
    if parts is None:
        return False
    try:
        check_record(parse_record(data, parts[1])[0], parts[0])
    except DamagedRecord:
        return False
    return True


@lru_cache(maxsize=8)
def _loaded(path: str, changed: int) -> dict[str, str]:
    found: dict[str, str] = json.loads(read_bytes(path))
    return found
