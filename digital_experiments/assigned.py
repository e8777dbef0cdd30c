"""A run that somebody has planned: under which id it is to be recorded, and with which facts."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digital_experiments.observation import Observation
    from digital_experiments.run import Run


class Assignment:
    """The next run of an experiment, planned; or what its cache had in place of it.

    Attributes
    ----------
    experiment : Experiment
        Whose next run it is.
    id : str
        What the run is to be called.
    facts : dict
        Metadata for it.
    announced : bool
        Whether the run is shown as in flight from its beginning on, however short it is.
    watch : callable or None
        Who is told of each point that it logs.
    run : Run or None
        The run, once it has begun.
    found : Observation or None
        What was found in the cache.
    """

    __slots__ = ("announced", "experiment", "facts", "found", "id", "run", "watch")

    def __init__(
        self,
        experiment: Any,
        id: str,
        facts: dict[str, Any],
        announced: bool = False,
        watch: Any = None,
    ) -> None:
        self.experiment = experiment
        self.id = id
        self.facts = facts
        self.announced = announced
        self.watch = watch
        self.run: Run | None = None
        self.found: Observation | None = None


assigned: ContextVar[Assignment | None] = ContextVar("digital_experiments_assigned", default=None)


def open_assignment(experiment: object) -> Assignment | None:
    """What is planned for the next run of an experiment, if it has not begun."""
    plan = assigned.get()
    if plan is None or plan.experiment is not experiment or plan.run is not None:
        return None
    return plan
