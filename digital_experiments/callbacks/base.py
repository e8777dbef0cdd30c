"""What a callback can listen to. Knows no callback in particular."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from digital_experiments.observation import Observation


class Callback:
    """Listens to the runs of an experiment. Override the hooks that you need.

    Order
        Starts are called in the order of the list given to ``@experiment``, ends in reverse.
    Faults
        A hook that raises is named in a warning; the run goes on, and is recorded.
    State
        One callback listens to many runs at once, from many threads and tasks: keep nothing
        of a run on ``self``. :func:`~digital_experiments.current_run` tells which run calls.

    Examples
    --------
    >>> from digital_experiments import Callback, experiment
    >>> class Host(Callback):
    ...     def end(self, observation):
    ...         observation.metadata["host"] = "here"
    >>> @experiment(callbacks=[Host()])
    ... def work():
    ...     return 1
    >>> work()
    1
    >>> work.observations()[-1].metadata["host"]
    'here'
    """

    def setup(self, function: Callable[..., Any]) -> None:
        """Called once, when the function is decorated."""

    def start(self, id: str, config: dict[str, Any]) -> None:
        """Called before each run, with its id and its config."""

    def end(self, observation: Observation) -> None:
        """Called after each run; add what you know to ``observation.metadata``."""

    def study_start(self, study: Any) -> None:
        """Called before the first run of a :class:`~digital_experiments.Study`."""

    def study_end(self, outcome: Any) -> None:
        """Called after the last, with what came of it."""

    def step_start(self, step: Any) -> None:
        """Called before each call of a :func:`~digital_experiments.step` within a run.

        ``step`` has a ``name``, the ``run``, and the arguments as ``config``.
        """

    def step_end(self, step: Any, value: Any) -> None:
        """Called after it, with its value, or None where it failed.

        ``step.facts`` is what the run's metadata keep of the call, its ``status`` and
        ``duration`` among it; you may add to it.
        """
