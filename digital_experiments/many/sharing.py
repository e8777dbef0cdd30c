"""Which configs of a sweep are still to be run, by all who run it on one store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from digital_experiments.config import Config, recorded_key
from digital_experiments.errors import RecordingWarning
from digital_experiments.faults import warn_user
from digital_experiments.followed import follower_of, shown_name
from digital_experiments.many.attempts import Runnable
from digital_experiments.many.calls import Call
from digital_experiments.selection import STATUSES
from digital_experiments.store.claims import Claims


def _claims_on(root: str) -> Claims:
    """Claims among all who share a store."""
    follower = follower_of(root)
    claims: Claims = Claims(root) if follower is None else follower.claims()
    return claims


Waiting = tuple[int, Call, str]


class Sharing:
    """Hands out the calls of a sweep that nobody has made, and nobody else is making.

    Parameters
    ----------
    experiment : Experiment
        Whose runs they are.
    retry : list of str
        The statuses that do not count as done.
    """

    def __init__(self, experiment: Runnable, retry: Sequence[str]) -> None:
        self.experiment = experiment
        self.known: list[tuple[int, str]] = []
        """The numbers of the calls that were done already, and their observations."""
        self._statuses = [s for s in STATUSES if s not in (*retry, "running")]
        self._keys: dict[int, str] = {}
        self._claims: Claims | None = None
        with self._alone_if_it_fails():
            self._claims = _claims_on(str(experiment.backend.root))
        self._done = self._look()

    def _look(self) -> dict[str, str]:
        """What is done, by the key of its config."""
        done = self.experiment.observations(status=self._statuses)
        return {self._mark(observation.config): observation.id for observation in done}

    def _mark(self, config: Config) -> str:
        """What tells a config, with the code that is to run it, from others."""
        return f"{self.experiment.fingerprint[:8]}-{recorded_key(config)}"

    def pending(self, calls: Iterable[Call]) -> Iterator[tuple[int, Call] | None]:
        """The calls to be made here, claimed; None while others may still give some back."""
        waiting: list[Waiting] = []
        for number, call in enumerate(calls):
            key = self._key(call)
            if key is None:
                yield number, call
            elif self._is_done(number, key):
                continue
            elif self._is_ours(number, key):
                yield number, call
            else:
                waiting.append((number, call, key))
        while waiting := [one for one in waiting if not self._is_done(one[0], one[2])]:
            yield None
            with self._alone_if_it_fails():
                self._hear()
            for one in list(waiting):
                number, call, key = one
                if key not in self._done and self._is_ours(number, key):
                    waiting.remove(one)
                    yield number, call

    def _is_done(self, number: int, key: str) -> bool:
        if key in self._done:
            self.known.append((number, self._done[key]))
        return key in self._done

    def _key(self, call: Call) -> str | None:
        try:
            return self._mark(self.experiment._bind(call.args, call.kwargs))
        except TypeError:  # values that can't be compared: it is run
            return None

    def _is_ours(self, number: int, key: str) -> bool:
        """Claim a config, unless it was done meanwhile."""
        if key in self._keys.values() or not self._claim(key):
            return False
        self._keys[number] = key
        return True

    def _claim(self, key: str) -> bool:
        with self._alone_if_it_fails():
            if self._claims is None:
                return True
            if not self._claims.take(key):
                return False
            self._hear()
            if key in self._done:
                self._claims.give_back(key)
                return False
        return True

    @property
    def _place(self) -> str:
        return shown_name(str(self.experiment.backend.root))

    @contextmanager
    def _alone_if_it_fails(self) -> Iterator[None]:
        """Go on without the others where claims can't be kept, and say so."""
        try:
            yield
        except OSError as problem:
            claims, self._claims = self._claims, None
            if claims is not None:
                with suppress(OSError):
                    claims.close()
            warn_user(
                f"Nobody else should run this sweep on {self._place} now: what is "
                f"run can't be claimed there, because {problem}.",
                RecordingWarning,
            )

    def _hear(self) -> None:
        """Take note of what others have done."""
        if self._claims is None:
            return
        look, ended = self._claims.news()
        if look:
            self._done.update(self._look())
        self._done.update({key: told.id for key, told in ended.items()})

    def ended(self, number: int, id: str, status: str) -> None:
        """Tell the others that a call is done."""
        key = self._keys.pop(number, None)
        if key is not None:
            self._done[key] = id
            with self._alone_if_it_fails():
                if self._claims is not None:
                    self._claims.release(key, id, status)

    def close(self) -> None:
        """Give back what was claimed."""
        with self._alone_if_it_fails():
            if self._claims is not None:
                self._claims.close()
