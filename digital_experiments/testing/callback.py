"""The contract of :class:`~digital_experiments.Callback`, as tests."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import pytest

from digital_experiments.callbacks import Callback
from digital_experiments.experiment import experiment
from digital_experiments.steps import step


class CallbackSuite:
    """Subclass it, override :meth:`make`, and let pytest run it."""

    def make(self) -> Callback:
        """Return the callback to test."""
        raise NotImplementedError("override make() to return the callback to test")

    def test_it_harms_no_run(self, tmp_path: Path) -> None:
        """The function's value comes back, and the run is recorded without a warning."""
        recorded = experiment(root=tmp_path, callbacks=[self.make()])(_double)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert recorded(2) == 4
        assert [o.result for o in recorded.observations()] == [4]

    def test_it_lets_exceptions_through(self, tmp_path: Path) -> None:
        """A run that fails is recorded as failed."""
        recorded = experiment(root=tmp_path, callbacks=[self.make()])(_double)
        with pytest.raises(TypeError):
            recorded(None)  # type: ignore[arg-type]
        assert len(recorded.observations(status="failed")) == 1

    def test_it_harms_no_step(self, tmp_path: Path) -> None:
        """A step's value comes back, and a step that fails is kept as failed."""
        recorded = experiment(root=tmp_path, callbacks=[self.make()])(_in_steps)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert recorded(2) == 4
            with pytest.raises(TypeError):
                recorded(None)  # type: ignore[arg-type]
        kept = [o.metadata["steps"] for o in recorded.observations(status=None)]
        assert [calls[0]["status"] for calls in kept] == ["completed", "failed"]

    def test_it_keeps_runs_apart(self, tmp_path: Path) -> None:
        """One callback listens to runs in eight threads."""
        recorded = experiment(root=tmp_path, callbacks=[self.make()])(_double)
        threads = [threading.Thread(target=recorded, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        results = {o.config["x"]: o.result for o in recorded.observations()}
        assert results == {i: 2 * i for i in range(8)}


def _double(x: int) -> int:
    return 2 * x


_doubled = step(_double)


def _in_steps(x: int) -> int:
    return _doubled(x)
