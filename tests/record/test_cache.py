"""cache=True: the same code with an equal config is run once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from digital_experiments import experiment
from digital_experiments.caching import cache_key
from digital_experiments.errors import RecordingWarning


def counting(**options: Any) -> tuple[Any, list[Any]]:
    calls: list[Any] = []

    def work(x: Any, scale: int = 1) -> Any:
        calls.append(x)
        return [x]

    return experiment(cache=True, **options)(work), calls


def test_an_equal_config_is_not_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    work, calls = counting(verbose=True)
    first = work(3)
    assert work(3) == work(x=3) == work(3, 1) == first
    assert calls == [3]
    assert len(work.observations()) == 1
    assert capsys.readouterr().out.count("cached") == 3


def test_one_true_and_one_point_zero_are_three_configs() -> None:
    work, calls = counting()
    assert [work(x) for x in (1, True, 1.0, 1, True, 1.0)] == [[1], [True], [1.0]] * 2
    assert len(calls) == 3


def test_arrays_and_frames_are_told_apart_by_content() -> None:
    work, calls = counting()
    values = [
        np.arange(3),
        np.arange(3),
        np.arange(3.0),
        np.array([0, 1, 5]),
        pd.DataFrame({"a": [1, 2]}),
        pd.DataFrame({"a": [1, 2]}),
        pd.DataFrame({"a": [1, 3]}),
        pd.DataFrame({"b": [1, 2]}),
    ]
    for value in values:
        work(value)
    assert len(calls) == 6


def test_a_caller_may_change_what_it_got() -> None:
    work, _ = counting()
    work(1).append("spoilt")
    work(1).append("spoilt")
    assert work(1) == [1]


def test_failures_are_not_cached() -> None:
    attempts: list[int] = []

    @experiment(cache=True)
    def flaky(x: int) -> int:
        attempts.append(x)
        if len(attempts) == 1:
            raise OSError("the first time")
        return x

    with pytest.raises(OSError, match="the first time"):
        flaky(1)
    assert flaky(1) == 1
    assert flaky(1) == 1
    assert len(attempts) == 2


def test_another_process_finds_it_and_so_does_one_with_other_options(folder: Path) -> None:
    script = folder / "work.py"
    script.write_text(
        "import sys\nfrom digital_experiments import experiment\n"
        "@experiment(root='shared', cache=sys.argv[1] == 'cache')\n"
        "def f(x):\n    print('ran'); return x\n"
        "f(3)\n"
    )
    run = [sys.executable, str(script)]
    outputs = [
        subprocess.run([*run, how], capture_output=True, text=True, check=True).stdout
        for how in ("plain", "cache", "cache", "plain")
    ]
    assert outputs == ["ran\n", "", "", "ran\n"]


def test_a_deleted_observation_is_run_again() -> None:
    work, calls = counting()
    work(1)
    for record in work.root.glob("*.pkl"):
        os.unlink(record)
    work(1)
    assert calls == [1, 1]


def test_threads_that_miss_together_run_once() -> None:
    calls: list[int] = []

    @experiment(cache=True)
    def slow(x: int) -> int:
        calls.append(x)
        time.sleep(0.1)
        return x

    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(slow(7))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [7] * 8
    assert calls == [7]


def test_tasks_that_miss_together_run_once() -> None:
    calls: list[int] = []

    @experiment(cache=True)
    async def slow(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0.05)
        return x

    async def together() -> list[int]:
        return await asyncio.gather(*(slow(x) for x in [1, 2] * 10))

    assert asyncio.run(together()) == [1, 2] * 10
    assert sorted(calls) == [1, 2]


def test_a_waiter_takes_over_from_one_that_failed() -> None:
    started = threading.Event()
    attempts: list[int] = []

    @experiment(cache=True)
    def flaky(x: int) -> int:
        attempts.append(x)
        if len(attempts) == 1:
            started.set()
            time.sleep(0.1)
            raise OSError("the first")
        return x

    def first() -> None:
        with pytest.raises(OSError, match="the first"):
            flaky(1)

    thread = threading.Thread(target=first)
    thread.start()
    started.wait()
    assert flaky(1) == 1
    thread.join()
    assert len(attempts) == 2


def test_a_config_that_can_not_be_compared_runs_each_time_and_says_so() -> None:
    work, calls = counting()
    generator = (i for i in range(3))
    for _ in range(2):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            work(generator)
        assert "not looked up in the cache" in str(seen[0].message)
        assert seen[0].category is RecordingWarning
    assert len(calls) == 2


def test_a_generator_function_can_not_be_cached() -> None:
    with pytest.raises(TypeError, match="cache=True is not for"):

        @experiment(cache=True)
        def count():  # type: ignore[no-untyped-def]
            yield 1


def test_functions_are_compared_by_what_they_do() -> None:
    work, calls = counting()
    for scale in (2, 2, 3):
        namespace: dict[str, Any] = {"scale": scale}
        exec("def f(x):\n    return x * scale", namespace)
        work(namespace["f"])
    assert len(calls) == 2


def test_a_cache_that_can_not_be_read_does_not_keep_a_call_from_running(folder: Path) -> None:
    recorded = experiment(cache=True, name="late")(lambda x: x)
    (folder / "experiments").write_text("a file where the store's folder should be")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert recorded(1) == 1
    assert "can't be read" in str(seen[0].message)
    assert "could not be recorded" in str(seen[-1].message)


def test_a_wrong_call_of_a_coroutine_function_is_told_when_it_is_made() -> None:
    async def two(a: int, b: int) -> None: ...

    for cache in (True, False):
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            experiment(cache=cache)(two)(1)  # type: ignore[call-arg]


def test_categories_and_their_order_are_part_of_a_key() -> None:
    letters = pd.Series(["a", "b"])
    keys = {
        cache_key("code", {"s": letters.astype(kind)})
        for kind in (
            "category",
            pd.CategoricalDtype(["a", "b", "c"]),
            pd.CategoricalDtype(["a", "b"], ordered=True),
            pd.CategoricalDtype(["b", "a"], ordered=True),
        )
    }
    assert len(keys) == 4
    assert cache_key("code", {"s": letters.astype("category")}) in keys
