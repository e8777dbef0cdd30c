"""What makes attempts in another process, of this machine or another. Knows how things travel."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from digital_experiments.callbacks.code import plain_functions
from digital_experiments.executors import WorkerDied
from digital_experiments.followed import follower_of
from digital_experiments.many.attempts import Answer, Attempt, Outcome, Runnable, Worker
from digital_experiments.many.travel import LARGE, fit_to_travel, light, packed, whole
from digital_experiments.source import known_text, take_text
from digital_experiments.store.blobs import Blobs
from digital_experiments.store.flight import read_flight


class RemoteWorker(Worker):
    """A worker in another process: what it is handed, and hands back, are bytes.

    Parameters
    ----------
    experiment : Experiment
        Whose runs it makes.
    restarts : bool
        Whether the executor may start a task again when the worker that was at it has died.
    """

    def __init__(self, experiment: Runnable, restarts: bool) -> None:
        super().__init__(experiment)
        self.restarts = restarts
        self._root = str(experiment.backend.root)
        self._is_followed = follower_of(self._root) is not None
        self._blobs = Blobs(self._root)

    def __reduce__(self) -> tuple[Any, ...]:
        """With the store, which elsewhere may be named otherwise, and the code's text."""
        functions = plain_functions(self.experiment.function)
        texts = dict(known_text(function.__code__.co_filename) for function in functions)
        root = None if self._is_followed else self._root  # a bucket is named by the experiment
        return _arrived, (packed(self.experiment), root, self.restarts, texts)

    def pack(self, attempts: Sequence[Attempt]) -> bytes:
        """Some attempts as bytes; their large arguments go into the store."""
        attempts = [_unbound(attempt) for attempt in attempts]
        data = packed(attempts)
        if len(data) <= LARGE:
            return data
        # where the store is on a bucket, workers elsewhere find no blob before a record names it
        if self._is_followed:
            return data
        return packed([a._replace(call=light(a.call, self._blobs)) for a in attempts])

    def unpack(self, answer: bytes) -> Answer:
        """The answer of bytes."""
        known: Answer = pickle.loads(answer)
        return known

    def __call__(self, attempts: bytes) -> bytes:
        """Make the runs of some attempts, one after another.

        Raises
        ------
        WorkerDied
            If another worker has begun them already.
        """
        asked: list[Attempt] = pickle.loads(attempts)
        if self.restarts and self._has_begun(asked[0].id):
            raise WorkerDied("another worker had begun it")
        answer: Answer = super().__call__(asked)
        return packed(answer._replace(outcomes=[_fit(one) for one in answer.outcomes]))

    def make(self, attempt: Attempt) -> Outcome:
        """Make the run of an attempt; its exception is part of the outcome."""
        return super().make(attempt._replace(call=whole(attempt.call, self._blobs)))

    def _has_begun(self, id: str) -> bool:
        if read_flight(self._root, id) is not None:
            return True
        try:
            self.experiment.backend.load(id)
        except KeyError:
            return False
        return True


def _unbound(attempt: Attempt) -> Attempt:
    """The attempt without the defaults of the function, which need not travel."""
    if attempt.call.config is None:
        return attempt
    return attempt._replace(call=attempt.call._replace(config=None))


def _arrived(data: bytes, root: str | None, restarts: bool, texts: dict[str, str]) -> RemoteWorker:
    for filename, text in texts.items():
        take_text(filename, text)
    experiment = pickle.loads(data)
    if root is not None and str(experiment.backend.root) != root:
        experiment = experiment.with_(root=root)
    return RemoteWorker(experiment, restarts)


def _fit(outcome: Outcome) -> Outcome:
    if outcome.error is None:
        return outcome
    return outcome._replace(error=fit_to_travel(outcome.error))
