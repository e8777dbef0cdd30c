"""Work that is awaited: done in a thread, and told when nobody waits any more."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")


async def awaited(work: Callable[[Event], T]) -> T:
    """What some work comes to, while other coroutines run.

    Parameters
    ----------
    work : callable
        Given an event that is set when it is not awaited any more: then it should end.
    """
    import asyncio

    stopped = Event()
    try:
        return await asyncio.to_thread(work, stopped)
    finally:
        stopped.set()
