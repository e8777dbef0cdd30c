"""The working copy of a store on a bucket: a folder that is kept equal with it.

All that works on stores works on this folder. What is written there goes up at once, records last;
what can't go up stays, and goes up later. Records, notes and plans of others come at each look, by
one listing; blobs and files of runs when they are asked for.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from typing import Any

from digital_experiments.digest import short_hash
from digital_experiments.errors import BucketUnreachable, InvalidName
from digital_experiments.files import make_folder, read_bytes, write_here
from digital_experiments.followed import follow
from digital_experiments.ids import new_id
from digital_experiments.remote.buckets import Bucket, Found, FsspecBucket
from digital_experiments.remote.places import OBJECT_STORES, Place
from digital_experiments.store.elsewhere import is_from_elsewhere, note_elsewhere
from digital_experiments.store.flight import in_flight
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
    blob_folder,
)
from digital_experiments.store.progress import progress
from digital_experiments.store.records import PARSERS, purged, record_names, split_name
from digital_experiments.upkeep.references import blob_names, names_in, with_inner

FRESH = 3.0
"""Seconds for which a blob that was seen in the bucket is taken to be there."""

_SEEN = ".seen.json"
_PLACE = ".place.json"
_REST = 10.0  # seconds after which a bucket that did not answer is asked again
_BEAT = 10.0  # seconds between two signs of life of a run
_KEPT = 100
_CHUNK = 2000  # objects that are fetched before they are written
_GOES_WITH_RECORDS = (BLOBS, STORAGE)
_LISTED = (NOTES, RUNNING, TRASH, f"{TRASH}/{RUNNING}", DAMAGED)
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
        self._made_in = os.getpid()
        self._bucket: Bucket | None = None
        self._bucket_of: int | None = None
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)
        self._owed: set[str] = set()
        self._sending: set[str] = set()
        self._seen_blobs: dict[str, float] = {}
        self._new_blobs: set[str] = set()
        self._inner: dict[frozenset[str], set[str]] = {}
        self._moments: dict[str, float] = {}
        self._shown: dict[str, float] = {}
        self._whole: set[str] = set()
        self._held = 0
        self._sent = 0
        self._overwrites = False
        self._down_until = 0.0
        self._is_down = False
        self._trouble: str | None = None
        make_folder(folder)
        told = {"uri": place.uri, "endpoint": place.endpoint}
        write_here(folder, _PLACE, json.dumps(told).encode())
        follow(folder, self)

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()  # a thread of the parent's may hold it for ever

    @property
    def bucket(self) -> Bucket:
        """What is asked, of this process."""
        if self._bucket is None or self._bucket_of != os.getpid():
            self._bucket, self._bucket_of = bucket_of(self.place), os.getpid()
        return self._bucket

    # -- what is done in the folder -----------------------------------------------------------

    def wrote(self, path: str) -> None:
        """A file has been written: it goes up, unless it goes with what names it."""
        name = self._name(path)
        kind = _kind(name)
        if kind == BLOBS:
            self._new_blobs.add(name.rpartition("/")[2])
        elif kind == RUNNING:
            self._show(name, path)
        elif kind not in (*_GOES_WITH_RECORDS, CLAIMS):
            if self._held:
                self._owed.add(name)
            else:
                self.send(name)

    def _show(self, name: str, path: str) -> None:
        """Show that a run lives, from time to time; where that can't be done it is not shown."""
        now = time.monotonic()
        if now - self._shown.get(name, -_BEAT) < _BEAT or not self._can_ask():
            return
        try:
            self.bucket.write(name, read_bytes(path), new=False)
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
        landing = [name for name in names if _kind(name) == RUNNING]
        self._owed.difference_update(names)
        if landing == names:
            self._hide(landing)
            return
        whole = [inside for name in names for inside in self._objects(name)]
        self.bucket.each([("remove", name) for name in whole])

    def _hide(self, names: list[str]) -> None:
        """Runs have ended; where that can't be shown, their records tell it."""
        shown = [name for name in names if self._shown.pop(name, None) or name in self._seen()]
        if shown and self._can_ask():
            self.bucket.many([("remove", name) for name in shown])

    def moving(self, source: str, target: str) -> None:
        """A file, or a folder, is about to be moved: it is in the bucket first.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be done; then nothing is moved here either.
        """
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
        self._owed.difference_update(names)

    def _objects(self, name: str) -> list[str]:
        """The object of a file, or those of a folder, whose name ends with a slash."""
        return list(self.bucket.below(name[:-1])) if name.endswith("/") else [name]

    # -- sending ------------------------------------------------------------------------------

    @contextmanager
    def held(self, overwrites: bool = False) -> Iterator[None]:
        """Send what is written meanwhile at the end, many at a time.

        Raises
        ------
        BucketUnreachable, PermissionError
            If it can't be sent; it is sent later.
        """
        self._held += 1
        self._overwrites = overwrites
        try:
            yield
        finally:
            self._held -= 1
        try:
            self._send_owed()
        except OSError as problem:
            self._fail(problem)
            self._trouble = None
            raise
        finally:
            self._overwrites = False

    def send(self, *names: str) -> None:
        """Send files, and what is owed; where that can't be done they are owed too."""
        self._sending.update(names)
        try:
            if not self._can_ask():
                self._owed.update(names)
                return
            self._send(names)
            self._is_down = False
            self._send_owed()
        except OSError as problem:
            self._owed.update(names)
            self._fail(problem)
        finally:
            self._sending.difference_update(names)

    def _send_owed(self) -> None:
        if not self._owed:
            return
        with self._lock:
            names, self._owed = self._owed, set()
        try:
            self._send(sorted(names), shown=True)
        except OSError:
            self._owed.update(names)
            raise

    def _send(self, names: Sequence[str], shown: bool = False) -> None:
        begun = time.monotonic()
        contents = {name: data for name in names if (data := self._content(name)) is not None}
        if not contents:
            return
        blobs = self._blobs_of(frozenset().union(*map(names_in, contents.values())))
        self._ensure(blobs)
        with progress(len(contents), f"Sending to {self.name}") if shown else nullcontext() as told:
            files = [file for name in contents for file in self._files_of(name)]
            self.bucket.each([("upload", *file) for file in files])
            calls = [("write", *item, not self._overwrites) for item in contents.items()]
            answers = self.bucket.many(calls, told)
        if time.monotonic() - begun > 2 * FRESH:  # somebody may have collected them meanwhile
            self._seen_blobs.clear()
            self._ensure(blobs)
        problems = []
        for (name, data), answer in zip(contents.items(), answers, strict=True):
            if isinstance(answer, FileExistsError):
                self._compare(name, data)
            elif isinstance(answer, Exception):
                problems.append(answer)
                continue
            self._sent += 1
        for problem in problems:
            raise problem

    def _blobs_of(self, names: frozenset[str]) -> set[str]:
        """Blobs, and those that are named in them; equal ones are looked up."""
        found = self._inner.get(names)
        if found is None:
            if len(self._inner) > _KEPT:
                self._inner.clear()
            found = self._inner[names] = with_inner(self.folder, names)
        return found

    def _content(self, name: str) -> bytes | None:
        try:
            with open(f"{self.folder}/{name}", "rb") as file:
                return file.read()
        except FileNotFoundError:  # deleted meanwhile
            return None

    def _files_of(self, name: str) -> list[tuple[str, str]]:
        """The files of the run that a record is of: their names, and where they are."""
        parts = split_name(name)
        if parts is None:
            return []
        top = f"{self.folder}/{STORAGE}/{parts[0]}"
        return [
            (self._name(path), path)
            for place, _, names in os.walk(top)
            for inside in names
            if os.path.isfile(path := f"{place}/{inside}")
        ]

    def _ensure(self, blobs: Iterable[str]) -> None:
        """See that blobs are in the bucket."""
        now = time.monotonic()
        unsure = [b for b in blobs if now - self._seen_blobs.get(b, -FRESH) >= FRESH]
        if not unsure:
            return
        old = [b for b in unsure if b not in self._new_blobs]
        sizes = self.bucket.many([("size", self._blob(b)) for b in old])
        missing = {b for b, size in zip(old, sizes, strict=True) if isinstance(size, Exception)}
        wanted = [b for b in unsure if b in missing or b in self._new_blobs]
        paths = {b: f"{blob_folder(self.folder, b)}/{b}" for b in wanted}
        here = [b for b in wanted if os.path.exists(paths[b])]
        self.bucket.each([("upload", self._blob(b), paths[b]) for b in here])
        self._new_blobs.difference_update(here)
        self._seen_blobs.update(dict.fromkeys(unsure, now))

    def _blob(self, name: str) -> str:
        return f"{BLOBS}/{name[:2]}/{name}"

    def _compare(self, name: str, data: bytes) -> None:
        """What is there already under a name has to be the same."""
        if self.bucket.read(name) != data:
            self._trouble = (
                f"{self.name}/{name} is something else than {self.folder}/{name}; both were kept."
            )

    def _fail(self, problem: OSError) -> None:
        self._down_until = time.monotonic() + _REST
        if not self._is_down:
            self._is_down = True
            self._trouble = (
                f"{problem} What is recorded is kept in {self.folder}, and goes up with the next "
                "run that reaches the bucket, or by `digital-experiments sync`."
            )
        if self._made_in == os.getpid():
            atexit.unregister(self.flush)
            atexit.register(self.flush)

    def _can_ask(self) -> bool:
        return not self._is_away() and time.monotonic() >= self._down_until

    def _is_away(self) -> bool:
        """Whether this is the child of a process that alone has the bucket."""
        return self.place.is_in_process and os.getpid() != self._made_in

    def flush(self) -> None:
        """Send what is owed by any process of this machine."""
        self._down_until = 0.0
        with suppress(OSError):
            self.refresh()

    def sync(self) -> int:
        """Send what is owed by any process of this machine, and return how much that was.

        Raises
        ------
        BucketUnreachable, PermissionError
            If it can't be sent; it is owed on.
        """
        before = self._sent
        self._down_until, self._is_down = 0.0, False
        self.refresh()
        told = self.trouble()
        if told is not None:
            raise BucketUnreachable(told)
        self._send_files_of_lost_runs()
        return self._sent - before

    def _send_files_of_lost_runs(self) -> None:
        """Send what runs have left that were killed on this machine."""
        for id, record in in_flight(self.folder).items():
            if record["metadata"]["status"] == "lost":
                there = self.bucket.below(f"{STORAGE}/{id}")
                files = [file for file in self._files_of(f"{id}.pkl") if file[0] not in there]
                self.bucket.each([("upload", *file) for file in files])
                self._sent += bool(files)

    def trouble(self) -> str | None:
        """What went wrong, once."""
        told, self._trouble = self._trouble, None
        return told

    # -- fetching -----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring what others have recorded, noted or deleted since, and send what is owed.

        Raises
        ------
        BucketUnreachable
            If the bucket does not answer, and never has.
        PermissionError
            If it may not be read.
        """
        if not self._can_ask():
            return
        with self._lock:
            here = self._names_here()
            try:
                stamps = self._listing()
            except BucketUnreachable as problem:
                if not os.path.exists(f"{self.folder}/{_SEEN}"):
                    raise
                self._fail(problem)
                return
            self._is_down = False
            if not self._held:
                self._settle(here, stamps)

    def _settle(self, here: set[str], stamps: dict[str, str]) -> None:
        """Make the folder what the bucket is, but for what has not gone up yet."""
        seen = self._seen()
        if stamps != seen or here != stamps.keys():
            changed = {name for name, stamp in stamps.items() if seen.get(name) != stamp}
            wanted = changed | (stamps.keys() - here)
            self._fetch([n for n in wanted if self._is_to_be_fetched(n, here, seen)])
            self._drop(here - stamps.keys(), stamps.keys() | seen.keys())
            write_here(self.folder, _SEEN, json.dumps(stamps).encode())
        if self._owed:
            self.send()

    def _drop(self, names: set[str], known: set[str]) -> None:
        """Remove what was deleted elsewhere; the rest of what is not there is to go up."""
        gone = purged(self.folder)
        for name in names - self._sending:
            if name in known or f"{TRASH}/{name}" in known or _id_of(name) in gone:
                with suppress(FileNotFoundError):
                    os.unlink(f"{self.folder}/{name}")
            elif _kind(name) != RUNNING:
                self._owed.add(name)

    def _is_to_be_fetched(self, name: str, here: set[str], seen: dict[str, str]) -> bool:
        if name in self._shown or not _is_safe(name):
            return False  # this process writes it; or its name points elsewhere
        return name not in here or name in seen or _kind(name) == RUNNING

    def _listing(self) -> dict[str, str]:
        """The records, notes, plans and runs in flight that are in the bucket, and the stamps."""
        files, folders = self.bucket.stamps()
        stamps = {name: stamp for name, stamp in files.items() if _is_record(name)}
        calls = [("here", kind) for kind in _LISTED if kind.partition("/")[0] in folders]
        inside = dict(self.bucket.below(STUDIES)) if STUDIES in folders else {}
        for found, _ in self.bucket.each(calls):
            inside.update(found)
        self._moments = {name: it.modified for name, it in inside.items() if _kind(name) == RUNNING}
        return {**stamps, **{name: it.stamp for name, it in inside.items()}}

    def _names_here(self) -> set[str]:
        """The names of the same in the folder."""
        found = {name for name in os.listdir(self.folder) if _is_record(name)}
        for kind in _LISTED:
            found |= {f"{kind}/{n}" for n in _listed(f"{self.folder}/{kind}")}
        for study in _listed(f"{self.folder}/{STUDIES}", folders=True):
            found |= {f"{STUDIES}/{study}/{n}" for n in _listed(f"{self.folder}/{STUDIES}/{study}")}
        return found

    def _seen(self) -> dict[str, str]:
        """What was in the bucket when it was last looked at, and the stamps."""
        path = f"{self.folder}/{_SEEN}"
        try:
            return _loaded(path, os.stat(path).st_mtime_ns)
        except (OSError, ValueError):
            return {}

    def _fetch(self, names: Sequence[str]) -> None:
        """Write objects into the folder."""
        with progress(len(names), f"Fetching from {self.name}") as advance:
            for start in range(0, len(names), _CHUNK):
                some = names[start : start + _CHUNK]
                note_elsewhere(self.folder, filter(None, map(_id_of, some)))
                answers = self.bucket.many([("read", name) for name in some], advance)
                for name, data in zip(some, answers, strict=True):
                    if isinstance(data, FileNotFoundError):  # deleted meanwhile
                        continue
                    if isinstance(data, Exception):
                        raise data
                    self._keep(name, data)
                    if _kind(name) == RUNNING:
                        moment = self._moments.get(name, time.time())
                        os.utime(f"{self.folder}/{name}", (moment, moment))

    def _keep(self, name: str, data: bytes) -> None:
        folder, _, last = f"{self.folder}/{name}".rpartition("/")
        write_here(folder, last, data)

    def fetched(self, path: str) -> bool:
        """Bring a file that is missing; False if there is none.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be told.
        """
        name = self._name(path)
        if _kind(name) not in _FETCHED or not _is_safe(name) or self._is_away():
            return False
        if _kind(name) == "" and split_name(name) is None:
            return False
        if not self._can_ask():
            raise BucketUnreachable(f"{self.name} can't be reached, and {name} is only there.")
        try:
            data = self.bucket.read(name)
        except FileNotFoundError:
            return False
        if _kind(name) == CACHE and b" " in data and not self.trust:
            return False  # it would have a pickle loaded that somebody else has made
        note_elsewhere(self.folder, filter(None, [_id_of(name)]))
        self._keep(name, data)
        return True

    def fetch_folder(self, path: str) -> None:
        """Bring all files of a folder: of a run that this machine has not made."""
        name = self._name(path)
        id = name.rpartition("/")[2]
        if name in self._whole or self._is_made_here(id) or self._is_away():
            return
        self.fetch_folders([name])
        if self._is_recorded(id):
            self._whole.add(name)

    def fetch_folders(self, names: Iterable[str]) -> None:
        """Bring all files of some folders, many at a time.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be done.
        """
        listed = self.bucket.each([("below", name) for name in names])
        self.fetch_files({name: it for found in listed for name, it in found.items()})

    def fetch_files(self, found: dict[str, Found]) -> None:
        """Bring files of any size, those that are not here yet."""
        download(self.bucket, found, self.folder)

    def _is_made_here(self, id: str) -> bool:
        return self._is_recorded(id) and not is_from_elsewhere(self.folder, id)

    def _is_recorded(self, id: str) -> bool:
        return any(os.path.exists(f"{self.folder}/{id}{suffix}") for suffix in PARSERS)

    def fetch_runs(self, ids: Iterable[str]) -> None:
        """Bring the blobs and the files of runs that this machine has not made, many at a time.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be done.
        """
        wanted = {id for id in ids if not self._is_made_here(id)}
        if not wanted:
            return
        files = self.bucket.below(STORAGE)
        self.fetch_files({n: it for n, it in files.items() if n.split("/")[1] in wanted})
        names = [n for n, (id, _) in record_names(self.folder).items() if id in wanted]
        blobs = set().union(*(names_in(self._content(name) or b"") for name in names))
        missing = [b for b in blobs if not os.path.exists(f"{self.folder}/{self._blob(b)}")]
        if missing:
            there = self.bucket.below(BLOBS)
            self.fetch_files({n: there[n] for b in missing if (n := self._blob(b)) in there})

    def files_below(self, path: str) -> dict[str, int]:
        """The files below a folder, in the bucket, and the bytes of each."""
        name = self._name(path)
        return {inside[len(name) + 1 :]: it.size for inside, it in self.bucket.below(name).items()}

    def complete(self) -> None:
        """Bring all records, notes, plans and blobs anew, as they are in the bucket now.

        Raises
        ------
        BucketUnreachable, PermissionError
            If that can't be done.
        """
        self._down_until = 0.0
        self.refresh()
        there = self.bucket.below("")
        wanted = [
            name
            for name in there
            if _is_safe(name) and _kind(name) not in (STORAGE, CLAIMS, RUNNING)
        ]
        mine = set(record_names(self.folder))
        foreign = {n for n in mine if is_from_elsewhere(self.folder, n.rpartition(".")[0])}
        self._fetch([name for name in wanted if name not in mine - foreign])
        self._fetch_own([name for name in wanted if name in mine - foreign])
        for blob in blob_names(self.folder):
            if self._blob(blob) not in there:
                os.unlink(f"{blob_folder(self.folder, blob)}/{blob}")

    def _fetch_own(self, own: Sequence[str]) -> None:
        """Fetch what this machine made, without forgetting that it did."""
        for name, data in zip(own, self.bucket.many([("read", n) for n in own]), strict=True):
            if isinstance(data, bytes) and data != self._content(name):  # it was altered there
                note_elsewhere(self.folder, filter(None, [_id_of(name)]))
                self._keep(name, data)

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


@lru_cache(maxsize=8)
def _loaded(path: str, changed: int) -> dict[str, str]:
    found: dict[str, str] = json.loads(read_bytes(path))
    return found


def _kind(name: str) -> str:
    """The folder of the store that a file is in; the empty text for a record."""
    return name.partition("/")[0] if "/" in name else ""


_RECORDS = tuple(PARSERS)


def _is_record(name: str) -> bool:
    return name.endswith(_RECORDS) and name[0] != "."


def _id_of(name: str) -> str | None:
    """The observation that a record, or one in the trash, is of."""
    parts = split_name(name.removeprefix(f"{TRASH}/"))
    return parts[0] if parts is not None and "/" not in parts[0] else None


def _is_safe(name: str) -> bool:
    """Whether a name of an object stays in its folder when it becomes one of a file."""
    parts = name.split("/")
    odd = "\\" in name or "\0" in name or ":" in parts[0]
    return not odd and all(part not in ("", ".", "..") for part in parts)


def _listed(folder: str, folders: bool = False) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return [e.name for e in entries if e.name[0] != "." and e.is_dir() == folders]
    return []


def bucket_of(place: Place) -> Bucket:
    """What asks the bucket of a place, in this process.

    Raises
    ------
    ImportError
        If the package that it needs is not installed.
    """
    if place.filesystem is None and place.scheme in OBJECT_STORES:
        from importlib.util import find_spec

        if find_spec("obstore") is not None:
            from digital_experiments.remote import objects

            if objects.is_usable():
                return objects.ObjectBucket(place)
            from digital_experiments.remote.agent import AgentBucket

            return AgentBucket(place)
    return FsspecBucket(place)


_copies: dict[str, WorkingCopy] = {}


def working_copy(place: Place) -> WorkingCopy:
    """The working copy of the store at a place; one a process and place."""
    copy = _copies.get(place.key)
    if copy is None:
        copy = _copies[place.key] = WorkingCopy(place, folder_for(place))
    elif copy.place != place:
        copy.place, copy._bucket = place, None
    return copy


def folder_for(place: Place) -> str:
    """The folder in which the store at a place is worked on."""
    inside = _temporary(os.getpid()) if place.is_in_process else copies_folder()
    readable = re.sub(r"[^\w.-]", "_", place.name)[:40].lstrip(".")
    return f"{inside}/{readable}-{short_hash(place.key.encode())[:12]}"


@lru_cache(maxsize=1)
def _temporary(pid: int) -> str:
    """A folder that is gone with this process, as is what is kept in its memory."""
    import shutil
    import tempfile

    def remove() -> None:
        if os.getpid() == pid:  # its children end too
            shutil.rmtree(folder, ignore_errors=True)

    folder = tempfile.mkdtemp(prefix="digital_experiments-")
    atexit.register(remove)
    return folder


def copies_folder() -> str:
    """The folder of the working copies: it holds what has not gone up yet."""
    place = os.environ.get("DE_DATA_DIR")
    if not place:
        import platformdirs

        place = platformdirs.user_data_dir("digital_experiments", appauthor=False)
    return os.path.join(place, "copies")


def working_copies() -> list[WorkingCopy]:
    """The working copies that this machine has of stores on buckets."""
    found = []
    for name in sorted(_listed(copies_folder(), folders=True)):
        with suppress(OSError, ValueError, KeyError):
            told = json.loads(read_bytes(f"{copies_folder()}/{name}/{_PLACE}"))
            options = {"endpoint_url": told["endpoint"]} if told.get("endpoint") else {}
            found.append(working_copy(Place(told["uri"], options)))
    return found


def download(bucket: Bucket, found: dict[str, Found], folder: str) -> None:
    """Write files of objects into a folder, many at a time, those that are not there yet.

    Raises
    ------
    InvalidName
        If a name points out of the folder.
    """
    calls, token = [], new_id()
    for name, it in found.items():
        path = f"{folder}/{name}"
        if not _is_safe(name):
            raise InvalidName(f"{name!r} in the bucket points out of its folder.")
        if not os.path.isfile(path) or os.path.getsize(path) != it.size:
            calls.append(("download", name, f"{path}.{token}.tmp"))
    for parent in {os.path.dirname(path) for _, _, path in calls}:
        make_folder(parent)
    with progress(len(calls), "Fetching files") as advance:
        answers = bucket.many(calls, advance)
    for (_, name, partial), answer in zip(calls, answers, strict=True):
        if isinstance(answer, Exception):
            with suppress(FileNotFoundError):
                os.unlink(partial)
            raise answer
        os.replace(partial, f"{folder}/{name}")


def fetched_all(place: Place, folder: str) -> str:
    """A folder that holds the files of all objects at a place."""
    bucket = bucket_of(place)
    download(bucket, bucket.below(""), folder)
    return folder


def is_on_bucket(place: Place) -> bool:
    """Whether there is a store at a place.

    Raises
    ------
    BucketUnreachable
        If the bucket does not answer, and this machine has not seen the store before.
    """
    try:
        return _holds_store(bucket_of(place).here(""))
    except BucketUnreachable:
        if not _is_known(place):
            raise
        return True


def stores_on_bucket(place: Place) -> list[Place]:
    """The stores that lie at a place, sorted by name."""
    bucket = bucket_of(place)
    _, folders = bucket.here("")
    looks = bucket.each([("here", folder) for folder in folders])
    inside = [name for name, look in zip(folders, looks, strict=True) if _holds_store(look)]
    return [place.child(name) for name in sorted(inside) if _is_safe(name)]


def _holds_store(look: tuple[dict[str, Found], list[str]]) -> bool:
    files, folders = look
    parts = {folder.rpartition("/")[2] for folder in folders}
    return bool(parts & {BLOBS, STORAGE, RUNNING, NOTES, TRASH}) or any(
        split_name(name.rpartition("/")[2]) is not None for name in files
    )


def _is_known(place: Place) -> bool:
    return os.path.exists(f"{folder_for(place)}/{_SEEN}")
