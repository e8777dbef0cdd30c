"""What goes up from a working copy, and what is owed while its bucket can't be reached."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress

from digital_experiments.files import append, write_here
from digital_experiments.remote.buckets import Bucket
from digital_experiments.remote.journal import Journal
from digital_experiments.remote.names import is_fit, kind
from digital_experiments.store.layout import BLOBS, NOTES, STORAGE, blob_folder
from digital_experiments.store.progress import progress
from digital_experiments.store.records import split_name
from digital_experiments.upkeep.references import names_in, with_inner

FRESH = 3.0
"""Seconds for which a blob that was seen in the bucket is taken to be there."""

_ONCE = ("", NOTES)
"""Records and notes are written once, and never replaced."""

_REPLACING = ".replacing.txt"
_REST = 10.0  # seconds after which a bucket that did not answer is asked again
_KEPT = 100
_Contents = dict[str, bytes]


class Outbox:
    """Sends files of a working copy: what they name before themselves.

    Parameters
    ----------
    folder : str
        The folder of the copy.
    name : str
        What the bucket is called.
    bucket : callable
        Gives what is asked, in this process.

    Attributes
    ----------
    owed : set of str
        The names of what is to go up still.
    sending : set of str
        The names of what is going up.
    sent : int
        How much has gone up.
    is_held : int
        Whether what is written is sent together later.
    journal : Journal
        What has no file of its own yet.
    """

    def __init__(self, folder: str, name: str, bucket: Callable[[], Bucket]) -> None:
        self.owed: set[str] = set()
        self.sending: set[str] = set()
        self.sent = 0
        self.is_held = 0
        self.lock = threading.RLock()
        self.journal = Journal(folder)
        self._folder = folder
        self._name = name
        self._bucket = bucket
        self._seen_blobs: dict[str, float] = {}
        self._new_blobs: set[str] = set()
        self._inner: dict[frozenset[str], set[str]] = {}
        self._down_until = 0.0
        self._is_down = False
        self._trouble: str | None = None

    # -- whether the bucket can be reached ----------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the bucket may be asked: not while it has just been out of reach."""
        return time.monotonic() >= self._down_until

    def reopen(self) -> None:
        """Ask the bucket again from now on, and tell again if it can't be reached."""
        self._down_until, self._is_down = 0.0, False

    def answered(self) -> None:
        """The bucket has answered."""
        self._is_down = False

    def fail(self, problem: Exception) -> None:
        """The bucket can't be used now: that is told once, until it has answered again."""
        self._down_until = time.monotonic() + _REST
        if not self._is_down:
            self._is_down = True
            told = str(problem)
            if self._name not in told:
                told = f"{self._name} can't be used ({type(problem).__name__}: {told})."
            self._trouble = (
                f"{told} What is recorded is kept in {self._folder}, and goes up with the next "
                "run that reaches the bucket, or by `digital-experiments sync`."
            )

    def trouble(self) -> str | None:
        """What went wrong, once."""
        told, self._trouble = self._trouble, None
        return told

    # -- sending ------------------------------------------------------------------------------

    @contextmanager
    def held(self, replaced: Iterable[str]) -> Iterator[None]:
        """Send what is written meanwhile at the end, many at a time.

        Records that are replaced are noted first: an interrupted replacement is made good later.

        Raises
        ------
        BucketUnreachable, PermissionError
            If it can't be sent; it is sent later.
        """
        noted = "".join(f"{name}\n" for name in replaced)
        if noted:
            append(f"{self._folder}/{_REPLACING}", noted.encode())
        self.is_held += 1
        try:
            yield
        finally:
            self.is_held -= 1
        try:
            self._send_owed()
        except OSError as problem:
            self.fail(problem)
            self._trouble = None
            raise

    def replacing(self) -> set[str]:
        """The names of records that are to take the place of others in the bucket."""
        data = self.content(_REPLACING) if os.path.exists(f"{self._folder}/{_REPLACING}") else None
        return set() if data is None else set(data.decode().split("\n")) - {""}

    def _have_replaced(self, names: Iterable[str]) -> None:
        rest = self.replacing().difference(names)
        if rest:
            write_here(self._folder, _REPLACING, "".join(f"{n}\n" for n in sorted(rest)).encode())
        else:
            with suppress(FileNotFoundError):
                os.unlink(f"{self._folder}/{_REPLACING}")

    def take(self, name: str, data: bytes) -> None:
        """A file has been written: send it, now or with others."""
        if self.is_held:
            self.owed.add(name)
        else:
            self.send({name: data})

    def take_blob(self, name: str) -> None:
        """A blob has been written: it goes up with what names it."""
        self._new_blobs.add(name)

    def send(self, contents: Mapping[str, bytes]) -> None:
        """Send files, and what is owed; where that can't be done they are owed too."""
        self.sending.update(contents)
        try:
            if not self.is_open:
                self._owe(contents)
                return
            self._send(contents)
            self.answered()
            self._send_owed()
        except Exception as problem:  # whatever it is, the result is the user's
            self._owe(contents)
            self.fail(problem)
        finally:
            self.sending.difference_update(contents)

    def _owe(self, names: Iterable[str]) -> None:
        with suppress(OSError):  # then they stay in the journal
            self.journal.settle()
        self.owed.update(names)

    def _send_owed(self) -> None:
        if not self.owed:
            return
        with self.lock:
            names, self.owed = self.owed, set()
        try:
            contents = {name: self.content(name) for name in sorted(names)}
            there = {name: data for name, data in contents.items() if data is not None}
            self._send(there, shown=True)
        except BaseException:
            self.owed.update(names)
            raise

    def _send(self, contents: Mapping[str, bytes], shown: bool = False) -> None:
        """Send files; those of a run that has just ended, which replace none, are not shown."""
        if not contents:
            return
        begun = time.monotonic()
        replacing = self.replacing().intersection(contents) if shown else set()
        blobs = self._blobs_of(frozenset().union(*map(names_in, contents.values())))
        self._ensure(blobs)
        with (
            progress(len(contents), f"Sending to {self._name}") if shown else nullcontext() as told
        ):
            files = [file for name in contents for file in self._files_with(name)]
            self._bucket().each([("upload", *file) for file in files])
            if replacing:
                self._remove_others(replacing, {name for name, _ in files})
            calls = [
                ("write", name, data, kind(name) in _ONCE and name not in replacing)
                for name, data in contents.items()
            ]
            answers = self._bucket().many(calls, told)
        for (name, data), answer in zip(contents.items(), answers, strict=True):
            if isinstance(answer, FileExistsError):
                self._compare(name, data)
            elif isinstance(answer, Exception):
                raise answer
            self.sent += 1
        if replacing:
            self._have_replaced(replacing)
        if time.monotonic() - begun > 2 * FRESH:  # somebody may have collected them meanwhile
            self._seen_blobs.clear()
            self._ensure(blobs)

    def _remove_others(self, records: Iterable[str], files: set[str]) -> None:
        """Remove the files of runs that are replaced, and have them no more."""
        ids = [parts[0] for name in records if (parts := split_name(name)) and "/" not in name]
        there = self._bucket().each([("below", f"{STORAGE}/{id}") for id in ids])
        old = [name for found in there for name in found if name not in files]
        self._bucket().each([("remove", name) for name in old])

    def _compare(self, name: str, data: bytes) -> None:
        """What is there already under a name has to be the same."""
        if self._bucket().read(name) != data:
            self._trouble = (
                f"{self._name}/{name} is something else than {self._folder}/{name}; both were kept."
            )

    def content(self, name: str) -> bytes | None:
        """The bytes of a file; None if it is not there."""
        try:
            with open(f"{self._folder}/{name}", "rb") as file:
                return file.read()
        except FileNotFoundError:  # deleted meanwhile
            return None

    def send_files(self, id: str) -> int:
        """Send the files of a run that are not in the bucket, and return how many these are."""
        there = self._bucket().below(f"{STORAGE}/{id}")
        files = [file for file in self._files_of(id) if file[0] not in there]
        self._bucket().each([("upload", *file) for file in files])
        return len(files)

    def _files_with(self, name: str) -> list[tuple[str, str]]:
        """The files that go up with a record: their names, and where they are."""
        parts = split_name(name)
        return [] if parts is None or "/" in name else self._files_of(parts[0])

    def _files_of(self, id: str) -> list[tuple[str, str]]:
        paths = list(files_in(f"{self._folder}/{STORAGE}/{id}"))
        found = {path: path[len(self._folder) + 1 :].replace(os.sep, "/") for path in paths}
        unfit = [path for path, name in found.items() if not is_fit(name)]
        if unfit:
            told = ", ".join(map(repr, unfit[:5])) + (", ..." if len(unfit) > 5 else "")
            self._trouble = f"A bucket can't hold files of such names; they stay here: {told}."
        return [(name, path) for path, name in found.items() if path not in unfit]

    # -- blobs --------------------------------------------------------------------------------

    def _blobs_of(self, names: frozenset[str]) -> set[str]:
        """Blobs, and those that are named in them; equal ones are looked up."""
        found = self._inner.get(names)
        if found is None:
            if len(self._inner) > _KEPT:
                self._inner.clear()
            found = self._inner[names] = with_inner(self._folder, names)
        return found

    def _ensure(self, blobs: Iterable[str]) -> None:
        """See that blobs are in the bucket."""
        now = time.monotonic()
        unsure = [b for b in blobs if now - self._seen_blobs.get(b, -FRESH) >= FRESH]
        if not unsure:
            return
        old = [b for b in unsure if b not in self._new_blobs]
        sizes = self._bucket().many([("size", blob_object(b)) for b in old])
        missing = {b for b, size in zip(old, sizes, strict=True) if _is_missing(size)}
        wanted = [b for b in unsure if b in missing or b in self._new_blobs]
        paths = {b: f"{blob_folder(self._folder, b)}/{b}" for b in wanted}
        here = [b for b in wanted if os.path.exists(paths[b])]
        self._bucket().each([("upload", blob_object(b), paths[b]) for b in here])
        self._new_blobs.difference_update(here)
        self._seen_blobs.update(dict.fromkeys(unsure, now))


def files_in(folder: str) -> Iterator[str]:
    """The files below a folder, and those that links in it lead to.

    What a link leads to elsewhere comes once; in a folder that a link within leads to, links to
    folders are not followed: they may go round in circles.
    """
    if os.path.isdir(folder):  # of most runs there is none: told sooner so than by a walk
        yield from _files_in(folder, os.path.realpath(folder), set())


def _files_in(folder: str, whole: str, seen: set[str]) -> Iterator[str]:
    links: list[str] = []
    for place, folders, names in os.walk(folder):
        yield from (path for name in sorted(names) if os.path.isfile(path := f"{place}/{name}"))
        links += [path for name in sorted(folders) if os.path.islink(path := f"{place}/{name}")]
        if seen:  # a link has led to what the whole is in
            folders[:] = [n for n in folders if os.path.realpath(f"{place}/{n}") != whole]
    for link in links:
        real = os.path.realpath(link)
        if _is_within(real, whole):
            if _is_within(os.path.realpath(os.path.dirname(link)), real):
                continue  # it leads to a folder that it is in
            for place, _, names in os.walk(link):
                yield from (p for name in sorted(names) if os.path.isfile(p := f"{place}/{name}"))
        elif real not in seen:
            seen.add(real)
            yield from _files_in(link, whole, seen)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_missing(answer: object) -> bool:
    """Whether what was asked for is not there; anything else that went wrong is raised."""
    if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
        raise answer
    return isinstance(answer, Exception)


def blob_object(name: str) -> str:
    """The name of the object of a blob."""
    return f"{BLOBS}/{name[:2]}/{name}"
