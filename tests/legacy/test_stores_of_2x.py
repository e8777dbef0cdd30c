"""Stores that digital-experiments 2.0.4 wrote open and list; make_stores.py made these."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from digital_experiments import experiment, time_block
from digital_experiments.views import ValueView

STORES = Path(__file__).with_name("stores")


@pytest.fixture
def stores(folder: Path) -> Path:
    return Path(shutil.copytree(STORES, folder / "stores"))


@pytest.mark.parametrize("backend", ["pickle", "json", "yaml"])
def test_a_store_lists_as_it_did(stores: Path, backend: str) -> None:
    def scale(a, b=2, *rest, **options):  # type: ignore[no-untyped-def]
        """A docstring that 2.x would have taken for other code."""
        with time_block("work"):
            (current_dir() / "note.txt").write_text("kept")  # noqa: F821 - it is only compared
        return {"product": a * b}

    recorded = experiment(root=stores / backend, backend=backend)(scale)
    found = recorded.observations()
    assert [o.result for o in found] == [{"product": 2}, {"product": 10}, {"product": 3}]
    expected = [((), {}), ((), {}), ((7,), {"flag": True})]
    if backend == "json":  # which turned tuples into lists
        expected = [(list(rest), options) for rest, options in expected]
    assert [(o.config["rest"], o.config["options"]) for o in found] == expected
    assert found[0].artefacts()[0].read_text() == "kept"
    assert found[0].metadata["environment"]["git"]["branch"] == "main"
    assert set(found[0].metadata["timing"]) == {"work", "total"}
    assert list(recorded.to_dataframe()["result.product"]) == [2, 10, 3]


def test_other_code_is_hidden_as_it_was(stores: Path) -> None:
    recorded = experiment(root=stores / "pickle", name="scale")(lambda a: a)
    assert recorded.observations() == []
    assert recorded.observations().hidden == {"from older code": 3}
    assert len(recorded.observations(current_code_only=False)) == 3


@pytest.mark.skipif(os.name == "nt", reason="the fixtures hold POSIX names")
def test_objects_are_shown_and_load_when_asked_for(stores: Path) -> None:
    recorded = experiment(root=stores / "objects")(lambda n: n)
    first, second = recorded.observations(current_code_only=False)
    assert first.shown("result")["mean"] == 1.5
    assert isinstance(first.shown("result")["array"], ValueView)
    assert np.array_equal(first.result["array"], np.arange(3))
    assert dict(first.result["counts"]) == {"a": 1}
    assert np.array_equal(second.config["weights"], np.ones(2))
    table = recorded.to_dataframe(current_code_only=False)
    assert list(table["result.mean"]) == [1.5, 2.0]


def test_yaml_objects_are_shown_and_load_when_asked_for(stores: Path) -> None:
    recorded = experiment(root=stores / "yaml-objects", backend="yaml")(lambda n: n)
    (found,) = recorded.observations(current_code_only=False)
    assert found.config == {"n": 1}
    assert "complex" in repr(found)
    assert found.result == (1, {"z": 1 + 2j})


def test_new_runs_join_the_old(stores: Path) -> None:
    recorded = experiment(root=stores / "pickle")(lambda a: a)
    recorded(5)
    assert len(recorded.observations(current_code_only=False)) == 4
