"""Steps: a run tells how it came to its result, and what was made before is not made again."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digital_experiments import (
    Callback,
    Experiment,
    current_run,
    experiment,
    open_experiment,
    pipeline,
    step,
)
from digital_experiments.errors import CallbackWarning, RecordingError, RecordingWarning

FORK = multiprocessing.get_context("fork")


@step
def load(n: int = 4) -> list[int]:
    return list(range(n))


@step
def plus(values: list[int], by: int = 1) -> list[int]:
    return [value + by for value in values]


@step
def clean(values: list[int], by: int = 1) -> list[int]:
    if by < 0:
        raise ValueError("by is negative")
    return plus(values, by)


@pytest.fixture
def total() -> Experiment[..., int]:
    @experiment(root="total")
    def total(n: int = 4, by: int = 1) -> int:
        return sum(clean(load(n), by=by))

    return total


def made(tag: str) -> int:
    """How often something was made."""
    path = Path("made", tag)
    return len(path.read_text()) if path.exists() else 0


def note(tag: str) -> None:
    Path("made").mkdir(exist_ok=True)
    with open(Path("made", tag), "a") as file:
        file.write("x")


def test_a_run_keeps_its_steps_with_what_went_in_and_came_out(total: Experiment[..., int]) -> None:
    assert total() == 10
    first, second, inner = total.observations()[-1].metadata["steps"]
    assert [s["name"] for s in (first, second, inner)] == ["load", "clean", "plus"]
    assert first["values"] == {"n": 4}
    assert second["inputs"]["values"] == first["output"] == inner["inputs"]["values"]
    assert second["output"] == inner["output"] != first["output"]
    assert inner["within"] == 1
    assert "within" not in second
    assert all(s["status"] == "completed" and s["duration"] >= 0 for s in (first, second, inner))
    assert load(2) == [0, 1]  # outside of a run it is an ordinary function


def test_a_step_that_fails_says_so_and_lets_its_exception_through(
    total: Experiment[..., int],
) -> None:
    with pytest.raises(ValueError, match="by is negative"):
        total(by=-1)
    (failed,) = total.observations(status="failed")
    assert [s["status"] for s in failed.metadata["steps"]] == ["completed", "failed"]
    assert failed.metadata["steps"][1]["error"] == "ValueError: by is negative"
    assert failed.error is not None
    assert "in clean" in failed.error["traceback"]
    with pytest.raises(TypeError, match="unexpected keyword"):
        load(m=2)  # type: ignore[call-arg]


def test_the_tree_shows_what_came_from_what(
    total: Experiment[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    total(by=3)
    with pytest.raises(ValueError, match="negative"):
        total(by=-2)
    total.observations()[-1].tree()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("s")
    assert " · completed · " in lines[0]
    assert lines[1].startswith("├── load(n=4) · ")
    assert lines[2].startswith("└── clean(values ← load, by=3) · ")
    assert lines[3].startswith("    └── plus(values ← load, by=3) · ")
    total.observations(status="failed")[-1].tree()
    assert "· failed ·" in (text := capsys.readouterr().out)
    assert "ValueError: by is negative" in text

    @experiment(root="seen")
    def seen() -> None:
        load(2)
        current_run().tree()

    seen()
    assert "· running" in (text := capsys.readouterr().out)
    assert "load(n=2)" in text


def test_odd_inputs_and_very_many_calls_do_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    @step
    def odd(what: Any, *rest: int, **more: Any) -> Any:
        return what

    @experiment(root="odd")
    def tries() -> int:
        odd(threading.Lock(), 1, 2, x=threading.Lock())
        odd("[bold]text[/bold] \x1b[31m", 1)
        for n in range(1500):
            odd(n)
        return 1

    assert tries() == 1
    metadata = tries.observations()[-1].metadata
    assert metadata["steps"][0]["inputs"]["what"] is None
    assert len(metadata["steps"]) == 1000
    assert metadata["more_steps"]["odd"]["count"] == 502
    tries.observations()[-1].tree()
    shown = capsys.readouterr().out
    assert "[bold]text[/bold]" in shown
    assert "\x1b" not in shown
    assert "odd · 502 calls more" in shown


def test_steps_of_threads_and_tasks_stay_apart() -> None:
    @step
    async def wait(n: int) -> int:
        await asyncio.sleep(0.001)
        return plus([n])[0]

    @experiment(root="apart")
    async def gather(base: int) -> int:
        return sum(await asyncio.gather(*(wait(base + n) for n in range(5))))

    assert inspect.iscoroutinefunction(wait.function)
    found = gather.map([{"base": 10 * n} for n in range(10)], executor="async")
    assert [o.result for o in found] == [50 * n + 15 for n in range(10)]
    for observation in found:
        calls = observation.metadata["steps"]
        assert sorted(c["name"] for c in calls) == ["plus"] * 5 + ["wait"] * 5
        assert all(calls[c["within"]]["name"] == "wait" for c in calls if c["name"] == "plus")


def test_callbacks_listen_to_steps(total: Experiment[..., int]) -> None:
    heard: list[Any] = []

    class Listener(Callback):
        def step_start(self, step: Any) -> None:
            heard.append(("start", step.name, dict(step.config), step.run.id))

        def step_end(self, step: Any, value: Any) -> None:
            heard.append(("end", step.name, value, step.facts["status"]))
            step.facts["more"] = "noted"

    class Broken(Callback):
        def step_end(self, step: Any, value: Any) -> None:
            raise RuntimeError("no")

    listened = total.with_(root="heard", callbacks=[Listener()])
    listened(2)
    (observation,) = listened.observations()
    assert heard[0] == ("start", "load", {"n": 2}, observation.id)
    assert heard[1] == ("end", "load", [0, 1], "completed")
    assert [h[:2] for h in heard] == [
        ("start", "load"), ("end", "load"), ("start", "clean"),
        ("start", "plus"), ("end", "plus"), ("end", "clean"),
    ]  # fmt: skip
    assert observation.metadata["steps"][0]["more"] == "noted"
    with pytest.warns(CallbackWarning, match="Broken.step_end raised RuntimeError: no"):
        assert total.with_(root="broken", callbacks=[Broken()])(1) == 1


def test_a_cached_step_is_made_once_for_all_runs_of_a_store() -> None:
    @step(cache=True)
    def slow(data: np.ndarray[Any, Any], power: int) -> np.ndarray[Any, Any]:
        note("slow")
        return data**power

    @experiment(root="cached")
    def use(size: int, power: int = 2) -> float:
        powers = slow(np.arange(size), power)
        powers += 1  # what the cache holds is not touched by that
        return float(powers.sum())

    assert [use(3), use(3), use(3, power=3), use(4)] == [8.0, 8.0, 12.0, 18.0]
    assert made("slow") == 3
    steps = [o.metadata["steps"][0] for o in use.observations()]
    assert [s["status"] for s in steps] == ["completed", "cached", "completed", "completed"]
    assert steps[0]["output"] == steps[1]["output"]
    store = open_experiment("cached")
    store.gc()
    use(3)
    assert made("slow") == 3  # records name the value, so it is kept
    assert not store.check().damages
    store.delete([o.id for o in use.observations()])
    store.purge()
    store.gc()
    use(3)
    assert made("slow") == 4


def test_other_code_is_another_key() -> None:
    def variant(offset: int) -> Any:
        @step(cache=True, name="shift")
        def shift(x: int) -> int:
            note("shift")
            return x + offset

        @experiment(root="variants", name="variant")
        def run(x: int) -> int:
            return shift(x)

        return run

    assert [variant(1)(1), variant(1)(1), variant(2)(1)] == [2, 2, 3]
    assert made("shift") == 2


def test_what_can_not_be_cached_is_made_and_told() -> None:
    @step(cache=True)
    def make(key: Any) -> Any:
        return threading.Lock()

    @experiment(root="uncached")
    def use(key: Any) -> str:
        return type(make(key)).__name__

    with pytest.warns(RecordingWarning, match="The value of step 'make' can't be cached"):
        assert use(1) == "lock"

    @experiment(root="uncached", name="other")
    def other() -> None:
        make(threading.Lock())

    with pytest.warns(RecordingWarning, match="its 'key', a .*lock, can't be compared"):
        other()
    with pytest.raises(RecordingError, match="can't be compared"):
        other.with_(strict=True)()


def test_processes_that_want_the_same_value_wait_for_the_first() -> None:
    @step(cache=True)
    def slow(n: int) -> int:
        note("single")
        time.sleep(0.5)
        return n

    @experiment(root="single")
    def use(n: int, again: int) -> int:
        return slow(n)

    found = use.map([{"n": 1, "again": k} for k in range(8)], executor="process", workers=4)
    assert [o.result for o in found] == [1] * 8
    assert made("single") == 1
    found = use.map([{"n": 2, "again": k} for k in range(8)], executor="thread", workers=4)
    assert made("single") == 2

    @step(cache=True)
    async def slowly(n: int) -> int:
        note("tasks")
        await asyncio.sleep(0.2)
        return n

    @experiment(root="tasks")
    async def gather() -> list[int]:
        return list(await asyncio.gather(*(slowly(1) for _ in range(5))))

    assert asyncio.run(gather()) == [1] * 5
    assert made("tasks") == 1


def test_a_kill_while_a_value_is_made_stops_nobody_else() -> None:
    @step(cache=True)
    def slow(n: int) -> int:
        note("killed")
        time.sleep(60 if made("killed") == 1 else 0)
        return n

    @experiment(root="killed")
    def use(n: int) -> int:
        return slow(n)

    process = FORK.Process(target=use, args=(1,))
    process.start()
    while not made("killed"):
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    begun = time.monotonic()
    assert use(1) == 1
    assert time.monotonic() - begun < 10


def test_a_damaged_or_unwritable_cache_costs_time_only(folder: Path) -> None:
    @step(cache=True)
    def slow(n: int) -> int:
        note("damaged")
        return n

    @experiment(root="damaged")
    def use(n: int) -> int:
        return slow(n)

    use(1)
    for blob in (folder / "damaged" / "blobs").rglob("*.cloudpickle"):
        blob.write_bytes(b"torn")
    assert use(1) == 1
    assert made("damaged") == 2
    assert use(1) == 1
    assert made("damaged") == 2
    for pointer in (folder / "damaged" / "cache").rglob("*"):
        if pointer.is_file():
            pointer.write_bytes(b"\xff nonsense")
    assert use(1) == 1


def test_what_is_no_step_is_refused() -> None:
    with pytest.raises(TypeError, match="expects a function"):
        step(3)  # type: ignore[call-overload]

    def numbers() -> Any:
        yield 1

    with pytest.raises(TypeError, match="generator function"):
        step(numbers)


def test_methods_and_derived_names() -> None:
    class Model:
        factor = 3

        @step(name="scale")
        def times(self, x: int) -> int:
            return self.factor * x

        @staticmethod
        @step
        def half(x: int) -> float:
            return x / 2

    @experiment(root="methods")
    def use(x: int) -> float:
        return Model.half(Model().times(x))

    assert use(4) == 6.0
    assert [s["name"] for s in use.observations()[-1].metadata["steps"]] == ["scale", "half"]


# pipelines


def source(n: int = 4) -> list[int]:
    note("source")
    return list(range(n))


def scale(values: list[int], by: int = 1) -> list[int]:
    return [by * value for value in values]


def add_up(values: list[int], start: int = 0) -> int:
    return sum(values, start)


def test_a_pipeline_is_an_experiment_of_all_parameters() -> None:
    whole = pipeline(source, scale, add_up, name="whole", root="whole")
    assert whole(by=10) == 60
    assert whole(n=2, start=5) == 6
    assert whole(data=[1, 2], by=2) == 6
    assert made("source") == 2
    first, second, third = whole.observations()
    assert first.config == {"n": 4, "by": 10, "start": 0, "data": None}
    assert [s["name"] for s in first.metadata["steps"]] == ["source", "scale", "add_up"]
    assert [s["name"] for s in third.metadata["steps"]] == ["scale", "add_up"]
    assert third.config["data"] == [1, 2]
    code = second.metadata["code"]
    assert code.count("def ") == 3
    assert "def scale" in code
    for executor in ("thread", "process"):
        found = whole.map([{"by": by} for by in range(4)], executor=executor, workers=2)
        assert [o.result for o in found] == [0, 6, 12, 18]
    assert len(whole.observations()) == 11  # all by this code
    with pytest.raises(TypeError, match="'by_'"):
        whole.map([{"by_": 1}])
    with pytest.raises(TypeError):
        whole(3)


def test_a_late_parameter_changes_late_steps_only() -> None:
    whole = pipeline(step(cache=True)(source), scale, name="late", root="late")
    assert [whole(by=by) for by in (1, 2, 3)][-1] == [0, 3, 6, 9]
    assert made("source") == 1


def test_another_step_is_another_code() -> None:
    def times_two(values: list[int]) -> list[int]:
        return [2 * value for value in values]

    one = pipeline(source, scale, name="same", root="same")
    two = pipeline(source, times_two, name="same", root="same")
    one()
    assert len(one.observations()) == 1
    assert two.observations() == []


def test_a_pipeline_may_have_coroutine_steps() -> None:
    async def fetch(n: int = 3) -> list[int]:
        await asyncio.sleep(0.001)
        return list(range(n))

    whole = pipeline(fetch, scale, add_up, root="coroutines")
    assert asyncio.run(whole(by=2)) == 6
    assert whole.observations()[0].metadata["experiment"] == "fetch_scale_add_up"


def test_steps_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(TypeError, match="needs functions"):
        pipeline()

    def nothing() -> int:
        return 1

    def named(values: Any, data: int = 1) -> int:
        return data

    def other(values: Any, n: int = 7) -> int:
        return n

    def variadic(values: Any, **more: Any) -> int:
        return 1

    with pytest.raises(TypeError, match="'nothing' has no first parameter"):
        pipeline(source, nothing)
    with pytest.raises(TypeError, match="'named' has a parameter 'data'"):
        pipeline(source, named)
    with pytest.raises(TypeError, match="'source' and 'other' have different defaults for 'n'"):
        pipeline(source, other)
    with pytest.raises(TypeError, match=r"takes \*\*more"):
        pipeline(source, variadic)
    with pytest.raises(TypeError, match="expects functions, one after another, not 3"):
        pipeline(source, 3)
    with pytest.raises(TypeError, match=r"not \[<function.*pipeline\(\*functions\)"):
        pipeline([source, scale])  # type: ignore[arg-type]
    whole = pipeline(source, scale, name="whole", root="whole")
    with pytest.raises(TypeError, match=r"'whole' is an experiment.* its steps"):
        pipeline(whole, add_up)
    with pytest.raises(TypeError, match="'dir' does not tell its parameters"):
        pipeline(source, dir)


def test_a_step_that_calls_itself_is_made() -> None:
    depth = iter(range(10))

    @step(cache=True)
    def retry(names: list[str]) -> int:
        return retry(names) if next(depth) == 0 else 42

    @experiment(root="itself")
    def use() -> int:
        return retry(["a"])

    assert use() == 42


def test_the_code_of_classes_and_the_content_of_arrays_are_part_of_the_key() -> None:
    def variant(result: int) -> Any:
        class Model:
            helper: Any = eval(f"lambda self: {result}")

            @step(cache=True, name="predict")
            def predict(self, x: int) -> int:
                note("predict")
                return int(self.helper()) + x

        @experiment(root="classes", name="use")
        def use(x: int) -> int:
            return Model().predict(x)

        return use

    assert [variant(1)(0), variant(1)(0), variant(5)(0)] == [1, 1, 5]
    weights = np.ones(3)

    @experiment(root="arrays", cache=True)
    def total(x: int) -> float:
        return float(weights.sum()) + x

    assert total(1) == 4.0
    weights[:] = 5
    assert total(1) == 16.0


def test_an_exception_that_can_not_say_what_it_is_comes_through() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    @step
    def fail() -> None:
        raise Mute

    @experiment(root="mute")
    def use() -> None:
        fail()

    with pytest.raises(Mute):
        use()
    assert use.observations(status="failed")[0].metadata["steps"][0]["status"] == "failed"


def test_a_pipeline_refuses_what_it_does_not_know() -> None:
    whole = pipeline(source, scale, name="strict", root="strict")
    with pytest.raises(TypeError, match="unexpected keyword argument 'bx'"):
        whole(bx=2)
    with pytest.raises(TypeError, match="positional"):
        whole(4, 2)
    assert whole.observations(status=None) == []
