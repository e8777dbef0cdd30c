"""What is asked of a bucket, and how any file system of fsspec answers. Knows no store."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from digital_experiments.errors import BucketUnreachable
from digital_experiments.files import replacing
from digital_experiments.remote.places import Place

PATIENCE = 10.0
"""Seconds that a bucket is asked again before it counts as out of reach."""

_AT_ONCE = 32
_memory = threading.Lock()
_FIRST_PAUSE = 0.1  # seconds
T = TypeVar("T")
Call = tuple[Any, ...]
"""The name of a method of a bucket, and its arguments."""


class Found(NamedTuple):
    """An object.

    Attributes
    ----------
    size : int
        Its bytes.
    stamp : str
        What changes with its content.
    when : datetime or float
        When it was written, by the clock of the server.
    """

    size: int
    stamp: str
    when: datetime | float

    @property
    def modified(self) -> float:
        """The same in seconds since the epoch."""
        return self.when.timestamp() if isinstance(self.when, datetime) else self.when


class Bucket(ABC):
    """Objects below a place, by their names from there.

    Every method may raise :class:`BucketUnreachable`, and PermissionError; those that need an
    object FileNotFoundError.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    @abstractmethod
    def here(self, folder: str) -> tuple[dict[str, Found], list[str]]:
        """The objects right in a folder, and the folders in it; nothing where there is none."""

    def stamps(self, endings: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
        """The stamps of the objects of some endings right in the place, and the folders in it.

        Those whose names begin with a dot are left out.
        """
        files, folders = self.here("")
        names = [name for name in files if name.endswith(endings) and name[0] != "."]
        return {name: files[name].stamp for name in names}, folders

    @abstractmethod
    def below(self, folder: str) -> dict[str, Found]:
        """The objects below a folder, by their names from the bucket's place."""

    @abstractmethod
    def size(self, name: str) -> int:
        """The bytes of an object."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """An object."""

    @abstractmethod
    def write(self, name: str, data: bytes, new: bool) -> None:
        """Write an object; with ``new`` only where there is none, else FileExistsError."""

    @abstractmethod
    def upload(self, name: str, path: str) -> None:
        """Write an object from a file of any size."""

    @abstractmethod
    def download(self, name: str, path: str) -> None:
        """Write a file of an object of any size: whole, or not at all."""

    @abstractmethod
    def copy(self, name: str, target: str) -> None:
        """Copy an object within the bucket."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""

    def many(
        self, calls: Sequence[Call], advance: Callable[[int], None] | None = None
    ) -> list[Any]:
        """Many calls at a time: what each gives, or the exception that it raised."""
        if len(calls) < 2:
            return [self._tried(call, None) for call in calls]
        found: list[Any] = [None] * len(calls)
        rest = iter(enumerate(calls))
        is_down, telling = threading.Event(), threading.Lock()

        def work() -> None:
            for number, call in rest:
                found[number] = self._tried(call, is_down)
                if advance is not None:
                    with telling:
                        advance(1)

        try:
            wait([self._threads.submit(work) for _ in range(min(_AT_ONCE, len(calls)))])
        except RuntimeError:  # the interpreter is ending: no thread takes on any work
            work()
        finally:
            deque(rest, maxlen=0)  # after Ctrl-C no further one is begun
        return found

    @property
    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AT_ONCE, "digital_experiments bucket")
        return self._pool

    def _tried(self, call: Call, is_down: threading.Event | None) -> Any:
        if is_down is not None and is_down.is_set():  # each would wait as long as the first
            return BucketUnreachable("The bucket did not answer.")
        try:
            return getattr(self, call[0])(*call[1:])
        except BucketUnreachable as problem:
            if is_down is not None:
                is_down.set()
            return problem
        except Exception as problem:
            return problem

    def each(
        self, calls: Sequence[Call], advance: Callable[[int], None] | None = None
    ) -> list[Any]:
        """As :meth:`many`; the first exception is raised, once all have ended."""
        answers = self.many(calls, advance)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


class FsspecBucket(Bucket):
    """A bucket by any file system of fsspec.

    Parameters
    ----------
    place : Place
        Where it is.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place
        self._fs, self._root = _opened(place)
        self._lock = _memory  # what is kept in memory is not made for threads

    def here(self, folder: str) -> tuple[dict[str, Found], list[str]]:  # noqa: D102
        files, folders = {}, []
        for entry in self._asked(self._listed, self._path(folder)):
            name = self._name(entry["name"])
            if entry["type"] == "directory":
                folders.append(name)
            elif name != folder:
                files[name] = _found(entry)
        return files, folders

    def below(self, folder: str) -> dict[str, Found]:  # noqa: D102
        entries = self._asked(self._walked, self._path(folder))
        return {self._name(path): _found(entry) for path, entry in entries.items()}

    def size(self, name: str) -> int:  # noqa: D102
        return int(self._asked(self._fs.info, self._path(name))["size"])

    def read(self, name: str) -> bytes:  # noqa: D102
        data: bytes = self._asked(self._fs.cat_file, self._path(name))
        return data

    def write(self, name: str, data: bytes, new: bool) -> None:  # noqa: D102
        path = self._path(name)
        self._asked(self._make_parent, path)
        how = {"mode": "create"} if new else {}
        self._asked(self._fs.pipe_file, path, data, **how)

    def upload(self, name: str, path: str) -> None:  # noqa: D102
        target = self._path(name)
        self._asked(self._make_parent, target)
        self._asked(self._fs.put_file, path, target)

    def download(self, name: str, path: str) -> None:  # noqa: D102
        with replacing(path) as partial:
            self._asked(self._fs.get_file, self._path(name), partial)

    def copy(self, name: str, target: str) -> None:  # noqa: D102
        self._asked(self._make_parent, self._path(target))
        self._asked(self._fs.cp_file, self._path(name), self._path(target))

    def remove(self, name: str) -> None:  # noqa: D102
        with suppress(FileNotFoundError):
            self._asked(self._fs.rm_file, self._path(name))

    def _path(self, name: str) -> str:
        return "/".join(part for part in (self._root, name) if part)

    def _name(self, path: str) -> str:
        inside = path.removeprefix("/") if not self._root.startswith("/") else path
        return inside.removeprefix(self._root).strip("/")

    def _listed(self, path: str) -> list[dict[str, Any]]:
        try:
            self._fs.invalidate_cache()
            entries: list[dict[str, Any]] = self._fs.ls(path, detail=True)
            return entries
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _walked(self, path: str) -> dict[str, dict[str, Any]]:
        try:
            self._fs.invalidate_cache()
            entries: dict[str, dict[str, Any]] = self._fs.find(path, detail=True)
            return entries
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def _make_parent(self, path: str) -> None:
        """Make the folder of an object, where the file system has folders."""
        if self._place.scheme not in ("s3", "gs", "gcs", "az", "abfs", "memory"):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _asked(self, what: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Ask again for a while where it may be that only the way there is broken."""
        for pause in _pauses():
            try:
                with self._lock if self._place.is_in_process else nullcontext():
                    return what(*args, **kwargs)
            except _FINAL:
                raise
            except Exception as problem:  # each file system has errors of its own
                if pause is None or not isinstance(problem, _PASSING):
                    raise BucketUnreachable(unreachable(self._place.uri, problem)) from problem
                time.sleep(pause)
        raise AssertionError("the last pause is None")


_PASSING = (OSError, TimeoutError, EOFError)
_FINAL = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)


def _pauses() -> Iterator[float | None]:
    """How long to wait before each next try; None when it is not to be tried again."""
    until = time.monotonic() + PATIENCE
    pause = _FIRST_PAUSE
    while time.monotonic() + pause < until:
        yield pause
        pause = min(2 * pause, 2.0)
    yield None


def unreachable(uri: str, problem: BaseException) -> str:
    """What is said when a bucket does not answer; without what could be a credential."""
    text = without_credentials(" ".join(str(problem).split()))
    return f"{uri} can't be reached ({type(problem).__name__}: {text[:300]})."


def without_credentials(text: str) -> str:
    """A message without the user and the password of a URL, and without signatures."""
    import re

    text = re.sub(r"://[^/@\s]+@", "://", text)
    return re.sub(r"(?i)\b(X-Amz-[\w-]+|Signature|sig|token|key|secret)=[^&\s]+", r"\1=...", text)


def _opened(place: Place) -> tuple[Any, str]:
    """The file system of a place, and the place's path in it."""
    import fsspec

    if place.filesystem is not None:
        return _of_this_process(place.filesystem), place.path
    filesystem, path = fsspec.url_to_fs(place.uri, **place.options)
    return filesystem, path


def _of_this_process(fs: Any) -> Any:
    """A file system, opened anew in the child of the process that opened it."""
    if getattr(fs, "protocol", "") == "dir":
        return type(fs)(fs.path, _of_this_process(fs.fs))
    if os.getpid() == getattr(fs, "_pid", os.getpid()):
        return fs
    return type(fs)(*fs.storage_args, **fs.storage_options)


def _found(entry: dict[str, Any]) -> Found:
    modified = _moment(entry)
    size = int(entry.get("size") or 0)
    stamp = next((str(entry[k]) for k in ("ETag", "etag", "md5Hash") if entry.get(k)), None)
    return Found(size, stamp or f"{modified}", modified)


def _moment(entry: dict[str, Any]) -> float:
    for key in ("LastModified", "last_modified", "mtime", "modified", "created", "updated"):
        told = entry.get(key)
        if isinstance(told, (int, float)):
            return float(told)
        if isinstance(told, datetime):
            return told.timestamp()
        if isinstance(told, str):
            with suppress(ValueError):
                return datetime.fromisoformat(told).timestamp()
    return 0.0
