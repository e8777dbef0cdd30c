"""Many runs: each is recorded once, whatever becomes of its worker."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from digital_experiments import Experiment, current_run, experiment, log_metric, open_experiment
from digital_experiments.cli import main
from digital_experiments.controllers import GridSearch, RandomSearch
from digital_experiments.errors import RecordingWarning, RunLost, RunsFailedWarning, RunTimedOut
from digital_experiments.store.claims import Claims

EVERYWHERE = ["serial", "thread", "process"]


@pytest.fixture
def power() -> Experiment[..., Any]:
    @experiment(root="store", name="power")
    def power(x: float, n: int = 2) -> Any:
        if n < 0:
            raise ValueError(f"{n} is negative")
        log_metric("x", x)
        return x**n

    return power


@pytest.mark.parametrize("executor", EVERYWHERE)
def test_observations_come_in_the_order_of_the_configs(
    power: Experiment[..., Any], executor: str
) -> None:
    configs: list[Any] = [{"x": x} for x in range(50)] + [(2, 3), {"x": 1, "n": -1}]
    found = power.map(configs, executor=executor)
    assert [o.result for o in found] == [*(x**2 for x in range(50)), 8, None]
    assert [o.config["x"] for o in found] == [*range(50), 2, 1]
    assert [o.status for o in found] == ["completed"] * 51 + ["failed"]
    assert found[-1].error is not None
    assert found[-1].error["message"] == "-1 is negative"
    assert "is negative" in found[-1].error["traceback"]
    assert sorted(o.id for o in found) == [o.id for o in power.observations(status=None)]
    assert len(power.observations()) == 51  # all by the current code
    assert found[3].metrics("x")["value"].tolist() == [3]
    assert found[3].metadata["code"]
    assert power.to_dataframe(columns=["metadata.environment.system.machine"]).notna().all().all()


def test_what_is_no_list_is_taken_as_it_comes(power: Experiment[..., Any]) -> None:
    table = pd.DataFrame({"x": [1.5, 2.5], "n": [1, 2]})
    assert [o.result for o in power.map(table)] == [1.5, 6.25]
    taken: list[int] = []

    def configs() -> Any:
        for x in range(30):
            taken.append(x)
            yield {"x": x}

    stream = power.imap(configs(), progress=False)
    assert next(stream).result == 0
    assert len(taken) == 1
    assert [o.result for o in stream] == [x**2 for x in range(1, 30)]
    assert list(power.map([])) == []
    assert list(power.map(iter(()), executor="process")) == []


def test_all_configs_are_checked_before_the_first_is_run(power: Experiment[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"Config 1, \{'y': 2\}, does not fit: missing .*'x'"):
        power.map([{"x": 1}, {"y": 2}])
    with pytest.raises(TypeError, match="Config 0 must be a dict"):
        power.map([5])
    for wrong in ({"x": 1}, "x", 5):
        with pytest.raises(TypeError, match="map expects configs"):
            power.map(wrong)
    for options in (
        {"retries": -1},
        {"on_error": "ignore"},
        {"timeout": 0},
        {"timeout": 5},
        {"executor": "thread", "timeout": 5},
        {"executor": "async"},
        {"executor": "process", "workers": 0},
    ):
        with pytest.raises(ValueError, match=r"must be|can't end|is for coroutine"):
            power.map([{"x": 1}], **options)  # type: ignore[arg-type]
    assert not Path("store").exists() or not power.observations(status=None)


@pytest.mark.parametrize("executor", EVERYWHERE)
def test_failures_are_tried_again_and_linked(executor: str, folder: Path) -> None:
    @experiment(root="store")
    def flaky(x: int) -> int:
        with open(folder / f"{x}", "a") as file:
            file.write(".")
        if x == 1 and (folder / "1").stat().st_size < 3:
            raise ConnectionError("try again")
        return x

    found = flaky.map([{"x": x} for x in range(3)], executor=executor, retries=2)
    assert [o.result for o in found] == [0, 1, 2]
    attempts = {o.id: o for o in flaky.observations(status=None) if o.config["x"] == 1}
    second = attempts[found[1].metadata["retry_of"]]
    first = attempts[second.metadata["retry_of"]]
    assert [first.status, second.status, found[1].status] == ["failed", "failed", "completed"]
    assert len(attempts) == 3


@pytest.mark.parametrize("executor", EVERYWHERE)
def test_the_first_failure_is_raised_where_that_is_asked(
    power: Experiment[..., Any], executor: str
) -> None:
    with pytest.raises(ValueError, match="-1 is negative"):
        power.map([{"x": 1, "n": -1}], executor=executor, on_error="raise")
    assert power.observations(status="failed")


def test_an_exception_of_any_class_is_raised() -> None:
    class Local(Exception):
        """Other processes can't import it."""

    class Unfit(Exception):
        """It can't be pickled at all."""

        def __init__(self, text: str, lock: Any) -> None:
            super().__init__(text, lock)

    @experiment(root="store")
    def fit(unfit: bool = False) -> None:
        raise Unfit("other", threading.Lock()) if unfit else Local("mine")

    for executor in EVERYWHERE:
        with pytest.raises(Local, match="mine"):
            fit.map([{}], executor=executor, on_error="raise")
    with pytest.raises(RuntimeError, match=r"Unfit: .*other"):
        fit.map([(True,)], executor="process", on_error="raise")


def test_a_worker_that_dies_costs_its_run() -> None:
    @experiment(root="store")
    def work(x: int, tries: str = "") -> int:
        if x % 10 == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    found = work.map([{"x": x} for x in range(60)], executor="process", workers=2)
    lost = [o for o in found if o.status == "lost"]
    assert [o.config["x"] for o in lost] == [3, 13, 23, 33, 43, 53]
    assert [o.result for o in found if o.status == "completed"] == [
        x for x in range(60) if x % 10 != 3
    ]
    assert len(work.observations(status=None)) == 60
    assert work.to_dataframe(status="lost")["config.x"].tolist() == [3, 13, 23, 33, 43, 53]
    assert work.check().ok
    with pytest.raises(RunLost, match="Its worker is gone"):
        work.map([{"x": 3}], executor="process", on_error="raise")
    assert lost[0].metadata["code"]
    assert lost[0].error is not None
    assert lost[0].error["type"].endswith("RunLost")
    assert "Its worker is gone" in repr(lost[0])
    work.delete(lost[0])
    assert len(work.observations(status="lost")) == 6  # with the one that was raised
    work.restore(lost[0].id)
    assert work.load(lost[0].id).status == "lost"


def test_a_worker_that_dies_once_is_tried_again(folder: Path) -> None:
    @experiment(root="store")
    def work(x: int) -> int:
        mark = folder / f"{x}"
        if x == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    found = work.map([{"x": x} for x in range(5)], executor="process", workers=2, retries=1)
    assert [o.result for o in found] == list(range(5))
    (lost,) = work.observations(status="lost")
    assert found[2].metadata["retry_of"] == lost.id


def test_a_timeout_really_ends_a_run() -> None:
    @experiment(root="store")
    def work(x: int) -> int:
        log_metric("begun", x)
        time.sleep(60 if x == 1 else 0)
        return x

    begun = time.monotonic()
    found = work.map([{"x": x} for x in range(4)], executor="process", workers=2, timeout=2)
    assert time.monotonic() - begun < 20
    assert [o.status for o in found] == ["completed", "timeout", "completed", "completed"]
    assert found[1].metadata["metrics"]["begun"]["last"] == 1  # what it had shown of itself
    assert 1.5 < (found[1].duration or 0) < 20
    assert not list(Path("store/running").glob("*.json"))
    with pytest.raises(RunTimedOut, match="longer than 1"):
        work.map([{"x": 1}], executor="process", timeout=1, on_error="raise")


def test_coroutines_run_together_and_keep_time() -> None:
    @experiment(root="store")
    async def fetch(x: int) -> int:
        await asyncio.sleep(60 if x == 3 else 0.2)
        return x

    begun = time.monotonic()
    found = fetch.map([{"x": x} for x in range(20)], executor="async", timeout=5)
    assert time.monotonic() - begun < 15
    assert [o.status for o in found].count("timeout") == 1
    assert [o.result for o in found if o.status == "completed"] == [x for x in range(20) if x != 3]
    assert [o.result for o in fetch.map([(1,), (2,)], executor="thread")] == [1, 2]
    assert len(fetch.observations(status=None)) == 22


def test_lambdas_closures_methods_generators_and_nested_maps() -> None:
    offset = np.arange(3)
    add = experiment(root="add", name="add")(lambda x: offset + x)
    assert add.map([(1,)], executor="process")[0].result.tolist() == [1, 2, 3]

    @experiment(root="count")
    def count(n: int) -> Any:
        yield from range(n)

    assert [o.result for o in count.map([(3,)], executor="process")] == [[0, 1, 2]]

    @experiment(root="inner")
    def inner(x: int) -> int:
        return x

    @experiment(root="outer")
    def outer(how: str) -> list[str]:
        return [o.metadata["parents"][0] for o in inner.map([(1,), (2,)], executor=how)]

    for how in ("serial", "thread"):
        (found,) = outer.map([(how,)], executor="process")
        assert found.result == [found.id] * 2
    (refused,) = outer.map([("process",)], executor="process")
    assert refused.error is not None
    assert "can't start workers of 'process'" in refused.error["message"]


def test_what_can_not_travel_is_named(power: Experiment[..., Any]) -> None:
    with pytest.raises(TypeError, match="Argument 'x' of config 1 can't be sent"):
        power.map([{"x": 1}, {"x": threading.Lock()}], executor="process")


def test_what_a_function_holds_and_can_not_travel_is_named() -> None:
    database = sqlite3.connect(":memory:")
    large = np.zeros(10_000_000)
    ask = experiment(root="ask", name="ask")(lambda x: (database.execute("SELECT ?", (x,)), large))
    with pytest.raises(TypeError, match="'ask' uses 'database', which can't be sent"):
        ask.map([(1,)], executor="process")
    ask.map([(1,)])  # here it does no harm


def test_executors_of_the_standard_library(power: Experiment[..., Any]) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert [o.result for o in power.map([(2,), (3,)], executor=pool)] == [4, 9]


def test_a_cached_config_is_not_run_again() -> None:
    @experiment(root="store", cache=True)
    def slow(x: int) -> int:
        return x

    first = slow.map([(1,), (2,)])
    again = slow.map([(2,), (1,), (3,)], executor="process")
    assert [o.id for o in again[:2]] == [first[1].id, first[0].id]
    assert len(slow.observations()) == 3


def test_controllers_use_every_worker(power: Experiment[..., Any]) -> None:
    grid = GridSearch(x=range(20), n=[1, 2])
    grid.control(power, executor="process", workers=2)
    assert len(power.observations()) == 40
    grid.control(power, executor="process", workers=2)
    assert len(power.observations()) == 40
    RandomSearch(x=[1, 2], seed=1).control(power, n=10, executor="thread", workers=2)
    assert len(power.observations()) == 50
    with pytest.warns(RunsFailedWarning, match="2 of 3 runs failed"):
        GridSearch(x=[1], n=[-1, -2, 5]).control(power, executor="process")


def test_a_killed_grid_goes_on_where_it_stopped(folder: Path) -> None:
    script = folder / "grid.py"
    script.write_text(
        "import time\n"
        "from digital_experiments import experiment\n"
        "from digital_experiments.controllers import GridSearch\n"
        "@experiment(root='store')\n"
        "def work(x):\n"
        "    time.sleep(0.05)\n"
        "    return x\n"
        "GridSearch(x=range(60)).control(work, executor='process', workers=2)\n"
    )
    job = subprocess.Popen([sys.executable, script])
    while len(list(folder.glob("store/*.pkl"))) < 20:
        assert job.poll() is None
        time.sleep(0.05)
    job.kill()
    job.wait()
    time.sleep(1)  # its workers end by themselves
    subprocess.run([sys.executable, script], check=True)
    done = [o.result for o in open_experiment("store").observations()]
    assert sorted(set(done)) == list(range(60))
    assert len(done) <= 60 + 4


@pytest.mark.parametrize("whom", ["the process", "the group"])
def test_an_interrupt_ends_all_and_leaves_nobody(whom: str, folder: Path) -> None:
    script = folder / "long.py"
    script.write_text(
        "import os, time, psutil\n"
        "from digital_experiments import experiment\n"
        "@experiment(root='store')\n"
        "def work(x):\n"
        "    time.sleep(0 if x < 4 else 60)\n"
        "    return x\n"
        "try:\n"
        "    work.map([{'x': x} for x in range(8)], executor='process', workers=2)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', psutil.Process().children(recursive=True))\n"
    )
    job = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 30
    while len(list(folder.glob("store/running/*.json"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    begun = time.monotonic()
    if whom == "the group":
        os.killpg(job.pid, signal.SIGINT)
    else:
        job.send_signal(signal.SIGINT)
    told, _ = job.communicate(timeout=30)
    assert told.strip() == "interrupted []"
    assert time.monotonic() - begun < 15
    found = open_experiment("store").observations(status=None)
    assert [(o.config["x"], o.status) for o in found] == [
        *((x, "completed") for x in range(4)),
        *((x, "interrupted") for x in (4, 5)),
    ]


def test_memory_stays_flat_over_many_configs() -> None:
    @experiment(root="store")
    def tiny(x: int) -> int:
        return x

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in tiny.imap(({"x": x} for x in range(count)), progress=False):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(50)
    assert peak(2000) < 1.5 * peak(200) + 200_000


def test_runs_of_threads_belong_to_the_run_that_mapped_them() -> None:
    inner = experiment(root="inner", name="inner")(lambda x: current_run().id)

    @experiment(root="outer")
    def outer() -> None:
        inner.map([(1,), (2,)], executor="thread")

    outer()
    parents = {tuple(o.metadata["parents"]) for o in inner.observations()}
    assert parents == {(outer.observations()[0].id,)}


SHARED = (
    "import sys, time\n"
    "from digital_experiments import experiment\n"
    "from digital_experiments.controllers import GridSearch\n"
    "@experiment(root='store')\n"
    "def work(a, b):\n"
    "    time.sleep(0.01)\n"
    "    if a == 3 and b == 3:\n"
    "        raise ValueError('this one fails')\n"
    "    return a * b\n"
    "print('go', flush=True)\n"
    "import warnings; warnings.simplefilter('ignore')\n"
    "GridSearch(a=range(20), b=range(25)).control(work, executor=sys.argv[1])\n"
)


def test_several_processes_share_a_grid_and_one_is_killed(folder: Path) -> None:
    (folder / "grid.py").write_text(SHARED)
    jobs = [
        subprocess.Popen([sys.executable, "grid.py", how])
        for how in ("serial", "serial", "process", "thread")
    ]
    while len(list(folder.glob("store/*.pkl"))) < 100:
        time.sleep(0.02)
    jobs[0].kill()
    jobs[0].wait()
    told = CliRunner().invoke(main, ["sweep", "status", "store"]).output
    assert [line.split()[2] for line in told.splitlines() if str(jobs[0].pid) in line] == [
        str(jobs[0].pid)
    ]
    assert "? lost" in told
    assert told.count("▸ running") == 3
    assert [job.wait(60) for job in jobs] == [-signal.SIGKILL, 0, 0, 0]
    store = open_experiment("store")
    done = [(o.config["a"], o.config["b"]) for o in store.observations()]
    assert len(set(done)) == 499
    assert len(done) <= 500  # the one that was killed may have been recorded just before
    assert len(store.observations(status="failed")) == 1  # the others do not try it again
    assert not list(Path("store/claims/held").iterdir())
    assert store.check().ok
    subprocess.run([sys.executable, "grid.py", "serial"], check=True)
    assert len(store.observations(status="failed")) == 2  # but who comes later does
    assert "0 processes" in CliRunner().invoke(main, ["sweep", "status", "store"]).output


def test_the_claim_of_a_dead_process_is_taken_over_by_one(folder: Path) -> None:
    code = (
        "import os\n"
        "from digital_experiments.store.claims import Claims\n"
        "assert Claims('store').take('key')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    claims = [Claims(str(folder / "store")) for _ in range(4)]
    assert not list(Path("store/claims/held").iterdir())  # who comes tidies up
    subprocess.run([sys.executable, "-c", code], check=True)  # this one dies while they run
    assert [one.take("key") for one in claims].count(True) == 1
    (owner,) = (one for one in claims if Path("store/claims/held/key").samefile(one._log))
    owner.release("key", "some-id", "completed")
    for one in claims:
        if one is not owner:
            assert one.news()[1]["key"] == ("some-id", "completed")
    for one in [*claims, Claims(str(folder / "store"))]:
        one.close()
    assert [path.name for path in Path("store/claims").iterdir()] == ["held"]


def test_what_is_done_is_not_run_again(power: Experiment[..., Any]) -> None:
    configs = [{"x": x} for x in range(4)] + [{"x": 1, "n": -1}, {"x": 2}]
    first = power.map(configs, resume=True)
    assert [o.status for o in first] == ["completed"] * 4 + ["failed", "completed"]
    assert first[5] == first[2]
    again = power.map(configs, resume=True, executor="process")
    assert [o.id for o in again[:4]] == [o.id for o in first[:4]]
    assert again[4].id != first[4].id
    kept = power.map(configs, resume=True, retry="lost, timeout")
    assert kept[4].status == "failed"
    assert len(power.observations(status=None)) == 6
    assert power.map(configs[:1])[0].id != first[0].id  # without resume it is run
    with pytest.raises(ValueError, match="Did you mean 'failed'"):
        power.map(configs, resume=True, retry="fail")


def test_one_run_beside_whatever_comes_next(power: Experiment[..., Any]) -> None:
    futures = [power.submit({"x": 3}), power.submit((2,), executor="process")]
    assert [future.result(30).result for future in futures] == [9, 4]
    assert power.submit({"x": 1, "n": -1}).result(30).status == "failed"
    with pytest.raises(ValueError, match="is negative"):
        power.submit({"x": 1, "n": -1}, on_error="raise").result(30)
    with pytest.raises(TypeError, match="does not fit"):
        power.submit({"y": 3})


def test_a_map_may_be_awaited() -> None:
    @experiment(root="store")
    async def fetch(x: int) -> int:
        await asyncio.sleep(0.2)
        return x

    async def together() -> list[Any]:
        ticks = 0

        async def tick() -> int:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        found = await fetch.amap([(1,), (2,)])
        ticking.cancel()
        return [*(o.result for o in found), ticks > 5]

    assert asyncio.run(together()) == [1, 2, True]

    async def given_up() -> None:
        many = asyncio.create_task(fetch.amap(((x,) for x in range(1000)), workers=1))
        await asyncio.sleep(0.5)
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many

    asyncio.run(given_up())
    assert len(fetch.observations()) < 20


def test_a_terminal_shows_how_far_it_is_and_a_file_does_not(folder: Path) -> None:
    script = folder / "shown.py"
    script.write_text(
        "from digital_experiments import experiment\n"
        "@experiment(root='store')\n"
        "def work(x):\n"
        "    if x == 3:\n"
        "        raise ValueError(x)\n"
        "work.map([{'x': x} for x in range(9)], executor='thread')\n"
        "work.map(({'x': x} for x in range(4, 9)))\n"
    )
    quiet = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert quiet.stdout + quiet.stderr == ""
    code = (
        "import os, pty, sys\n"
        "os.environ.update(TERM='dumb', COLUMNS='100')\n"
        f"pty.spawn([sys.executable, {str(script)!r}])\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "9/9" in told.stdout
    assert "1 not completed" in told.stdout
    assert "5/?" in told.stdout
    assert "/s" in told.stdout


@pytest.mark.parametrize("refused", ["link", "listdir"])
def test_where_nothing_can_be_claimed_a_grid_is_run_all_the_same(
    refused: str, power: Experiment[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    power(1)
    real = getattr(os, refused)

    def refuse(*places: Any, **how: Any) -> Any:
        if "claims" in str(places[0]):
            raise PermissionError(1, "hard links are not for this file system")
        return real(*places, **how)

    monkeypatch.setattr(os, refused, refuse)
    with pytest.warns(
        RecordingWarning, match="can't be claimed there, because .*hard links"
    ) as told:
        GridSearch(x=[1, 2, 3, 3], n=[2]).control(power)
    assert len(told) == 1
    assert sorted(power.to_dataframe()["config.x"]) == [1, 2, 3]


def test_who_comes_within_the_same_moment_is_heard(folder: Path) -> None:
    for _ in range(20):
        first = Claims(str(folder / "store"))
        second = Claims(str(folder / "store"))  # within one tick of the folder's time stamp
        first.news()
        third = Claims(str(folder / "store"))
        for other in (second, third):
            other.release(other._name, "some-id", "completed")
        assert len(first.news()[1]) == 2
        for one in (first, second, third):
            one.close()


SHOWN = """
from digital_experiments import experiment
from digital_experiments.controllers import GridSearch, RandomSearch

@experiment(root="shown")
def loss(x):
    if x == 3:
        raise ValueError
    return {"loss": abs(x - 5), "height": x}

loss.map([{"x": x} for x in range(10)], progress="result.loss")
loss.map([{"x": x} for x in range(10)], progress=("result.height", "min"), executor="process")
loss.map([{"x": 1}], progress="result.los")
RandomSearch(x=[4], seed=1).control(loss, n=13)
GridSearch(x=range(20, 37)).control(loss)
"""


def test_a_terminal_shows_how_far_it_is_and_the_best_so_far(folder: Path) -> None:
    pty = pytest.importorskip("pty", reason="there are no terminals to open here")
    (folder / "script.py").write_text(SHOWN)
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        stderr=theirs,
        stdout=theirs,
        env={**os.environ, "COLUMNS": "120", "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(mine, 10_000):
            shown += part
    os.close(mine)
    assert process.wait(30) == 0
    text = shown.decode()
    assert "10/10" in text
    assert "1 not completed, best result.loss 0" in text
    assert "best result.height 0" in text
    assert "progress= names 'result.los', of which no run has a number." in text
    assert "Did you mean 'result.loss'?" in text
    assert "13/13" in text  # a search knows how many there will be
    assert "17/17" in text


def test_progress_is_one_of_a_few_things(power: Experiment[..., Any]) -> None:
    for wrong in (3, ("result",), ("result", "up")):
        with pytest.raises(TypeError, match="progress must be True, False, a column"):
            power.map([{"x": 1}], progress=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("executor", EVERYWHERE)
def test_a_program_that_exits_ends_its_run_only(executor: str) -> None:
    @experiment(root="exits")
    def leave(k: int) -> int:
        if k == 2:
            sys.exit(3)
        return k

    found = leave.map([{"k": k} for k in range(5)], executor=executor)
    assert [o.status for o in found] == ["completed"] * 2 + ["interrupted"] + ["completed"] * 2


def test_numpy_numbers_count_as_the_numbers_that_are_recorded() -> None:
    @experiment(root="numbers")
    def f(x: Any) -> int:
        return 0

    for _ in range(2):
        GridSearch(x=[np.float32(3), (np.int64(1), 2)]).control(f)
    assert len(f.observations()) == 2
