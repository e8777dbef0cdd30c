"""Many hosts work on one bucket at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from digital_experiments import experiment, open_experiment, start_run
from digital_experiments.remote import claims as remote_claims
from digital_experiments.remote import located
from digital_experiments.remote.claims import RemoteClaims
from digital_experiments.remote.opening import bucket_of
from digital_experiments.store.claims import sweepers

SWEEP = """
import platform, sys, time
platform.node = lambda: sys.argv[2]
from digital_experiments import experiment
@experiment(root=sys.argv[1])
def train(x):
    time.sleep(0.02)
    return x
if __name__ == "__main__":
    grid = [{"x": x} for x in range(200)]
    found = train.map(grid, executor="thread", workers=2, resume=True, progress=False)
    print(sorted(o.result for o in found) == list(range(200)))
"""


def on_host(name: str, folder: Path, *command: str) -> subprocess.Popen[str]:
    """A process with a working folder, a cache and a copy of its own."""
    place = folder / name
    place.mkdir()
    named = {"DE_DATA_DIR": str(place / "data"), "DE_CACHE_DIR": str(place / "cache")}
    return subprocess.Popen(
        [sys.executable, *command, name],
        cwd=place,
        env={**os.environ, **named},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_four_hosts_run_one_grid_and_no_config_twice(s3: str, folder: Path) -> None:
    (folder / "sweep.py").write_text(SWEEP)
    script = str(folder / "sweep.py")
    hosts = [on_host(f"host-{n}", folder, script, f"{s3}/train") for n in range(4)]
    said = [host.communicate(timeout=120)[0] for host in hosts]
    assert said == ["True\n"] * 4
    runs = open_experiment(f"{s3}/train").observations(status=None)
    assert sorted(o.result for o in runs) == list(range(200))
    assert {o.status for o in runs} == {"completed"}
    assert open_experiment(f"{s3}/train").check()
    assert sweepers(str(open_experiment(f"{s3}/train").root)) == []


def test_a_killed_hosts_configs_are_taken_over(
    s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_claims, "SILENT", 1.0)
    monkeypatch.setattr(remote_claims, "_SIGN", 0.2)
    bucket = bucket_of(located(f"{s3}/train"))
    dead = RemoteClaims(bucket)
    assert dead.take("a")
    dead.release("a", "2026-11-21_10-15-00_123456_k3f9xq", "completed")
    assert dead.take("b")
    mine = RemoteClaims(bucket)
    assert not mine.take("a")
    assert mine.news()[1]["a"].status == "completed"
    assert not mine.take("b")
    dead._closed.set()  # it shows no sign of life from now on, as if its host had gone
    until = time.monotonic() + 10
    while not mine.take("b"):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert mine.news()[0]  # the store is to be looked at again: it may have ended it
    mine.give_back("b")
    mine.close()


def test_of_many_that_claim_one_config_one_has_it(s3: str) -> None:
    bucket = bucket_of(located(f"{s3}/train"))
    all_claims = [RemoteClaims(bucket) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for n in range(20):
            taken = list(pool.map(lambda one, n=n: one.take(f"key-{n}"), all_claims))
            assert taken.count(True) == 1
    for one in all_claims:
        one.close()
    assert bucket.below("claims") == {}


def test_threads_of_many_runs_write_at_once(
    registry: str, another_host: Callable[[], None]
) -> None:
    @experiment(root=f"{registry}/square")
    def square(x: int) -> int:
        return x * x

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(square, range(200))) == [x * x for x in range(200)]
    another_host()
    store = open_experiment(f"{registry}/square")
    assert sorted(o.result for o in store.observations()) == [x * x for x in range(200)]
    assert store.check()


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_a_sweep_on_every_executor_goes_to_the_bucket(
    registry: str, executor: str, another_host: Callable[[], None]
) -> None:
    @experiment(root=f"{registry}/square")
    def square(x: int) -> int:
        return x * x

    square(1000)  # the parent has used the bucket before its children do
    found = square.map([{"x": x} for x in range(40)], executor=executor, progress=False)
    assert [o.result for o in found] == [x * x for x in range(40)]
    another_host()
    store = open_experiment(f"{registry}/square")
    assert len(store.observations()) == 41
    assert store.check()


def test_a_worker_process_finds_what_is_in_the_bucket(
    s3: str, another_host: Callable[[], None]
) -> None:
    calls = Path("calls")

    def make() -> Any:
        @experiment(root=f"{s3}/double", cache=True)
        def double(x: int) -> int:
            with calls.open("a") as file:
                file.write("x")
            return 2 * x

        return double

    make()(4)
    another_host()
    double = make()
    double.observations()
    assert double.map([{"x": 4}], executor="process", progress=False)[0].result == 8
    assert calls.read_text() == "x"


def test_a_run_in_flight_is_seen_from_elsewhere_and_lost_when_it_is_silent(
    s3: str, another_host: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, leave = threading.Event(), threading.Event()
    root = f"{s3}/slow"

    def work() -> None:
        with start_run("slow", params={"x": 1}, root=root):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    bucket = bucket_of(located(root))
    until = time.monotonic() + 10
    while not bucket.here("running")[0] and time.monotonic() < until:
        time.sleep(0.1)
    (name,) = bucket.here("running")[0]
    record = json.loads(bucket.read(name))
    leave.set()
    thread.join()
    assert bucket.here("running")[0] == {}  # it has ended, and is recorded
    another = {**record, "id": f"{record['id'][:-6]}zzzzzz"}
    another["metadata"]["heartbeat"]["host"] = "another"
    bucket.write(f"running/{another['id']}.json", json.dumps(another).encode(), new=False)
    another_host()
    store = open_experiment(root)
    assert [o.id for o in store.observations(status="running")] == [another["id"]]
    monkeypatch.setattr("digital_experiments.store.flight.SILENT", -1.0)
    assert [o.id for o in store.observations(status="lost")] == [another["id"]]


def test_a_name_of_one_host_that_leaves_its_folder_is_refused(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    @experiment(root=f"memory://{uuid4().hex}/train", name="train")
    def train(x: int) -> int:
        return x

    train(1)
    import fsspec

    memory = fsspec.filesystem("memory")
    place = located(train.uri)
    top = "/" + place.uri.partition("://")[2]
    memory.store[f"{top}/notes/../../../../evil.json"] = memory.store[
        next(name for name in memory.store if name.startswith(top) and name.endswith(".pkl"))
    ]
    (one,) = train.observations()
    bad = f"{top}/storage/{one.id}/../../../evil.txt"
    memory.pipe_file(bad, b"evil")
    assert len(train.observations()) == 1
    assert not list(folder.rglob("evil*"))
    store = open_experiment(train.uri)
    copy = store.backend
    assert copy is not None
    from digital_experiments.errors import InvalidName
    from digital_experiments.remote.copies import working_copy

    copied = working_copy(place)
    copied._is_made_here = lambda id: False  # type: ignore[method-assign] # by somebody else
    with pytest.raises(InvalidName, match="points out of its folder"):
        copied.fetch_folder(f"{copied.folder}/storage/{one.id}")
    assert not list(folder.rglob("evil*"))
    memory.rm_file(bad)
