"""The contract of :class:`~digital_experiments.Backend`, as tests."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from digital_experiments.backends import Backend
from digital_experiments.errors import DamagedRecord, ObservationNotFound
from digital_experiments.ids import new_id
from digital_experiments.observation import Observation

PLAIN_VALUES: dict[str, Any] = {
    "none": None,
    "numbers": [0, -1, 10**30, 1.5, -0.0, math.inf, -math.inf, True],
    "texts": ["", "ascii", "snow ☃", "two\nlines", "1e-5", "on", "$blob"],
    "bytes": b"\x00\xff",
    "nested": {"a": {"b": [{"c": ()}]}, "empty": {}, "list": []},
    "tuple": (1, (2, [3])),
    "set": {1, "two", (3, 4)},
    "int keys": {1: "one", 2.5: "two and a half", None: "none", False: "no"},
    "tag-like": {"$pickle": b"no pickle", "$dict": []},
}


class BackendSuite:
    """Subclass it, set :attr:`backend`, and let pytest run it.

    Attributes
    ----------
    backend : type of Backend
        The class to test; it is made anew for each test, over an empty folder.
    keeps_damage_apart : bool
        Whether each observation is one file below the root, so that :meth:`damage` can spoil one.
    """

    backend: ClassVar[type[Backend]]
    keeps_damage_apart: ClassVar[bool] = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Backend:
        """A backend over an empty folder."""
        return self.backend(tmp_path / "store")

    @staticmethod
    def observation(result: object = 1, **config: Any) -> Observation:
        """An observation that has just been made."""
        return Observation(new_id(), config, result, {"status": "completed"})

    def test_what_was_recorded_is_loaded(self, store: Backend) -> None:
        """All four parts come back equal."""
        recorded = self.observation({"y": 2}, x=1)
        store.record(recorded)
        assert store.load(recorded.id)._asdict() == recorded._asdict()

    @pytest.mark.parametrize("name", PLAIN_VALUES)
    def test_plain_values_come_back_with_their_types(self, store: Backend, name: str) -> None:
        """Lists are no tuples, ints no floats, integer keys no texts."""
        value = PLAIN_VALUES[name]
        recorded = self.observation(value, value=value)
        store.record(recorded)
        loaded = store.load(recorded.id)
        assert repr(loaded.result) == repr(value)
        assert repr(loaded.config) == repr({"value": value})

    def test_nan_comes_back(self, store: Backend) -> None:
        """NaN is no null."""
        recorded = self.observation(math.nan)
        store.record(recorded)
        assert math.isnan(store.load(recorded.id).result)

    def test_another_instance_sees_it(self, store: Backend) -> None:
        """Nothing is kept in memory only."""
        recorded = self.observation(x=1)
        store.record(recorded)
        assert type(store)(store.root).load(recorded.id).config == {"x": 1}

    def test_all_ids_are_listed(self, store: Backend) -> None:
        """Each recorded id, once; none before any was recorded."""
        assert list(store.all_ids()) == []
        recorded = [self.observation(i) for i in range(5)]
        for observation in recorded:
            store.record(observation)
        assert sorted(store.all_ids()) == sorted(o.id for o in recorded)

    def test_load_all_is_sorted_by_id(self, store: Backend) -> None:
        """Which is by time, whatever the order of recording."""
        recorded = [self.observation(i) for i in range(5)]
        for observation in reversed(recorded):
            store.record(observation)
        assert [o.result for o in store.load_all()] == [0, 1, 2, 3, 4]

    def test_a_missing_id_is_told(self, store: Backend) -> None:
        """By ObservationNotFound, which is a KeyError."""
        with pytest.raises(ObservationNotFound):
            store.load(new_id())

    def test_a_record_does_not_change_with_the_values(self, store: Backend) -> None:
        """What the caller does to a list afterwards is not recorded."""
        result = [1, 2]
        recorded = self.observation(result)
        store.record(recorded)
        result.append(3)
        assert store.load(recorded.id).result == [1, 2]

    def test_two_loads_share_nothing(self, store: Backend) -> None:
        """A caller may change what it got."""
        recorded = self.observation([1])
        store.record(recorded)
        store.load(recorded.id).result.append(2)
        assert store.load(recorded.id).result == [1]

    def test_threads_record_at_once(self, store: Backend) -> None:
        """Eight threads, fifty records each, all there."""

        def work() -> None:
            for i in range(50):
                store.record(self.observation(i))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(store.all_ids())) == 400
        assert sorted(o.result for o in store.load_all()) == sorted(list(range(50)) * 8)

    def test_damage_costs_one_observation(self, store: Backend) -> None:
        """The others are listed, and a warning names the damaged one."""
        if not self.keeps_damage_apart:
            pytest.skip("this backend does not keep one file an observation")
        recorded = [self.observation(i) for i in range(3)]
        for observation in recorded:
            store.record(observation)
        self.damage(store, recorded[1].id)
        with pytest.raises(DamagedRecord):
            store.load(recorded[1].id)
        with pytest.warns(UserWarning, match=recorded[1].id):
            assert [o.result for o in store.load_all()] == [0, 2]

    def damage(self, store: Backend, id: str) -> None:
        """Spoil one record: by default, cut its file in half."""
        (path,) = store.root.glob(f"{id}.*")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
