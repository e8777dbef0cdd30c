"""A line that shows how long work gets on, once it has taken two seconds. Knows no work."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PATIENCE = 2.0  # seconds
_PAUSE = 0.1  # seconds between two pictures of it


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
    begun, done, told = time.monotonic(), 0, 0.0
    bar: Any = None

    def advance(steps: int) -> None:
        nonlocal bar, done, told
        done += steps
        if bar is None and time.monotonic() - begun > _PATIENCE:
            bar = _bar(_console())
            bar.start()
            bar.add_task(what, total=total)
        if bar is not None and time.monotonic() - told > _PAUSE:
            told = time.monotonic()
            bar.update(bar.task_ids[0], completed=done, refresh=True)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done)
            bar.stop()


@contextmanager
def run_progress(total: int | None) -> Iterator[Callable[[str], None] | None]:
    """Show how many runs have ended, how fast, how long it takes, and what else there is to say.

    Parameters
    ----------
    total : int or None
        How many runs there are to be, if that is known.

    Yields
    ------
    callable or None
        To be called when a run has ended, with what else there is to say. None where nobody
        would see it: outside of terminals and notebooks.
    """
    console = _console() if _may_be_seen() else None
    if console is None or not (console.is_terminal or console.is_jupyter):
        yield None
        return
    begun, told, done, more = time.monotonic(), 0.0, 0, ""
    with _bar(console, "{task.fields[note]}") as bar:
        task = bar.add_task("Running", total=total, note="")

        def advance(text: str) -> None:
            nonlocal told, done, more
            done, more = done + 1, text
            if time.monotonic() - told > _PAUSE:
                told = time.monotonic()
                show()

        def show() -> None:
            note = f"{done / max(time.monotonic() - begun, 1e-6):,.1f}/s"
            note += f", {more}" if more else ""
            bar.update(task, completed=done, note=note, refresh=True)

        try:
            yield advance
        finally:
            show()


def _may_be_seen() -> bool:
    """Whether to ask rich, which takes a while to import, where a picture can be shown."""
    forced = any(os.environ.get(name) for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))
    return forced or "IPython" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


def _console() -> Any:
    """Where it is shown; without the widgets that it takes in a notebook, as in a file: nowhere."""
    from importlib.util import find_spec

    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter and find_spec("ipywidgets") is None:
        return Console(stderr=True, force_jupyter=False, force_terminal=False)
    return console


def _bar(console: Any, *more: Any) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    text = TextColumn("{task.description}", markup=False)
    columns: list[Any] = [text, BarColumn(), MofNCompleteColumn(), *more, TimeRemainingColumn()]
    return Progress(*columns, console=console, auto_refresh=False)
