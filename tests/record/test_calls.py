"""Every sort of function is recorded, and behaves as it did before."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digital_experiments import (
    current_dir,
    current_id,
    current_run,
    experiment,
    open_experiment,
    time_block,
)
from digital_experiments.views import ValueView


def test_the_tour_works_as_it_stands() -> None:
    @experiment
    def square(x: int) -> int:
        return x * x

    assert [square(i) for i in range(5)] == [0, 1, 4, 9, 16]
    first = square.observations()[0]
    assert repr(first) == f"Observation({first.id}, {{'x': 0}} → 0)"
    assert repr(square.observations()).startswith("[Observation(20")
    table = square.to_dataframe()
    assert list(table.columns) == ["id", "result", "config.x"]
    assert list(table["result"]) == [0, 1, 4, 9, 16]
    assert Path("experiments/square").is_dir()


def test_a_config_holds_defaults_and_variadic_arguments() -> None:
    @experiment
    def call(a, /, b=2, *rest, c, **options):  # type: ignore[no-untyped-def]
        return None

    call(1, c=3)
    call(1, 5, 6, c=3, d=4)
    assert [o.config for o in call.observations()] == [
        {"a": 1, "b": 2, "rest": (), "c": 3, "options": {}},
        {"a": 1, "b": 5, "rest": (6,), "c": 3, "options": {"d": 4}},
    ]


def test_a_config_is_as_it_was_before_the_call() -> None:
    @experiment
    def spoil(items: list[int], options: dict[str, list[int]]) -> None:
        items.append(4)
        options["a"].clear()

    spoil([1, 2], {"a": [3]})
    assert spoil.observations()[0].config == {"items": [1, 2], "options": {"a": [3]}}


def test_a_wrong_call_is_pythons_own_error_and_no_run() -> None:
    @experiment
    def two(a: int, b: int) -> None: ...

    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'b'"):
        two(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'c'"):
        two(1, b=2, c=3)  # type: ignore[call-arg]
    assert two.observations(status=None) == []


def test_partials_lambdas_builtins_and_callable_objects_are_recorded() -> None:
    def power(base: int, exponent: int) -> int:
        return base**exponent

    class Adder:
        def __call__(self, x: int) -> int:
            return x + 1

    cube = experiment(functools.partial(power, exponent=3))
    held = experiment(functools.partial(power, 2), name="held")
    double = experiment(lambda x: 2 * x)
    assert (cube(2), held(5), double(4), experiment(Adder())(1), experiment(abs)(-1)) == (
        8,
        32,
        8,
        2,
        1,
    )
    assert cube.name == "power"
    assert cube.observations()[0].config == {"base": 2, "exponent": 3}
    assert held.observations()[0].config == {"base": 2, "exponent": 5}
    assert double.name == "lambda"


def test_a_method_records_its_instance_as_a_view() -> None:
    class Model:
        def __init__(self, size: int) -> None:
            self.size = size

        @experiment
        def fit(self, lr: float) -> float:
            return self.size * lr

        @classmethod
        @experiment
        def make(cls, size: int) -> Any:
            return cls(size).size

        @experiment  # type: ignore[arg-type]
        @staticmethod
        def free(x: int) -> int:
            return x

    model = Model(3)
    assert model.fit(0.5) == 1.5
    assert Model.fit(model, lr=1.0) == 3.0
    for observation in model.fit.observations():  # type: ignore[attr-defined]
        seen = observation.config["self"]
        assert isinstance(seen, ValueView)
        assert seen.fields == {"size": 3}
    assert Model.make(4) == 4
    assert Model(1).free(7) == 7 == Model.free(7)


def test_what_exec_made_and_what_python_c_was_given_is_recorded(folder: Path) -> None:
    namespace: dict[str, Any] = {"experiment": experiment}
    exec("@experiment\ndef made(x):\n    return x + 1", namespace)
    assert namespace["made"](1) == 2
    assert "bytecode" in namespace["made"].observations()[0].metadata["code"]
    script = (
        "from digital_experiments import experiment\n"
        "@experiment\ndef f(x):\n    return x\n"
        "f(3); print(f.observations()[0].metadata['code'])"
    )
    seen = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "@experiment\ndef f(x):\n    return x"


def test_a_cell_that_a_notebook_times_is_recorded(folder: Path) -> None:
    pytest.importorskip("IPython", reason="IPython runs cells")
    cells = [
        "from digital_experiments import experiment, start_run",
        "%%time\nwith start_run('block') as run:\n    pass\n",
        "%%time\n\n@experiment\ndef square(x):\n    return x * x\nsquare(3)\n",
        "%%time\n@experiment\ndef cube(x):\n    return x ** 3\ncube(3)\n",
    ]
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for cell in {cells!r}:\n"
        "    shell.run_cell(cell, store_history=True).raise_error()\n"
    )
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython")}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
    codes = [
        open_experiment(name).observations()[0].metadata["code"]
        for name in ("block", "square", "cube")
    ]
    assert codes[0] == "with start_run('block') as run:\n    pass"
    assert codes[1] == "@experiment\ndef square(x):\n    return x * x\n"
    assert codes[2] == "@experiment\ndef cube(x):\n    return x ** 3\n"


def test_the_wrapped_function_keeps_its_face() -> None:
    def documented(x: int, y: str = "a") -> int:
        """What it does."""
        return x

    wrapped = experiment(documented)
    assert inspect.signature(wrapped) == inspect.signature(documented)
    assert (wrapped.__name__, wrapped.__doc__) == ("documented", "What it does.")
    assert wrapped.function is documented


def test_two_hundred_coroutines_at_once_keep_apart() -> None:
    @experiment
    async def work(i: int) -> int:
        before = current_id()
        await asyncio.sleep(0.01 * (i % 3))
        (current_dir() / "i.txt").write_text(str(i))
        assert current_id() == before
        return i

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(work(i) for i in range(200)))

    assert asyncio.run(all_of_them()) == list(range(200))
    found = work.observations()
    assert sorted(o.result for o in found) == list(range(200))
    assert all((o.dir / "i.txt").read_text() == str(o.config["i"]) for o in found)
    assert all(o.duration >= 0.01 * (o.config["i"] % 3) for o in found)  # type: ignore[operator]


def test_a_generator_is_recorded_when_it_ends_or_is_closed() -> None:
    inside: list[str] = []

    @experiment
    def count(n: int) -> Iterator[int]:
        for i in range(n):
            inside.append(current_id())
            received = yield i
            if received:
                inside.append(received)
        return "returned"

    generator = count(3)
    assert (next(generator), generator.send("hello")) == (0, 1)
    assert count.observations(status=None) == []
    with pytest.raises(RuntimeError):
        current_id()  # not current between the items
    generator.close()
    assert list(count(2)) == [0, 1]

    def outer() -> Iterator[int]:
        inside.append((yield from count(1)))

    list(outer())
    assert inside[-1] == "returned"
    assert "hello" in inside
    assert [o.result for o in count.observations()] == [[0, 1], [0, 1], [0]]


def test_a_generators_exceptions_pass_through() -> None:
    @experiment
    def careful() -> Iterator[int]:
        try:
            yield 1
        except KeyError:
            yield 2
        raise ValueError("at the end")

    generator = careful()
    next(generator)
    assert generator.throw(KeyError()) == 2
    with pytest.raises(ValueError, match="at the end"):
        next(generator)
    assert careful.observations(status="failed")[0].error["message"] == "at the end"  # type: ignore[index]


def test_an_asynchronous_generator_is_recorded() -> None:
    @experiment
    async def count(n: int) -> AsyncIterator[int]:
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def consume() -> list[int]:
        return [i async for i in count(3)]

    assert asyncio.run(consume()) == [0, 1, 2]
    assert count.observations()[0].result == [0, 1, 2]


def test_nested_runs_are_linked_and_keep_apart() -> None:
    @experiment
    def inner(x: int) -> str:
        return current_id()

    @experiment
    def outer(x: int) -> list[str]:
        mine = current_id()
        ids = [inner(1), inner(2)]
        assert current_id() == mine
        return ids

    ids = outer(0)
    (parent,) = outer.observations()
    assert [o.id for o in inner.observations()] == ids
    assert all(o.metadata["parents"] == [parent.id] for o in inner.observations())
    assert "parents" not in parent.metadata


def test_recursion_records_every_level_even_at_pythons_limit() -> None:
    depths: list[int] = []

    @experiment
    def down(n: int) -> None:
        depths.append(n)
        down(n + 1)

    with pytest.raises(RecursionError):
        down(0)
    found = down.observations(status="failed")
    assert sorted(o.config["n"] for o in found) == depths


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (ValueError("bad"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(3), "interrupted"),
        (SystemExit(np.arange(2)), "interrupted"),
    ],
)
def test_what_is_raised_is_recorded_and_raised_again(raised: BaseException, status: str) -> None:
    @experiment
    def broken() -> None:
        raise raised

    with pytest.raises(type(raised)) as caught:
        broken()
    assert caught.value is raised
    with pytest.raises(RuntimeError, match="No run is in flight"):
        current_run()
    (found,) = broken.observations(status=status)
    assert found.error is not None
    assert found.error["type"] == type(raised).__name__
    assert "raise raised" in found.error["traceback"]
    assert "experiment.py" not in found.error["traceback"]
    assert broken.observations() == []
    assert broken.observations().hidden == {status: 1}
    assert found.status in repr(found)


def test_threads_keep_their_artefacts_and_durations() -> None:
    @experiment
    def work(thread: int, i: int) -> int:
        (current_dir() / "who.txt").write_text(f"{thread} {i}")
        if i == 0:
            time.sleep(0.05)
        return i

    def loop(thread: int) -> None:
        for i in range(200):
            work(thread, i)

    threads = [threading.Thread(target=loop, args=(t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = work.observations()
    assert {(o.config["thread"], o.config["i"]) for o in found} == {
        (t, i) for t in range(8) for i in range(200)
    }
    assert len(found) == 1600
    for o in found:
        assert (o.dir / "who.txt").read_text() == f"{o.config['thread']} {o.config['i']}"
        assert (o.duration >= 0.05) == (o.config["i"] == 0) or o.duration < 5  # type: ignore[operator]
    assert all(o.duration >= 0.05 for o in found if o.config["i"] == 0)  # type: ignore[operator]


def test_four_processes_write_one_store(folder: Path) -> None:
    script = folder / "many.py"
    script.write_text(
        "import sys\nfrom digital_experiments import experiment\n"
        "@experiment(root='shared')\ndef f(p, i):\n    return i\n"
        "for i in range(5000):\n    f(int(sys.argv[1]), i)\n"
    )
    started = [subprocess.Popen([sys.executable, str(script), str(p)]) for p in range(4)]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    recorded = experiment(root="shared", name="f")(lambda p, i: None)
    found = recorded.observations(current_code_only=False)
    assert len(found) == 20_000
    assert {(o.config["p"], o.config["i"]) for o in found} == {
        (p, i) for p in range(4) for i in range(5000)
    }


def test_time_blocks_stand_beside_the_total() -> None:
    @experiment
    def work() -> None:
        for _ in range(3):
            with time_block("part"):
                time.sleep(0.01)

    work()
    (found,) = work.observations()
    timing = found.metadata["timing"]
    assert set(timing) == {"part", "total"}
    assert timing["part"]["count"] == 3
    assert 0.03 <= timing["part"]["duration"] <= timing["total"]["duration"]
    assert found.duration == timing["total"]["duration"]
    with pytest.raises(RuntimeError, match="No run is in flight"), time_block("outside"):
        pass


@pytest.mark.parametrize("ask", [current_run, current_id, current_dir])
def test_outside_of_a_run_there_is_no_current_one(ask: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match="No run is in flight here"):
        ask()


def test_killed_at_any_moment_the_store_holds_whole_records(folder: Path) -> None:
    script = folder / "endless.py"
    script.write_text(
        "from digital_experiments import experiment\n"
        "@experiment(root='killed')\ndef f(i):\n    return 'x' * 1000\n"
        "i = 0\nwhile True:\n    f(i); print(i, flush=True); i += 1\n"
    )
    for delay in (0.0, 0.01, 0.05):
        process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        returned = 1 + len(process.stdout.read().splitlines())
        process.wait()
        process.stdout.close()
        recorded = experiment(root="killed", name="f")(lambda i: None)
        found = recorded.observations(current_code_only=False)
        assert returned <= len(found) <= returned + 1
        assert all(o.result == "x" * 1000 for o in found)
        for record in Path("killed").glob("*.pkl"):
            os.unlink(record)
