"""What is told of runs as they end: how many did not complete, and the best so far."""

from __future__ import annotations

from collections.abc import Iterator

from digital_experiments.errors import DigitalExperimentsWarning, did_you_mean
from digital_experiments.facts import direction, shown
from digital_experiments.faults import warn_user
from digital_experiments.observation import Observation
from digital_experiments.rows import number, row
from digital_experiments.store.progress import run_progress

Numbered = tuple[int, Observation]


class Tally:
    """Counts runs as they end.

    Parameters
    ----------
    column : str or None
        The column whose best number is told, such as ``result.accuracy``.
    wanted : {"max", "min"}, optional
        Which end is best; by default as the column's name tells: of a loss the smallest.
    """

    def __init__(self, column: str | None, wanted: str | None = None) -> None:
        self._column = column
        self._choose = min if (wanted or direction(column or "")) == "min" else max
        self._best: float | None = None
        self._missed = 0
        self._without: Observation | None = None

    def add(self, observation: Observation) -> None:
        """Take note of a run that has ended."""
        if observation.status not in ("completed", "pruned"):
            self._missed += 1
        value = number(observation, self._column) if self._column else None
        if value is not None:
            self._best = value if self._best is None else self._choose(self._best, value)
        elif self._column and self._best is None and observation.status == "completed":
            self._without = observation

    def end(self) -> None:
        """Warn if no run had the column that is to be told."""
        if self._column and self._best is None and self._without is not None:
            known = [name for name, _ in row(self._without)]
            text = f"progress= names {self._column!r}, of which no run has a number. "
            warn_user(text + did_you_mean(self._column, known), DigitalExperimentsWarning)

    def __str__(self) -> str:
        parts = [f"{self._missed} not completed"] if self._missed else []
        if self._best is not None:
            parts.append(f"best {self._column} {shown(self._best)}")
        return ", ".join(parts)


def told(made: Iterator[Numbered], total: int | None, tally: Tally) -> Iterator[Numbered]:
    """The same runs, with a line that tells how far they are."""
    with run_progress(total) as advance:
        if advance is None:
            yield from made
            return
        for numbered in made:
            tally.add(numbered[1])
            advance(str(tally))
            yield numbered
    tally.end()
