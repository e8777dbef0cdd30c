"""Runs that a search ends early, by what they log: Optuna decides, its journal tells workers."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from digital_experiments.errors import RunPruned
from digital_experiments.files import make_folder
from digital_experiments.ids import new_id
from digital_experiments.store.layout import shared_folder

if TYPE_CHECKING:
    import optuna


def new_journal(root: str) -> str:
    """A file in a store by which the workers of a search know of each other's trials."""
    make_folder(shared_folder(root))
    return f"{shared_folder(root)}/{new_id()}.journal"


def storage_of(journal: str) -> optuna.storages.BaseStorage:
    """Optuna's storage in a journal."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(journal))


def remove(journal: str) -> None:
    """Remove a journal: the store's observations say all that the search did."""
    for path in (journal, f"{journal}.lock"):
        with suppress(OSError):
            os.unlink(path)


def is_reported(step: float) -> bool:
    """Whether a step is one of Optuna's, which are whole numbers from 0 on."""
    return step >= 0 and step == int(step)


class Pruning:
    """Reports what a run logs to its trial, and ends the run where the pruner says so.

    Parameters
    ----------
    journal : str
        The file by which workers know of the trials.
    study : str
        The name of the study there.
    trial : int
        The trial's number in the storage.
    key : str
        The series that is reported.
    pruner : optuna.pruners.BasePruner
        Who decides.
    """

    def __init__(self, journal: str, study: str, trial: int, key: str, pruner: Any) -> None:
        self.journal = journal
        self.study = study
        self.trial = trial
        self.key = key
        self.pruner = pruner

    def __call__(self, key: str, value: float, step: float) -> None:
        """Take note of a point.

        Raises
        ------
        RunPruned
            If the rest of the run is of no use.
        """
        if key != self.key or not is_reported(step):
            return
        trial = self._trial()
        trial.report(value, int(step))
        if trial.should_prune():
            raise RunPruned(f"Its {key} of {value:g} at step {step:g} is not worth going on.")

    def _trial(self) -> optuna.Trial:
        import optuna

        if not hasattr(self, "_known"):
            study = optuna.load_study(
                study_name=self.study, storage=storage_of(self.journal), pruner=self.pruner
            )
            self._known = optuna.Trial(study, self.trial)
        return self._known

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_known"}
