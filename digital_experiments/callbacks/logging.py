"""Tells of each run on the terminal."""

from __future__ import annotations

from typing import Any

from digital_experiments.callbacks.base import Callback
from digital_experiments.observation import Observation
from digital_experiments.views import short_repr


class Logging(Callback):
    """Prints a line when a run starts and one when it ends.

    Parameters
    ----------
    verbose : bool
        Whether to print at all.
    """

    def __init__(self, verbose: bool = True) -> None:
        self.verbose = verbose

    def start(self, id: str, config: dict[str, Any]) -> None:
        """Print the id and the config."""
        if self.verbose:
            print(f"started {id} with {short_repr(config)}")

    def end(self, observation: Observation) -> None:
        """Print the id and the result, or what went wrong."""
        if self.verbose:
            failed = observation.status != "completed"
            ending = observation.outcome() if failed else short_repr(observation.result, 100)
            print(f"finished {observation.id} → {ending}")
