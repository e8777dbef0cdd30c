"""How many calls to hand to workers at once, and how many to have on the way, by what they took."""

from __future__ import annotations

import math
import time

from digital_experiments.executors import Executor
from digital_experiments.many.attempts import Answer

_AHEAD = 4  # portions handed over, for each worker
_LEAST = 0.02  # seconds of work of which it does not matter who does them
_SHORT = 0.0005  # seconds
_ALONE = 0.01  # seconds for which the first call is alone
_MOST = 100  # calls in a portion


class Pace:
    """What is known of the calls so far.

    Parameters
    ----------
    executor : Executor
        Who runs them.
    single : bool
        Whether calls are to be handed over one by one.
    ahead : int, optional
        How many portions are to be on the way beside the one that a worker is at.
    total : int, optional
        How many calls there are at most.
    """

    def __init__(
        self, executor: Executor, single: bool, ahead: int | None, total: int | None
    ) -> None:
        self._executor = executor
        self._single = single or ahead is not None or executor.awaits
        self._ahead = ahead
        self._left = math.inf if total is None else total
        self._seconds = self._busy = executor.portion  # that a call takes, at first unknown
        self._most = 1
        self._begun: float | None = None
        self.is_known = False

    def room(self) -> int:
        """How many portions may be on their way."""
        if self._ahead is not None:
            return (1 + self._ahead) * self._executor.workers
        if self._executor.shares_interpreter and (self._is_crowded() or self._is_first_alone()):
            return 1
        return _AHEAD * self._executor.workers

    def portion(self) -> int:
        """How many calls to hand over at once: of short ones many, so that it costs little."""
        if self._single:
            return 1
        seconds = self._busy if self._is_crowded() else self._seconds
        fair = self._left * seconds / (2 * self._executor.workers)  # lest all wait for the last
        worth = min(self._executor.portion, max(fair, _LEAST))
        return max(1, min(self._most, int(worth / seconds)))

    def take(self) -> None:
        """A call is handed over."""
        self._left -= 1

    def learn(self, answer: Answer) -> None:
        """Calls have ended."""
        self.is_known = True
        self._most = min(_MOST, 2 * self._most)  # one that took long may have been the exception
        self._seconds = max(answer.seconds / len(answer.outcomes), 1e-6)
        self._busy = max(answer.busy / len(answer.outcomes), 1e-6)

    def _is_first_alone(self) -> bool:
        """Whether the first call may be a short one, and should be timed undisturbed."""
        if self._begun is None:
            self._begun = time.perf_counter()
        return not self.is_known and time.perf_counter() - self._begun < _ALONE

    def _is_crowded(self) -> bool:
        """Whether threads, if there were several, would only wait for each other.

        Then calls are short, and wait for hardly anything but the interpreter.
        """
        waits = self._seconds > 2 * self._executor.workers * self._busy
        return self._executor.shares_interpreter and self._busy < _SHORT and not waits
