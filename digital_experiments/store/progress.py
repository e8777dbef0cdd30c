"""A line that shows how long work gets on, once it has taken two seconds. Knows no work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PATIENCE = 2.0  # seconds


@contextmanager
def progress(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error if the work takes more than two seconds.

    Parameters
    ----------
    total : int or None
        How many steps there are, if that is known.
    what : str
        What is being done.

    Yields
    ------
    callable
        To be called with the number of steps done since the last call.
    """
    begun, done = time.monotonic(), 0
    bar: Any = None

    def advance(steps: int) -> None:
        nonlocal bar, done
        done += steps
        if bar is None and time.monotonic() - begun > _PATIENCE:
            bar = _bar()
            bar.start()
            bar.add_task(what, total=total)
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done, refresh=True)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False)
