"""What all runs of an experiment share: where their records go, who listens. Knows no run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from digital_experiments.backends import Backend, PickleBackend
from digital_experiments.config import Config
from digital_experiments.followed import shown_name
from digital_experiments.observation import Observation
from digital_experiments.retention import Retention


class Listener(Protocol):
    """What a run asks of a callback."""

    def start(self, id: str, config: Config) -> None: ...  # noqa: D102
    def end(self, observation: Observation) -> None: ...  # noqa: D102
    def step_start(self, step: Any) -> None: ...  # noqa: D102
    def step_end(self, step: Any, value: Any) -> None: ...  # noqa: D102


class Recorder:
    """What all runs of an experiment share: its name, its backend, who listens.

    Parameters
    ----------
    name : str
        The experiment's name.
    backend : Backend
        Where observations go.
    starters, enders : sequence of callbacks
        Those that listen to the start, in order; and to the end, in order.
    steppers : sequence of callbacks
        Those that listen to steps, in order.
    tags : sequence of str
        Tags of every run.
    strict : bool
        Whether a fault of recording is an error rather than a warning.
    retention : Retention, optional
        Which files of older runs are kept.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        starters: Sequence[Listener] = (),
        enders: Sequence[Listener] = (),
        steppers: Sequence[Listener] = (),
        tags: Sequence[str] = (),
        strict: bool = False,
        retention: Retention | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self.root = str(backend.root)
        self.starters = starters
        self.enders = tuple(reversed(enders))
        self.steppers = steppers
        self.tags = list(tags)
        self.strict = strict
        self.retention = retention

    def rescue_folder(self) -> str:
        """Where records go that the store does not take: a store in the temporary folder."""
        import tempfile

        owner = getattr(os, "getuid", lambda: "")()
        return os.path.join(tempfile.gettempdir(), f"digital_experiments-rescue-{owner}", self.name)

    @property
    def _store(self) -> str:
        """What a person calls the store."""
        uri = getattr(self.backend, "uri", None)
        return uri if isinstance(uri, str) else shown_name(self.root)

    def rescue(self, observation: Observation, problem: Exception) -> str:
        """Keep an observation elsewhere, and say what happened in one line."""
        what = (
            f"Run {observation.id} of {self.name!r} could not be recorded in {self._store} "
            f"({type(problem).__name__}: {problem})."
        )
        folder = self.rescue_folder()
        try:
            PickleBackend(Path(folder)).record(observation)
        except Exception as again:
            return (
                f"{what} Nor could it be kept in {folder} ({again}). It was called with "
                f"{observation.shown('config')!r} and ended as {observation.outcome()}."
            )
        bring = f"digital-experiments merge {self._store} {folder}"
        return f"{what} It is kept in {folder}: `{bring}` brings it."
