"""A part of long work done by a forked child, where one can be had cheaply and safely."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import IO

MANY = 20_000
"""Items from which on a second process is worth its start."""

STEPS_ASIDE = "steps_aside"
"""What a thread is marked with that is not there while its process forks."""

Advance = Callable[[int], None]
"""Told how many items are done since the last call."""

_OWN = 0.5  # of the items
_NUMBER = 8  # bytes


def split(items: list[str]) -> tuple[list[str], list[str]]:
    """The items to be done here, and those to be done by a child; none are if it can't be had.

    It can on Linux, for many items, while this process has one thread: a fork of several might
    find a lock held for ever.
    """
    if len(items) < MANY or not _may_fork():
        return items, []
    own = int(len(items) * _OWN)
    return items[:own], items[own:]


def _may_fork() -> bool:
    others = [t for t in threading.enumerate() if not hasattr(t, STEPS_ASIDE)]
    single = len(others) == 1 and sys.platform == "linux"
    return single and len(os.sched_getaffinity(0)) > 1


class Child:
    """A forked process at work.

    Parameters
    ----------
    work : callable
        What it does; it is handed a function to tell how many items are done.
    """

    def __init__(self, work: Callable[[Advance], None]) -> None:
        self._answer, end = os.pipe()
        with warnings.catch_warnings():  # threads of libraries' own, which we do not meet
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = os.fork()
        if self._process == 0:
            _do(work, end)
        os.close(end)

    def wait(self, advance: Advance) -> bool:
        """Wait until it has ended, and pass on what it tells; whether it came to its end."""
        with open(self._answer, "rb", buffering=0, closefd=False) as pipe:
            while told := pipe.read(_NUMBER):
                done = int.from_bytes(told, "little")
                if not done:
                    return True
                advance(done)
        return False

    def leave(self) -> None:
        """Let it go; it ends by itself when nobody reads what it tells."""
        os.close(self._answer)
        os.waitpid(self._process, 0)


def _do(work: Callable[[Advance], None], end: int) -> None:
    """What the child does, and all it does."""
    try:
        with open(end, "wb", buffering=0) as pipe:
            work(lambda done: _tell(pipe, done))
            _tell(pipe, 0)
    finally:
        os._exit(0)


def _tell(pipe: IO[bytes], done: int) -> None:
    pipe.write(done.to_bytes(_NUMBER, "little"))
