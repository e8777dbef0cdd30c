"""The working copy of a store on a bucket: a folder that is kept equal with it.

All that works on stores works on this folder. What is written there goes up at once, records last;
what can't go up stays, and goes up later. Records, notes and plans of others come at each look, by
one listing; blobs and files of runs when they are asked for.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from digital_experiments.errors import BucketUnreachable, OfflineWarning
from digital_experiments.faults import warn_user
from digital_experiments.files import (
    is_temporary,
    make_folder,
    write_here,
)
from digital_experiments.followed import follow
from digital_experiments.remote.buckets import Bucket, Found
from digital_experiments.remote.inbox import Inbox
from digital_experiments.remote.names import id_of, is_fit, is_record, is_safe, kind
from digital_experiments.remote.opening import (
    PLACE,
    bucket_of,
    download,
    folder_for,
    is_known,
    is_on_bucket,
    known_places,
)
from digital_experiments.remote.outbox import Outbox, blob_object, files_in
from digital_experiments.remote.places import Place
from digital_experiments.store.elsewhere import is_from_elsewhere, note_elsewhere
from digital_experiments.store.flight import flight_name, in_flight
from digital_experiments.store.layout import (
    BLOBS,
    CACHE,
    CLAIMS,
    DAMAGED,
    NOTES,
    RUNNING,
    STORAGE,
    STUDIES,
    TRASH,
)
from digital_experiments.store.records import (
    PARSERS,
    record_names,
    split_name,
)
from digital_experiments.upkeep.references import names_in

_NO_ROOM = (errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", -1))
_BEAT = 10.0  # seconds between two signs of life of a run
_CHECKED = (BLOBS, NOTES, STUDIES, TRASH, DAMAGED)
_FETCHED = (BLOBS, STORAGE, CACHE, TRASH, DAMAGED, RUNNING, "")


class WorkingCopy:
    """A folder of this machine that is kept equal with a store on a bucket.

    Parameters
    ----------
    place : Place
        Where the store is.
    folder : str
        The folder.

    Attributes
    ----------
    trust : bool
        Whether pickles that others have put there may be loaded.
    """

    def __init__(self, place: Place, folder: str) -> None:
        self.place = place
        self.folder = folder
        self.name = place.uri
        self.trust = False
        self.outbox = Outbox(folder, place.uri, lambda: self.bucket)
        self._made_in = os.getpid()
        self._bucket: Bucket | None = None
        self._bucket_of: int | None = None
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)
        self._shown: dict[str, float] = {}
        self._inbox = Inbox(folder, place.uri, lambda: self.bucket, self.outbox, self._shown)
        make_folder(folder)
        told = {"uri": place.uri, "endpoint": place.endpoint, "account": place.account}
        write_here(folder, PLACE, json.dumps(told).encode())
        follow(folder, self)

    def _renew_lock(self) -> None:
        self._lock = self.outbox.lock = threading.RLock()  # a thread of a parent may hold the old
        self.outbox.journal.renew()

    @property
    def bucket(self) -> Bucket:
        """What is asked, of this process."""
        if self._bucket is None or self._bucket_of != os.getpid():
            self._bucket, self._bucket_of = bucket_of(self.place), os.getpid()
        return self._bucket

    def move_to(self, place: Place) -> None:
        """Open the bucket in another way from now on."""
        self.place, self._bucket = place, None

    def _can_ask(self) -> bool:
        return self.outbox.is_open and not self._is_away()

    def _is_away(self) -> bool:
        """Whether this is the child of a process that alone has the bucket."""
        return self.place.is_in_process and os.getpid() != self._made_in

    def _fail(self, problem: Exception) -> None:
        self.outbox.fail(problem)
        self._flush_at_exit()

    def _flush_at_exit(self) -> None:
        if self._made_in == os.getpid():
            atexit.unregister(self._flush_if_open)
            atexit.register(self._flush_if_open)

    def _flush_if_open(self) -> None:
        if self.outbox.is_open:  # else it has just been tried
            self.flush()

    def is_store(self, place: Place) -> bool:
        """Whether there is a store in the bucket, asked as told, as far as that can be seen now."""
        if not self._can_ask():
            return True
        try:
            return is_on_bucket(place)
        except BucketUnreachable as problem:
            self._fail(problem)
            return True

    def trouble(self) -> str | None:
        """What went wrong, once."""
        return self.outbox.trouble()

    # -- what is done in the folder -----------------------------------------------------------

    def takes(self, path: str, data: bytes | Callable[[], bytes]) -> bool:
        """Keep a record in the journal, and send it; False for all else, and while none go up."""
        name = self._name(path)
        if not is_record(name) or self.outbox.is_held or not self._can_ask():
            return False
        written = data if isinstance(data, bytes) else data()
        self.outbox.journal.add(name, written)
        self._take(name, written)
        return True

    def wrote(self, path: str, data: bytes) -> None:
        """A file has been written: it goes up, unless it goes with what names it."""
        name = self._name(path)
        if kind(name) == BLOBS:
            self.outbox.take_blob(name.rpartition("/")[2])
        elif kind(name) == RUNNING:
            self._show(name, data)
        elif kind(name) not in (STORAGE, CLAIMS):
            self._take(name, data)

    def _take(self, name: str, data: bytes) -> None:
        if self._is_away():  # the parent sends it
            return
        self.outbox.take(name, data)
        if self.outbox.owed:
            self._flush_at_exit()

    @contextmanager
    def held(self, replaced: Iterable[str] = ()) -> Iterator[None]:
        """Send what is written meanwhile at the end, many at a time.

        Parameters
        ----------
        replaced
            The names of records that take the place of others, also if that is interrupted.

        Raises
        ------
        BucketUnreachable, PermissionError
            If it can't be sent; it is sent later.
        """
        try:
            with self.outbox.held(replaced):
                yield
            if self._can_ask():
                self._send_lost()
        finally:
            if self.outbox.owed:
                self._flush_at_exit()

    def _show(self, name: str, data: bytes) -> None:
        """Show that a run lives, from time to time; where that can't be done it is not shown."""
        now = time.monotonic()
        if now - self._shown.get(name, -_BEAT) < _BEAT or not self._can_ask():
            return
        try:
            self.bucket.write(name, data, new=False)
            self._shown[name] = now
        except OSError as problem:
            self._fail(problem)

    def removing(self, paths: list[str]) -> None:
        """Files, or folders, are about to be removed: they are from the bucket first.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be done; then nothing is removed here either.
        """
        names = [self._name(path) for path in paths]
        landing = [name for name in names if kind(name) == RUNNING]
        self.outbox.owed.difference_update(names)
        if landing == names:
            self._hide(landing)
            return
        self.outbox.journal.settle()
        whole = [inside for name in names for inside in self._objects(name)]
        self.bucket.each([("remove", name) for name in whole])

    def _hide(self, names: list[str]) -> None:
        """Runs have ended; where that can't be shown, their records tell it."""
        shown = [
            name for name in names if self._shown.pop(name, None) or name in self._inbox.seen()
        ]
        if shown and self._can_ask():
            self.bucket.many([("remove", name) for name in shown])

    def moving(self, source: str, target: str) -> None:
        """A file, or a folder, is about to be moved: it is in the bucket first.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be done; then nothing is moved here either.
        """
        self.outbox.journal.settle()
        old, new = self._name(source), self._name(target)
        names = self._objects(old)
        pairs = [(name, new + name[len(old) :]) for name in names]
        answers = self.bucket.many([("copy", *pair) for pair in pairs])
        there = []
        for (name, _), answer in zip(pairs, answers, strict=True):
            if not isinstance(answer, Exception):
                there.append(name)
            elif not isinstance(answer, FileNotFoundError):  # it has not gone up yet
                raise answer
        self.bucket.each([("remove", name) for name in there])
        self.outbox.owed.difference_update(names)

    def _objects(self, name: str) -> list[str]:
        """The object of a file, or those of a folder, whose name ends with a slash."""
        return list(self.bucket.below(name[:-1])) if name.endswith("/") else [name]

    # -- looking ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what is owed by any process of this machine."""
        self.outbox.reopen()
        with suppress(OSError):
            self.refresh()

    def sync(self) -> int:
        """Send what is owed by any process of this machine, and return how much that was.

        Raises
        ------
        BucketUnreachable, PermissionError
            If it can't be sent; it is owed on.
        """
        before = self.outbox.sent
        self.outbox.reopen()
        self.refresh()
        told = self.trouble()
        if told is not None:
            raise BucketUnreachable(told)
        return self.outbox.sent - before + self._send_lost()

    def _send_lost(self) -> int:
        """Send what is left of runs that were killed, but for those that are others'; how much."""
        self.outbox.journal.settle()
        seen = self._inbox.seen()
        lost = [
            id
            for id, run in in_flight(self.folder).items()
            if _is_lost(run)
            and (flight_name(id) not in seen or not is_from_elsewhere(self.folder, id))
        ]
        files = sum(self.outbox.send_files(id) for id in lost)
        shown = [name for id in lost if (name := flight_name(id)) not in seen]
        self.bucket.each([("write", n, self.outbox.content(n) or b"", False) for n in shown])
        return files + len(shown)

    def refresh(self) -> None:
        """Bring what others have recorded, noted or deleted since, and send what is owed.

        Raises
        ------
        BucketUnreachable
            If the bucket does not answer, and never has.
        PermissionError
            If it may not be read.
        """
        try:
            self._refresh()
        except OSError as problem:
            if problem.errno not in _NO_ROOM:
                raise
            warn_user(
                f"The working copy of {self.name} can't be written ({problem}): what is not in it "
                "yet is not shown. Make room there, or have DE_DATA_DIR name another folder.",
                OfflineWarning,
            )

    def _refresh(self) -> None:
        self.outbox.journal.settle()
        if not self._can_ask():
            return
        with self._lock:
            here, seen = self._inbox.names_here(), self._inbox.seen()
            try:
                stamps = self._inbox.listing()
            except BucketUnreachable as problem:
                if not is_known(self.folder):
                    raise
                self._fail(problem)
                return
            self.outbox.answered()
            if not self.outbox.is_held:
                self._inbox.settle(here, seen, stamps)

    # -- fetching -----------------------------------------------------------------------------

    def fetched(self, path: str) -> bool:
        """Bring a file that is missing; False if there is none.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be told.
        """
        name = self._name(path)
        if kind(name) not in _FETCHED or not is_safe(name) or self._is_away():
            return False
        if kind(name) == "" and split_name(name) is None:
            return False
        if self._has_come(name):
            return True
        if not self._can_ask():
            raise BucketUnreachable(f"{self.name} can't be reached, and {name} is only there.")
        try:
            data = self.bucket.read(name)
        except FileNotFoundError:
            return False
        except BucketUnreachable as problem:
            self._fail(problem)
            raise
        if kind(name) == CACHE and b" " in data:
            if not self.trust:
                return False  # it would have a pickle loaded that somebody else has made
            note_elsewhere(self.folder, [name.rpartition("/")[2]])
        if not self._has_come(name):
            note_elsewhere(self.folder, filter(None, [id_of(name)]))
            self._inbox.keep(name, data)
        return True

    def _has_come(self, name: str) -> bool:
        """Whether a record is one that this machine has made meanwhile."""
        if not is_record(name):
            return False
        self.outbox.journal.settle()
        return os.path.exists(f"{self.folder}/{name}")

    def fetch_folder(self, path: str) -> None:
        """Bring all files of a folder: of a run that this machine has not made."""
        name = self._name(path)
        id = name.rpartition("/")[2]
        self.outbox.journal.settle()
        is_here = name in self._inbox.whole and os.path.isdir(path)
        if is_here or self._is_made_here(id) or self._is_away():
            return
        found = self.bucket.below(name)
        self._download(found)
        if not self._is_recorded(id):  # it is being made, perhaps here
            return
        for old in files_in(path):
            name = self._name(old)
            if name not in found and is_fit(name) and not is_temporary(old):  # it was pruned
                os.unlink(old)
        self._inbox.whole.add(name)

    def _download(self, found: dict[str, Found]) -> None:
        download(self.bucket, found, self.folder)

    def _is_made_here(self, id: str) -> bool:
        return self._is_recorded(id) and not is_from_elsewhere(self.folder, id)

    def _is_recorded(self, id: str) -> bool:
        return any(os.path.exists(f"{self.folder}/{id}{suffix}") for suffix in PARSERS)

    def fetch_runs(self, ids: Iterable[str]) -> set[str]:
        """Bring the blobs and the files of runs that this machine has not made, many at a time.

        Returns
        -------
        set of str
            The ids of those of which no file was here before.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be done.
        """
        self.outbox.journal.settle()
        wanted = {id for id in ids if not self._is_made_here(id)}
        if not wanted:
            return wanted
        new = {id for id in wanted if not os.path.exists(f"{self.folder}/{STORAGE}/{id}")}
        files = self.bucket.below(STORAGE)
        self._download({n: it for n, it in files.items() if n.split("/")[1] in wanted})
        names = [n for n, (id, _) in record_names(self.folder).items() if id in wanted]
        blobs = set().union(*(names_in(self.outbox.content(name) or b"") for name in names))
        missing = [b for b in blobs if not os.path.exists(f"{self.folder}/{blob_object(b)}")]
        if missing:
            there = self.bucket.below(BLOBS)
            self._download({n: there[n] for b in missing if (n := blob_object(b)) in there})
        return new

    def files_below(self, path: str) -> dict[str, int]:
        """The files below a folder, in the bucket, and the bytes of each."""
        name = self._name(path)
        return {inside[len(name) + 1 :]: it.size for inside, it in self.bucket.below(name).items()}

    @contextmanager
    def as_it_is(self) -> Iterator[str]:
        """A folder with all records, notes, plans and blobs as they are in the bucket now.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be had.
        """
        self.outbox.reopen()
        self.refresh()
        objects = self.bucket.below("")
        wanted = {n: it for n, it in objects.items() if is_safe(n) and _is_checked(n)}
        with tempfile.TemporaryDirectory(prefix="digital_experiments-") as folder:
            download(self.bucket, wanted, folder)
            yield folder

    def heal(self, names: Iterable[str]) -> list[str]:
        """Send what is damaged or missing in the bucket and whole here; what that was."""
        healed = [name for name in names if self._inbox.is_whole(name)]
        calls = [("write", name, self.outbox.content(name), False) for name in healed]
        self.bucket.each(calls)
        return healed

    def claims(self) -> Any:
        """Claims among all who share the bucket."""
        from digital_experiments.remote.claims import RemoteClaims

        return RemoteClaims(self.bucket)

    def sweepers(self) -> list[Any]:
        """Who resumes sweeps on the bucket."""
        from digital_experiments.remote.claims import sweepers

        return list(sweepers(self.bucket))

    def collect(self, dry_run: bool) -> Any:
        """Remove the blobs that nothing names."""
        from digital_experiments.remote.collect import collect

        return collect(self, dry_run)

    def _name(self, path: str) -> str:
        return path[len(self.folder) + 1 :].replace(os.sep, "/")


def _is_checked(name: str) -> bool:
    """Whether a check looks at an object."""
    return is_record(name) or kind(name) in _CHECKED


def _is_lost(run: dict[str, Any]) -> bool:
    return bool(run["metadata"]["status"] == "lost")


_copies: dict[str, WorkingCopy] = {}


def working_copy(place: Place) -> WorkingCopy:
    """The working copy of the store at a place; one a process and place."""
    copy = _copies.get(place.key)
    if copy is None:
        copy = _copies[place.key] = WorkingCopy(place, folder_for(place))
    elif copy.place != place:
        copy.move_to(place)
    return copy


def working_copies() -> list[WorkingCopy]:
    """The working copies that this machine has of stores on buckets."""
    return [_copies.get(place.key) or working_copy(place) for place in known_places()]


def is_store(place: Place) -> bool:
    """Whether there is a store at a place; one that this machine has seen needs no bucket for it.

    Raises
    ------
    BucketUnreachable
        If the bucket does not answer, and this machine has not seen the store before.
    """
    if not is_known(folder_for(place)):
        return is_on_bucket(place)
    known = _copies.get(place.key) or working_copy(place)
    return known.is_store(place)  # who has it open goes on with other credentials than these
