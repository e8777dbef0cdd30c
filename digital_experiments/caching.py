"""Recorded results in place of runs: by code and config, each made once. Knows backends."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from digital_experiments.backends import Backend
from digital_experiments.config import Config, config_key
from digital_experiments.digest import short_hash
from digital_experiments.errors import DamagedRecord, ValueUnavailable
from digital_experiments.observation import Observation
from digital_experiments.run import Run
from digital_experiments.store import cache
from digital_experiments.values import is_whole
from digital_experiments.views import has_views

if TYPE_CHECKING:
    from concurrent.futures import Future


_flights: dict[tuple[str, str], Future[None]] = {}  # what this process is computing now


class ResultCache:
    """The results that an experiment's store holds, found by code and config.

    A pointer beside the records makes a look-up as quick among a million as among ten. What
    was recorded without one, with ``cache=False``, is found by one search a process.

    Parameters
    ----------
    name : str
        The experiment's name.
    backend : Backend
        Where its observations are.
    """

    def __init__(self, name: str, backend: Backend) -> None:
        self._name = name
        self._backend = backend
        self._root = str(backend.root)
        self._earlier: dict[str, str] | None = None

    def find(self, key: str) -> Observation | None:
        """The completed observation that a key stands for, with its result loaded."""
        id = cache.find(self._root, key)
        if id is None:
            id = self._recorded_earlier().get(key)
        return self._load(id) if id is not None else None

    def _load(self, id: str) -> Observation | None:
        try:
            observation = self._backend.load(id)
            if observation.status == "completed" and is_whole(observation.result):
                return observation
        except (KeyError, DamagedRecord, ValueUnavailable):
            pass
        return None

    def _recorded_earlier(self) -> dict[str, str]:
        if self._earlier is None:
            keyed = ((self._key_of(o), o.id) for o in self._backend.load_all())
            self._earlier = {key: id for key, id in keyed if key}
        return self._earlier

    def _key_of(self, observation: Observation) -> str | None:
        facts = observation.facts
        known = facts.get("experiment") == self._name and "fingerprint" in facts
        if not known or observation.status != "completed":
            return None
        config = observation.config
        if has_views(config):
            return None
        with suppress(TypeError):  # Indigestible
            return cache_key(facts["fingerprint"], config)
        return None

    def keep(self, key: str, run: Run) -> None:
        """Let a key stand for the run that has just completed."""
        if run.recorded:
            with suppress(OSError):
                cache.point(self._root, key, run.id)

    def take_off(self, key: str) -> Future[None] | None:
        """Claim a key that is to be computed now; None, or the flight of who is at it."""
        from concurrent.futures import Future

        mine: Future[None] = Future()
        other = _flights.setdefault((self._root, key), mine)
        return None if other is mine else other

    def land(self, key: str) -> None:
        """Give a claimed key free, and wake all that wait for it."""
        _flights.pop((self._root, key)).set_result(None)


def cache_key(fingerprint: str, config: Config) -> str:
    """The key of a result: equal for the same code with an equal config.

    Raises
    ------
    Indigestible
        If a value of the config can't be compared with others.
    """
    return short_hash(f"{fingerprint} {config_key(config)}".encode())


def is_within(key: str, run: Run | None) -> bool:
    """Whether a run, or one that it is nested in, is computing a key: then waiting is for ever."""
    while run is not None:
        if run.cache_key == key:
            return True
        run = run.parent
    return False


def hit_line(observation: Observation) -> str:
    """What ``verbose`` prints of a hit."""
    return f"cached {observation.id} → {observation.outcome()}"
