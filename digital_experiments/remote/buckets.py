"""What is asked of a bucket. Knows no store."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from digital_experiments.errors import BucketUnreachable

PATIENCE = 10.0
"""Seconds that a bucket is asked again before it counts as out of reach."""

_AT_ONCE = 32
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


def pauses() -> Iterator[float | None]:
    """How long to wait before each next try; None when it is not to be tried again."""
    until = time.monotonic() + PATIENCE
    pause = _FIRST_PAUSE
    while time.monotonic() + pause < until:
        yield pause
        pause = min(2 * pause, 2.0)
    yield None


def unreachable(uri: str, problem: BaseException) -> str:
    """What is said when a bucket does not answer; without what could be a credential."""
    return f"{uri} can't be reached ({type(problem).__name__}: {brief(problem)})."


def brief(problem: BaseException) -> str:
    """What an error says, in a line, without credentials and what only its makers read."""
    text = " ".join(str(problem).partition("Debug source")[0].split())
    return without_credentials(text)[:300]


def without_credentials(text: str) -> str:
    """A message without the user and the password of a URL, and without signatures."""
    import re

    text = re.sub(r"://[^/@\s]+@", "://", text)
    return re.sub(r"(?i)\b(X-Amz-[\w-]+|Signature|sig|token|key|secret)=[^&\s]+", r"\1=...", text)
