"""What somebody who writes to the bucket, or an accident there, can't do to this machine."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from digital_experiments import (
    Registry,
    current_dir,
    experiment,
    open_experiment,
    pipeline,
    start_run,
    step,
)
from digital_experiments.cli import main
from digital_experiments.errors import AnotherObservation, UntrustedValue, ValueUnavailable
from digital_experiments.remote import located
from digital_experiments.remote.opening import bucket_of
from digital_experiments.views import ValueView


class Bomb:
    """Leaves a file where its pickle is loaded."""

    def __reduce__(self) -> Any:
        return (exec, ("open('exploded', 'w')",))


@pytest.fixture(autouse=True)
def nothing_explodes(folder: Path) -> Any:
    yield
    assert not (folder / "exploded").exists()


def defuse() -> None:
    Path("exploded").unlink(missing_ok=True)


def test_the_config_of_a_run_in_flight_elsewhere_is_not_loaded(
    s3: str, another_host: Callable[[], None], folder: Path
) -> None:
    root = f"{s3}/slow"
    leave = threading.Event()

    def work() -> None:
        with start_run("slow", params={"what": Bomb()}, root=root):
            leave.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    bucket = bucket_of(located(root))
    until = time.monotonic() + 10
    while not bucket.here("running")[0] and time.monotonic() < until:
        time.sleep(0.1)
    ((name, _),) = bucket.here("running")[0].items()
    flight = json.loads(bucket.read(name))
    leave.set()
    thread.join()
    defuse()
    flight["id"] = f"{flight['id'][:-6]}zzzzzz"
    flight["metadata"]["heartbeat"]["host"] = "another"
    bucket.write(f"running/{flight['id']}.json", json.dumps(flight).encode(), new=False)
    another_host()
    store = open_experiment(root)
    (running,) = store.observations(status="running")
    assert isinstance(running.config["what"], ValueView)
    assert isinstance(store.load(running.id).config["what"], ValueView)


def test_a_list_of_what_is_trusted_is_not_taken_from_the_bucket(
    s3: str, another_host: Callable[[], None]
) -> None:
    root = f"{s3}/bomb"

    @experiment(root=root)
    def bomb(x: int) -> Any:
        return Bomb()

    bomb(1)
    bucket = bucket_of(located(root))
    for name in ("elsewhere.txt", ".place.json", ".seen.json"):
        bucket.write(name, b"{}\n", new=False)
    defuse()
    another_host()
    store = open_experiment(root)
    for _ in range(2):
        with pytest.raises(UntrustedValue):
            _ = store.observations()[0].result
        assert store.check()
    assert json.loads((store.root / ".place.json").read_bytes())["uri"] == root


def test_cached_values_of_steps_are_loaded_only_for_who_trusts_them(
    s3: str, another_host: Callable[[], None]
) -> None:
    calls = Path("calls")

    def make(trust: bool) -> Any:
        @step(cache=True)
        def load(n: int) -> Any:
            with calls.open("a") as file:
                file.write("x")
            return bytearray(n)

        def size(loaded: Any) -> int:
            return len(loaded)

        return pipeline(load, size, name="size", root=f"{s3}/size", trust=trust)

    assert make(False)(n=3) == 3
    another_host()
    untrusting = make(False)
    assert untrusting.check()
    assert untrusting(n=3) == 3
    assert calls.read_text() == "xx"
    another_host()
    assert make(True)(n=3) == 3
    assert calls.read_text() == "xx"


def test_a_check_changes_nothing_here_and_repair_mends_the_bucket(s3: str) -> None:
    root = f"{s3}/own"

    @experiment(root=root)
    def own(n: int) -> Any:
        (current_dir() / "model").write_text(str(n))
        return bytearray(os.urandom(n))

    own(300_000)
    own(100_000)
    bucket = bucket_of(located(root))
    first, second = own.observations()
    blob, other = (name for name in bucket.below("blobs") if name.endswith("cloudpickle"))
    bucket.remove(blob)
    bucket.write(other, b"rubbish", new=False)
    record = bucket.read(f"{first.id}.pkl")
    bucket.write(f"{first.id}.pkl", record[:-40] + b"x" * 40, new=False)
    assert len(own.check().damages) >= 2
    assert len(own.load(second.id).result) == 100_000
    assert [p.name for p in own.load(first.id).artefacts()] == ["model"]
    own.repair()
    assert own.check()
    assert [p.name for p in own.load(first.id).artefacts()] == ["model"]
    assert [len(own.load(one.id).result) for one in (first, second)] == [300_000, 100_000]
    assert bucket.read(f"{first.id}.pkl") == record


def test_a_file_of_an_odd_name_stays_here_and_hinders_nothing(
    s3: str, another_host: Callable[[], None]
) -> None:
    @experiment(root=f"{s3}/odd")
    def odd(name: str) -> None:
        (current_dir() / name).write_text("x")
        (current_dir() / "even").write_text("y")

    unfit = ["a\nb", "tab\t", os.fsdecode(b"\xff.txt"), "latex \\alpha.txt"]
    for name in unfit:
        with pytest.warns(UserWarning, match="can't hold files of such names") as told:
            odd(name)
        assert repr(name)[1:-1] in str(told[0].message)
    screenshot = "10.00.00\N{NARROW NO-BREAK SPACE}AM.png"
    joined = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{MICROSCOPE}"
    for name in ("ordinary", screenshot, joined):
        odd(name)
    assert len(odd.observations()) == 7
    assert CliRunner().invoke(main, ["sync"]).exit_code == 0
    another_host()
    runs = open_experiment(f"{s3}/odd").observations()
    assert [len(run.artefacts()) for run in runs] == [1, 1, 1, 1, 2, 2, 2]
    assert [(run.dir / run.config["name"]).read_text() for run in runs[4:]] == ["x"] * 3
    into = Registry("pulled")
    assert Registry(s3).pull("odd", into=str(into.uri)).problems == []


def test_what_links_lead_to_goes_up(s3: str, another_host: Callable[[], None]) -> None:
    Path("data").mkdir()
    Path("data/points").write_text("1 2 3")

    @experiment(root=f"{s3}/links")
    def links() -> None:
        (current_dir() / "data").symlink_to(Path("data").absolute())
        (current_dir() / "loop").symlink_to(current_dir())

    links()
    another_host()
    (run,) = open_experiment(f"{s3}/links").observations()
    assert (run.dir / "data" / "points").read_text() == "1 2 3"


def test_a_store_that_is_pushed_on_keeps_its_name(registry: str) -> None:
    @experiment(root=f"{registry}/a/train")
    def train(x: int) -> int:
        return x

    train(1)
    there = Registry(f"{registry}/b")
    assert there.push(Registry(f"{registry}/a").open("train")) == f"{registry}/b/train"
    assert there.experiments() == ["train"]


def test_a_run_that_is_replaced_leaves_none_of_its_files(
    registry: str, folder: Path, another_host: Callable[[], None]
) -> None:
    from digital_experiments.backends import PickleBackend

    def make(place: str) -> Any:
        @experiment(root=folder / place / "train", name="train")
        def train(x: int) -> int:
            for name in ("one", "two"):
                (current_dir() / name).write_text("abc")
            return x

        return train

    first = make("a")
    first(1)
    (run,) = first.observations()
    Registry(registry).push(first)
    another_host()
    reader = Registry(registry)
    assert (reader.load("train").dir / "two").read_text() == "abc"

    here = dict(os.environ)
    other = PickleBackend(folder / "b" / "train")
    other.record(run._replace(result=2))
    (folder / "b" / "train" / "storage" / run.id).mkdir(parents=True)
    for name in ("two", "three"):
        (folder / "b" / "train" / "storage" / run.id / name).write_text("cba")
    another_host()
    with pytest.raises(AnotherObservation):
        Registry(registry).push(open_experiment(folder / "b" / "train"))
    Registry(registry).push(open_experiment(folder / "b" / "train"), overwrite=True)
    os.environ.update({name: here[name] for name in ("DE_DATA_DIR", "DE_CACHE_DIR")})
    from buckets import forget_buckets

    forget_buckets()
    again = Registry(registry).load("train")  # on the machine that had the first
    assert again.result == 2
    assert sorted(p.name for p in again.artefacts()) == ["three", "two"]
    assert (again.dir / "two").read_text() == "cba"


def test_several_threads_push_at_once(registry: str) -> None:
    @experiment
    def train(x: int) -> int:
        (current_dir() / "model").write_text(str(x))
        return x

    for x in range(4):
        train(x)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Registry(registry).push(train), range(4)))
    assert len(Registry(registry).runs("train")) == 4


def test_the_rest_of_a_list_is_pushed_where_one_is_refused(registry: str) -> None:
    def make(name: str) -> Any:
        @experiment(name=name)
        def train(x: int) -> int:
            return x

        return train

    first, second = make("first"), make("second")
    first(1)
    second(2)
    team = Registry(registry)
    team.push(first)
    team.delete("first")
    with pytest.raises(ValueError, match="was deleted"):
        team.push([*first.observations(), *second.observations()])
    assert team.load("second").result == 2


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKEY:SEC/RET+d==@bucket/x",
        "sftp://me:SEC/RET@host/x",
        "https://host/x?token=SECRET",
    ],
)
def test_a_uri_that_hides_a_secret_is_refused_without_showing_it(uri: str) -> None:
    with pytest.raises(ValueError, match="storage_options") as told:
        located(uri)
    assert "SEC" not in str(told.value)
    assert "RET" not in str(told.value)


def test_a_uri_with_one_slash_is_told() -> None:
    with pytest.raises(ValueError, match="two slashes"):
        located("s3:/bucket/x")


def test_options_may_have_the_prefix_of_obstore_or_be_those_of_s3fs(server: Any, s3: str) -> None:
    for options in (
        {"aws_region": "us-east-1", "aws_endpoint": server.endpoint},
        {"use_ssl": False, "client_kwargs": {"region_name": "us-east-1", "verify": True}},
    ):

        @experiment(root=f"{s3}/square", storage_options=options)
        def square(x: int) -> int:
            return x * x

        assert square(3) == 9
        assert len(square.observations()) >= 1
    with pytest.raises(TypeError, match="storage_options: flavour"):

        @experiment(root=f"{s3}/square", storage_options={"flavour": "x"})
        def other(x: int) -> int:
            return x


def test_a_value_that_is_lost_is_told(s3: str, another_host: Callable[[], None]) -> None:
    @experiment(root=f"{s3}/large")
    def large(n: int) -> Any:
        return bytearray(os.urandom(n))

    large(300_000)
    bucket = bucket_of(located(f"{s3}/large"))
    for name in bucket.below("blobs"):
        if name.endswith("cloudpickle"):
            bucket.remove(name)
    another_host()
    with pytest.raises(ValueUnavailable, match="missing"):
        _ = open_experiment(f"{s3}/large", trust=True).observations()[0].result
