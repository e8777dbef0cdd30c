"""When a run started and ended, how long it took, and its named parts."""

from __future__ import annotations

from digital_experiments.callbacks.base import Callback
from digital_experiments.observation import Observation
from digital_experiments.run import current_run, timing


class Timing(Callback):
    """Records ``metadata["timing"]``: ``start``, ``end`` and ``duration`` in seconds.

    Where the run has named blocks (:func:`~digital_experiments.time_block`), the whole is
    under ``total`` and each block under its name.
    """

    def end(self, observation: Observation) -> None:
        """Add the run's times."""
        run = current_run()
        total = timing(run.started, run.seconds)
        observation.metadata["timing"] = {**run.blocks, "total": total} if run.blocks else total
