"""A bucket that is gone costs no result, and not much time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from s3_server import BUCKET, Server

from digital_experiments import Registry, current_dir, experiment, open_experiment
from digital_experiments.cli import main
from digital_experiments.errors import BucketUnreachable, OfflineWarning, RecordingError
from digital_experiments.remote import copies
from digital_experiments.remote.journal import Journal


def make(root: str, **options: Any) -> Any:
    @experiment(root=root, name="train", **options)
    def train(x: int) -> int:
        (current_dir() / "model.bin").write_bytes(b"m" * 100)
        return 2 * x

    return train


def test_a_run_is_kept_here_while_the_bucket_is_gone_and_goes_up_with_the_next(
    own_server: Server, impatient: None, another_host: Callable[[], None]
) -> None:
    root = f"s3://{BUCKET}/{uuid4().hex}/train"
    train = make(root)
    train(1)
    own_server.kill()
    begun = time.monotonic()
    with pytest.warns(OfflineWarning, match="goes up with the next run"):
        assert train(2) == 4
    assert time.monotonic() - begun < 10
    begun = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in range(3, 20):
            assert train(x) == 2 * x  # it is told once, and each run waits no more
    assert time.monotonic() - begun < 5
    assert len(train.observations()) == 19  # they are there all the same
    own_server.start()
    copies.working_copy(_place(root)).outbox.reopen()
    train(20)
    another_host()
    found = open_experiment(root).observations()
    assert [o.result for o in found] == [2 * x for x in range(1, 21)]
    assert all((o.dir / "model.bin").exists() for o in found)
    assert open_experiment(root).check()


def _place(root: str) -> Any:
    from digital_experiments.remote import located

    return located(root)


def test_sync_sends_what_a_process_has_left(
    own_server: Server, impatient: None, another_host: Callable[[], None]
) -> None:
    root = f"s3://{BUCKET}/{uuid4().hex}/train"
    train = make(root)
    train(1)
    own_server.kill()
    with pytest.warns(OfflineWarning):
        train(2)
    refused = CliRunner().invoke(main, ["sync"])
    assert refused.exit_code == 1
    assert "can't be reached" in refused.output
    own_server.start()
    sent = CliRunner().invoke(main, ["sync"])
    assert (sent.exit_code, sent.output) == (0, f"{root}: 1 sent\n")
    assert CliRunner().invoke(main, ["sync"]).output == f"{root}: nothing to send\n"
    another_host()
    assert len(open_experiment(root).observations()) == 2


def test_under_strict_it_is_an_error(own_server: Server, impatient: None) -> None:
    train = make(f"s3://{BUCKET}/{uuid4().hex}/train", strict=True)
    train(1)
    own_server.kill()
    with pytest.raises(RecordingError, match="can't be reached"):
        train(2)
    assert len(train.observations()) == 2


def test_a_store_that_was_seen_before_can_be_read_offline_and_one_never_seen_can_not(
    own_server: Server, impatient: None
) -> None:
    root = f"s3://{BUCKET}/{uuid4().hex}/train"
    make(root)(1)
    make(root).observations()
    own_server.kill()
    with pytest.warns(OfflineWarning):
        assert len(open_experiment(root).observations()) == 1
    with pytest.raises(BucketUnreachable):
        open_experiment(f"s3://{BUCKET}/never/seen")


def test_pushing_to_a_bucket_that_is_gone_is_an_error_and_works_later(
    own_server: Server, impatient: None, folder: Path, another_host: Callable[[], None]
) -> None:
    train = make(str(folder / "here"))
    train(1)
    registry = f"s3://{BUCKET}/{uuid4().hex}"
    own_server.kill()
    with pytest.raises(BucketUnreachable):
        Registry(registry).push(train)
    own_server.start()
    Registry(registry).push(train)
    another_host()
    assert Registry(registry).load("train").result == 2


SWEEP = """
import sys, warnings
warnings.simplefilter("ignore")
from digital_experiments import experiment
@experiment(root=sys.argv[1])
def train(x):
    import time
    time.sleep(0.02)
    return x
if __name__ == "__main__":
    print("ready", flush=True)
    train.map([{"x": x} for x in range(300)], executor=sys.argv[2], workers=2, progress=False)
"""


@contextmanager
def started(root: str, executor: str) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep that has just begun, in a process of its own."""
    Path("sweep.py").write_text(SWEEP)
    command = [sys.executable, "sweep.py", root, executor]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as sweep:
        assert sweep.stdout is not None
        sweep.stdout.readline()
        yield sweep


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_server_killed_in_mid_sweep_and_started_again_loses_nothing(
    own_server: Server, folder: Path, executor: str, another_host: Callable[[], None]
) -> None:
    root = f"s3://{BUCKET}/{uuid4().hex}/train"
    with started(root, executor) as sweep:
        time.sleep(1.5)
        own_server.kill()
        time.sleep(2)
        own_server.start()
        assert sweep.wait(120) == 0
    another_host()
    store = open_experiment(root)
    assert sorted(o.result for o in store.observations()) == list(range(300))
    assert store.check()


def test_a_process_killed_in_mid_sweep_loses_no_run_that_had_ended(
    own_server: Server, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"s3://{BUCKET}/{uuid4().hex}/train"
    with started(root, "thread") as sweep:
        time.sleep(2)
        os.killpg(sweep.pid, signal.SIGKILL)
    copied = next((folder / "data" / "copies").iterdir())
    Journal(str(copied)).settle()
    here = {path.name for path in copied.glob("20*.pkl")}
    assert here
    result = CliRunner().invoke(main, ["sync"])
    assert result.exit_code == 0, result.output
    another_host()
    store = open_experiment(root)
    assert {f"{o.id}.pkl" for o in store.observations()} >= here
    assert store.check()


KILLED = """
import os, signal, sys, time
from digital_experiments import current_dir, experiment, log_metric
@experiment(root=sys.argv[1])
def train(x):
    (current_dir() / "checkpoint.bin").write_bytes(b"c" * 100)
    log_metric("loss", 0.5)
    print("ready", flush=True)
    time.sleep(3)
    os.kill(os.getpid(), signal.SIGKILL)
train(1)
"""


def test_a_run_that_was_killed_is_lost_and_sync_brings_its_files(
    own_server: Server, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"s3://{BUCKET}/{uuid4().hex}/train"
    Path("killed.py").write_text(KILLED)
    subprocess.run([sys.executable, "killed.py", root], stdout=subprocess.PIPE, check=False)
    sent = CliRunner().invoke(main, ["sync"])
    assert (sent.exit_code, sent.output) == (0, f"{root}: 2 sent\n")
    another_host()
    (lost,) = open_experiment(root).observations(status=["lost", "running"])
    assert (lost.dir / "checkpoint.bin").read_bytes() == b"c" * 100
    assert lost.metrics("loss")["value"].tolist() == [0.5]


SHARED = """
import sys, time, warnings
from datetime import timedelta
warnings.simplefilter("ignore")
from digital_experiments.remote import objects
objects._RETRIES["retry_timeout"] = timedelta(seconds=0.5)
from digital_experiments import experiment
@experiment(root=sys.argv[1])
def train(x):
    time.sleep(0.05)
    return x
if __name__ == "__main__":
    print("ready", flush=True)
    train.map([{"x": x} for x in range(120)], resume=True, progress=False)
"""


def test_an_outage_makes_nobody_of_a_shared_sweep_run_a_config_twice(
    own_server: Server, folder: Path, another_host: Callable[[], None]
) -> None:
    root = f"s3://{BUCKET}/{uuid4().hex}/train"
    Path("shared.py").write_text(SHARED)
    hosts = []
    for name in ("one", "two"):
        places = {"DE_DATA_DIR": str(folder / name), "DE_CACHE_DIR": str(folder / name)}
        command = [sys.executable, "shared.py", root]
        hosts.append(
            subprocess.Popen(command, env={**os.environ, **places}, stdout=subprocess.PIPE)
        )
    for host in hosts:
        assert host.stdout is not None
        host.stdout.readline()
    time.sleep(2)
    own_server.kill()
    time.sleep(4)  # longer than anybody asks again who does not share
    own_server.start()
    for host in hosts:
        assert host.wait(120) == 0
        assert host.stdout is not None
        host.stdout.close()
    another_host()
    store = open_experiment(root)
    assert sorted(o.result for o in store.observations()) == list(range(120))
    assert store.check()


def test_a_registry_out_of_reach_shows_what_this_machine_has_seen(
    own_server: Server, impatient: None
) -> None:
    uri = f"s3://{BUCKET}/{uuid4().hex}"
    make(f"{uri}/train")(1)
    assert Registry(uri).experiments() == ["train"]
    own_server.kill()
    with pytest.warns(OfflineWarning, match="this machine has seen"):
        assert Registry(uri).experiments() == ["train"]
    begun = time.monotonic()
    with pytest.warns(OfflineWarning):
        assert Registry(uri).load("train").result == 2
    assert len(Registry(uri).runs("train")) == 1
    assert time.monotonic() - begun < 2.5  # it was waited for once, for a second
    with pytest.raises(BucketUnreachable):
        Registry(f"s3://{BUCKET}/another").experiments()
