"""The contract of :class:`~digital_experiments.controllers.Controller`, as tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from digital_experiments.controllers import Controller
from digital_experiments.experiment import experiment


class ControllerSuite:
    """Subclass it, override :meth:`make`, and let pytest run it."""

    def make(self) -> Controller:
        """Return a controller over one parameter, ``x``, with at least two configs to suggest."""
        raise NotImplementedError("override make() to return the controller to test")

    def test_it_suggests_a_new_dict_each_time(self, tmp_path: Path) -> None:
        """Whoever gets a suggestion may change it."""
        controller, recorded = self.make(), experiment(root=tmp_path)(_identity)
        first = controller.suggest(recorded)
        assert first is not None
        assert set(first) == {"x"}
        assert controller.suggest(recorded) is not first

    def test_it_runs_as_often_as_it_is_told(self, tmp_path: Path) -> None:
        """``n`` counts runs; 0 is none."""
        controller, recorded = self.make(), experiment(root=tmp_path)(_identity)
        controller.control(recorded, n=0)
        assert len(recorded.observations()) == 0
        controller.control(recorded, n=2)
        assert len(recorded.observations()) == 2

    def test_overloads_reach_every_run(self, tmp_path: Path) -> None:
        """They win over what is suggested."""
        controller, recorded = self.make(), experiment(root=tmp_path)(_identity)
        controller.control(recorded, n=2, tag="mine")
        assert [o.config["tag"] for o in recorded.observations()] == ["mine"] * 2


def _identity(x: Any, tag: str = "") -> Any:
    return x
