"""Work on many items shared with a child process, where one can be had cheaply and safely."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

MANY = 20_000
"""Items from which on a second process is worth its start."""

STEPS_ASIDE = "steps_aside"
"""What a thread is marked with that is not there while its process forks."""

_OWN = 0.4  # of the items; who asked has more to do with them
_SLAB = 40_000  # items at a time: what a child has done is held in memory


def in_halves(work: Callable[[list[str]], Iterator[T]], items: list[str]) -> Iterator[T]:
    """What ``work(items)`` gives, half of it made by a forked child.

    That is so on Linux, for many items, while this process has one thread: a fork of several
    might find a lock held for ever. The child only computes; what it gives is pickled back, and
    made here if it dies.
    """
    if len(items) < MANY or not _may_fork():
        yield from work(items)
        return
    slabs = [items[first : first + _SLAB] for first in range(0, len(items), _SLAB)]
    children: list[_Child[T]] = []
    try:
        for slab in slabs:
            own = int(len(slab) * _OWN)
            children.append(_Child(work, slab[own:]))
            if len(children) > 1:  # the one before has had time; this one has begun
                yield from children.pop(0).made()
            yield from work(slab[:own])
        while children:
            yield from children.pop(0).made()
    finally:
        for child in children:
            child.end()


def _may_fork() -> bool:
    others = [t for t in threading.enumerate() if not hasattr(t, STEPS_ASIDE)]
    single = len(others) == 1 and sys.platform == "linux"
    return single and len(os.sched_getaffinity(0)) > 1


class _Child(Generic[T]):
    """A process at work on some items."""

    def __init__(self, work: Callable[[list[str]], Iterator[T]], items: list[str]) -> None:
        self._work = work
        self._items = items
        self._answer, end = os.pipe()
        with warnings.catch_warnings():  # threads of libraries' own, which we do not meet
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = os.fork()
        if self._process == 0:
            self._compute(end)
        os.close(end)

    def _compute(self, end: int) -> None:
        """What the child does, and all it does."""
        try:
            with open(end, "wb") as pipe:
                pipe.write(pickle.dumps(list(self._work(self._items)), 5))
        finally:
            os._exit(0)

    def made(self) -> Iterable[T]:
        """What it has made; if it died, that is made here."""
        try:
            with open(self._answer, "rb", closefd=False) as pipe:
                made: list[T] = pickle.loads(pipe.read())
        except (EOFError, pickle.UnpicklingError):
            return self._work(self._items)
        finally:
            self.end()
        return made

    def end(self) -> None:
        """Let it go; it ends by itself when nobody reads what it writes."""
        os.close(self._answer)
        os.waitpid(self._process, 0)
