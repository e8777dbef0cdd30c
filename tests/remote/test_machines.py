"""Several processes of one machine, and several machines, work on what the others have made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from buckets import forget_buckets
from click.testing import CliRunner

from digital_experiments import Registry, current_dir, experiment, open_experiment
from digital_experiments.backends import PickleBackend
from digital_experiments.cli import main
from digital_experiments.errors import (
    BucketUnreachable,
    OfflineWarning,
    RecordingWarning,
    UntrustedValue,
)
from digital_experiments.remote import copies, located
from digital_experiments.remote.opening import folder_for

LONG = """
import sys, time
from digital_experiments import current_dir, experiment, log_metric
@experiment(root=sys.argv[1])
def long(seconds):
    (current_dir() / "checkpoint").write_text("precious")
    begun, step = time.time(), 0
    while time.time() < begun + seconds:
        log_metric("loss", step, step=step)
        step += 1
        time.sleep(0.05)
    return step
print(long(float(sys.argv[2])))
"""


class Another:
    """Another value than the one before: no plain data."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Another({self.number})"


@contextmanager
def long_run(folder: Path, root: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    script = folder / "long.py"
    script.write_text(LONG)
    command = [sys.executable, str(script), root, str(seconds)]
    place = located(root)
    copied = place if isinstance(place, Path) else Path(folder_for(place))
    patience = time.monotonic() + 30
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        while not list((copied / "running").glob("*.json")) and time.monotonic() < patience:
            time.sleep(0.1)
        yield run


def kill(run: subprocess.Popen[str]) -> None:
    run.send_signal(signal.SIGKILL)
    run.wait()


LOOK = """
import sys
from digital_experiments import open_experiment
for run in open_experiment(sys.argv[1]).observations(status=None):
    run.artefacts(), run.dir, run.metrics()
"""


def look(root: str) -> None:
    """Have other processes of this machine look at a store, and at all that is in it."""
    words = [sys.executable, "-m", "digital_experiments", "ls", root, "--status", "running"]
    subprocess.run(words, capture_output=True, check=False)
    subprocess.run([sys.executable, "-c", LOOK, root], capture_output=True, check=False)


@pytest.mark.slow
def test_who_looks_on_takes_nothing_from_a_run_in_flight(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"{s3}/long"
    with long_run(folder, root, 16) as run:
        while run.poll() is None:
            look(root)
            time.sleep(0.5)
        steps = int(run.communicate()[0])
    (whole,) = open_experiment(root).observations()
    summary = whole.metadata["metrics"]["loss"]
    assert (summary["count"], summary["min"]) == (steps, 0)
    for _ in range(2):
        (whole,) = open_experiment(root).observations()
        assert (whole.dir / "checkpoint").read_text() == "precious"
        another_host()


@pytest.mark.slow
def test_a_killed_run_keeps_its_files_whoever_looks(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"{s3}/long"
    with long_run(folder, root, 60) as run:
        time.sleep(4)
        look(root)
        kill(run)
    look(root)
    (lost,) = open_experiment(root).observations(status=["lost", "running"])
    assert "checkpoint" in [path.name for path in lost.artefacts()]
    assert CliRunner().invoke(main, ["sync"]).exit_code == 0
    look(root)
    for _ in range(2):
        (lost,) = open_experiment(root).observations(status=["lost", "running"])
        assert (lost.dir / "checkpoint").read_text() == "precious"
        another_host()


def test_a_run_killed_in_an_outage_is_shown_by_sync(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"{s3}/long"
    with long_run(folder, root, 60) as run:
        time.sleep(3)
        kill(run)
    place = located(root)
    bucket = copies.bucket_of(place)
    shown = [name for name in bucket.below("") if name.startswith("running/")]
    for name in shown:  # as if it had never been told
        bucket.remove(name)
    (Path(folder_for(place)) / ".seen.json").unlink(missing_ok=True)
    assert CliRunner().invoke(main, ["sync"]).exit_code == 0
    another_host()
    (lost,) = open_experiment(root).observations(status=["lost", "running"])
    assert (lost.dir / "checkpoint").read_text() == "precious"


def made(root: str) -> Any:
    @experiment(root=root, name="train")
    def train(x: int) -> Any:
        (current_dir() / "model").write_text(f"weights {x}")
        return Another(x)

    return train


def test_files_that_were_handed_out_stay_when_they_are_pulled(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    made(f"{s3}/train")(1)
    another_host()
    team = Registry(s3)
    run = team.load("train")
    (path,) = run.artefacts()
    team.pull("train", into="pulled")
    assert path.read_text() == "weights 1"
    assert team.load("train").artefacts() == [path]
    assert [p.read_text() for p in Registry("pulled").load("train").artefacts()] == ["weights 1"]


def test_a_run_replaced_from_a_bucket_comes_with_its_files_and_without_trust(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    first = made(str(folder / "a" / "train"))
    first(1)
    (run,) = first.observations()
    Registry(f"{s3}/target").push(first)
    Registry("mine").push(first)
    PickleBackend(folder / "b" / "train").record(run._replace(result=Another(2)))
    (folder / "b" / "train" / "storage" / run.id).mkdir(parents=True)
    (folder / "b" / "train" / "storage" / run.id / "model").write_text("other weights")
    another_host()
    Registry(f"{s3}/source").push(open_experiment(folder / "b" / "train"))
    another_host()
    source = Registry(f"{s3}/source").open("train")
    for target in (Registry(f"{s3}/target"), Registry("mine")):
        target.push(source, overwrite=True)
        there = target.load("train")
        assert [p.read_text() for p in there.artefacts()] == ["other weights"]
        with pytest.raises(UntrustedValue):
            _ = there.result
    another_host()
    assert [p.name for p in Registry(f"{s3}/target").load("train").artefacts()] == ["model"]


def test_files_that_others_have_pruned_are_listed_no_more(
    s3: str, another_host: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = made(f"{s3}/train")
    train(1)
    mine = {
        name: os.environ[name] for name in ("DE_DATA_DIR", "DE_CACHE_DIR") if name in os.environ
    }
    another_host()
    (seen,) = open_experiment(f"{s3}/train").observations()
    assert len(seen.artefacts()) == 1
    theirs = {name: os.environ[name] for name in ("DE_DATA_DIR", "DE_CACHE_DIR")}
    another_host()
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    open_experiment(f"{s3}/train").prune(keep=0)
    another_host()
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    (seen,) = open_experiment(f"{s3}/train").observations()
    assert seen.artefacts() == []


@pytest.mark.parametrize("part", ["notes", "blobs", "storage", "running", "trash"])
def test_an_experiment_may_be_called_as_a_part_of_a_store(registry: str, part: str) -> None:
    for name in (part, "train"):
        experiment(root=f"{registry}/{name}", name=name)(lambda x: x)(1)
    assert Registry(registry).experiments() == sorted([part, "train"])
    said = CliRunner().invoke(main, ["ls", registry])
    assert [line.split()[:2] for line in said.stdout.splitlines()[1:]] == [
        [name, "1"] for name in sorted([part, "train"])
    ]


def test_the_shell_merges_from_a_bucket(registry: str, folder: Path) -> None:
    made(f"{registry}/train")(1)
    experiment(root="mine", name="train")(lambda x: x)(2)
    said = CliRunner().invoke(main, ["merge", "mine", f"{registry}/train"])
    assert "1 observations added" in said.output
    assert len(open_experiment("mine").observations()) == 2
    said = CliRunner().invoke(main, ["merge", "mine", "nowhere"])
    assert (said.exit_code, "There is no store at 'nowhere'" in said.output) == (2, True)


def test_a_variant_that_no_experiment_has_is_told(registry: str) -> None:
    Registry(registry).push(_run(), variant="lite")
    assert Registry(registry).pull(variant="lite", into="pulled").added
    with pytest.raises(ValueError, match=r"No experiment in .* has a variant 'zzz'"):
        Registry(registry).pull(variant="zzz", into="pulled")


def _run() -> Any:
    train = made("local/train")
    train(1)
    return train.observations()


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_server_without_a_scheme_is_told_at_once(
    server: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "127.0.0.1:9000")
    with pytest.raises(ValueError, match="must begin with http:// or https://"):
        made(f"s3://bucket/{uuid4().hex}/train")
    with pytest.raises(ValueError, match="must begin with http:// or https://"):
        Registry("s3://bucket/other").experiments()


def test_the_cache_waits_for_a_dead_bucket_once(
    server: Any, monkeypatch: pytest.MonkeyPatch, s3: str
) -> None:
    waits: list[str] = []

    def gone(self: Any, *args: Any, **more: Any) -> Any:
        waits.append("waited")
        raise BucketUnreachable("it does not answer.")

    square = experiment(root=f"{s3}/square", cache=True)(lambda x: x * x)
    assert square(2) == 4
    from digital_experiments.remote.objects import ObjectBucket

    for method in ("read", "write", "size", "upload", "stamps", "below", "here"):
        monkeypatch.setattr(ObjectBucket, method, gone)
    with pytest.warns(UserWarning, match="can't be") as told:
        assert square(3) == 9
    assert {warning.category for warning in told} == {RecordingWarning, OfflineWarning}
    assert len(waits) == 1


def test_accounts_of_azure_are_places_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def place(**options: str) -> str:
        return folder_for(located("az://data/train", options or None))

    one, other = place(account_name="one"), place(account_name="other")
    assert one != other
    assert place(azure_storage_account_name="one") == one
    assert place(connection_string="DefaultEndpointsProtocol=https;AccountName=other;X=y") == other
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"):
        monkeypatch.setenv(name, "one")
        assert place() == one
        monkeypatch.delenv(name)
    assert place(account_name="one", endpoint="http://127.0.0.1:1/one") != one


@pytest.mark.parametrize("text", ["file:/x", "memory:/a", "S3:/a/b", "s3:team/x", "gs:/x"])
def test_a_uri_without_its_slashes_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"a URI begins with .*://, with two slashes"):
        located(text)


def test_a_file_uri_may_name_this_host(folder: Path) -> None:
    assert located(f"file://localhost{folder}/x") == folder / "x"


def other_run(folder: Path, run: Any, result: Any) -> Path:
    """A store that holds another observation under the id of a run."""
    place = folder / f"other-{uuid4().hex}" / "train"
    PickleBackend(place).record(run._replace(result=result))
    (place / "storage" / run.id).mkdir(parents=True)
    (place / "storage" / run.id / "model").write_text(f"weights {result}")
    return place


def test_lists_tell_of_a_run_that_was_replaced(
    registry: str, folder: Path, another_host: Callable[[], None]
) -> None:
    first = made(str(folder / "a" / "train"))
    first(1)
    (run,) = first.observations()
    for target in (Registry(registry), Registry("mine")):
        target.push(first)
        there = target.open("train")
        assert len(there.observations()) == 1
        target.push(open_experiment(other_run(folder, run, 99)), overwrite=True)
        assert [o.result for o in there.observations()] == [99]
        assert [o.result for o in target.open("train").observations(where="result > 50")] == [99]
        assert list(there.to_dataframe()["result"]) == [99]
        target.push(open_experiment(other_run(folder, run, 7)), overwrite=True)
        assert [o.result for o in there.observations()] == [7]
    if registry.startswith("s3"):
        another_host()
        (elsewhere,) = Registry(registry).open("train").observations()
        assert elsewhere.artefacts()[0].read_text() == "weights 7"


def test_a_host_that_has_listed_a_run_sees_it_replaced(
    s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(str(folder / "a" / "train"))
    first(1)
    (run,) = first.observations()
    Registry(s3).push(first)

    def on(host: str) -> Registry:
        forget_buckets()
        monkeypatch.setenv("DE_DATA_DIR", str(folder / host / "data"))
        monkeypatch.setenv("DE_CACHE_DIR", str(folder / host / "cache"))
        return Registry(s3)

    (seen,) = on("reader").open("train").observations()
    assert [p.read_text() for p in seen.artefacts()] == ["weights 1"]
    on("writer").push(open_experiment(other_run(folder, run, 99)), overwrite=True)
    (seen,) = on("reader").open("train").observations()
    assert (seen.result, [p.read_text() for p in seen.artefacts()]) == (99, ["weights 99"])


@pytest.mark.parametrize("same_process", [True, False])
def test_a_replacement_that_is_interrupted_is_made_good(
    s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch, same_process: bool
) -> None:
    first = made(str(folder / "a" / "train"))
    first(1)
    (run,) = first.observations()
    Registry(s3).push(first)
    other = open_experiment(other_run(folder, run, 99))
    from digital_experiments.remote.objects import ObjectBucket

    def gone(self: Any, *args: Any, **more: Any) -> Any:
        raise BucketUnreachable("it does not answer.")

    with monkeypatch.context() as outage:
        for method in ("write", "upload", "remove"):
            outage.setattr(ObjectBucket, method, gone)
        with pytest.raises(BucketUnreachable):
            Registry(s3).push(other, overwrite=True)
    if not same_process:
        forget_buckets()
    assert CliRunner().invoke(main, ["sync"]).exit_code == 0
    Registry(s3).push(other, overwrite=True)
    forget_buckets()
    for name in ("DE_DATA_DIR", "DE_CACHE_DIR"):
        monkeypatch.setenv(name, str(folder / "elsewhere" / name))
    (there,) = Registry(s3).open("train").observations()
    assert (there.result, [p.read_text() for p in there.artefacts()]) == (99, ["weights 99"])


def test_lost_runs_are_pushed_and_pulled_with_their_files(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    with long_run(folder, str(folder / "local" / "long"), 60) as run:
        time.sleep(3)
        kill(run)
    Registry(s3).push(open_experiment("local/long"))
    another_host()
    Registry(s3).pull("long", into="pulled")
    for place in (f"{s3}/long", "pulled/long"):
        (lost,) = open_experiment(place).observations(status=["lost", "running"])
        assert (lost.dir / "checkpoint").read_text() == "precious"


def test_what_was_pulled_may_be_trusted_later(s3: str, another_host: Callable[[], None]) -> None:
    made(f"{s3}/train")(1)
    another_host()
    Registry(s3).pull("train", into="pulled")
    with pytest.raises(UntrustedValue):
        _ = Registry("pulled").load("train").result
    Registry(s3).pull("train", into="pulled", trust=True)
    assert Registry("pulled").load("train").result.number == 1


def test_a_copy_that_was_removed_is_made_again(s3: str) -> None:
    train = made(f"{s3}/train")
    train(1)
    assert len(train.observations()) == 1
    shutil.rmtree(folder_for(located(f"{s3}/train")))
    (again,) = train.observations()
    assert [p.read_text() for p in again.artefacts()] == ["weights 1"]


def test_a_run_of_this_machine_stays_its_own_whatever_the_clocks_say(s3: str, folder: Path) -> None:
    root = f"{s3}/long"
    with long_run(folder, root, 8) as run:
        time.sleep(3)
        copied = Path(folder_for(located(root)))
        for beat in (copied / "running").glob("*.json"):
            os.utime(beat, (time.time() - 40,) * 2)
        look(root)
        run.communicate()
    assert not (copied / "elsewhere.txt").exists()
