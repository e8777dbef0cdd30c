"""Locks and forks: keeps this process from being forked while it waits for another.

A process forked just then would hold the pipe to that other, which would be waited for as long as
the forked one lives.
"""

from __future__ import annotations

import os
import threading


class _Lock:
    """To be held while another process is asked; forks of this one wait meanwhile."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self.__enter__, after_in_parent=self._release, after_in_child=self._renew
            )

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def _release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *problem: object) -> None:
        self._lock.release()


class ForkedLock:
    """A lock among the threads of a process, which is free in one that is forked."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *problem: object) -> None:
        self._lock.release()


unforked = _Lock()
