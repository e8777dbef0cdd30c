"""What holds of stores on other servers than one of S3: of SFTP (OpenSSH), of Azure (Azurite)."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from s3_server import free_ports

from digital_experiments import Registry, current_dir, experiment, open_experiment
from digital_experiments.errors import BucketUnreachable, OfflineWarning, StoreNotFound
from digital_experiments.remote import located

ACCOUNT = "devstoreaccount1"
KEY = "ZGlnaXRhbC1leHBlcmltZW50cw=="  # this server's, that lives as long as the tests


class Engine(NamedTuple):
    """Where stores lie, what opens it, and what stops its server and starts it again."""

    uri: str
    options: dict[str, Any]
    stop: Callable[[], None]
    start: Callable[[], None]


class Process:
    """A server that can be stopped and started again."""

    def __init__(self, command: list[str], port: int, **how: Any) -> None:
        self._command, self._port, self._how = command, port, how
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, start_new_session=True, **self._how)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return
            time.sleep(0.05)
        raise TimeoutError(f"{self._command[0]} did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()  # killed, Azurite would forget what it has taken last
            self._process.wait(20)
            for connection in self._connections():
                connection.kill()
            self._process = None

    def _connections(self) -> list[Any]:
        """The processes that a server of SSH leaves for its connections."""
        import psutil

        shown = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "sshd"]
        return [p for p in shown if any(c.laddr.port == self._port for c in _sockets(p))]


def _sockets(process: Any) -> list[Any]:
    with suppress(Exception):
        return list(process.net_connections())
    return []


def missing(what: str, how: str) -> Any:
    if os.environ.get("DE_CI"):
        pytest.fail(f"{what} is missing: {how}")
    pytest.skip(f"needs {what}: {how}")


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    pytest.importorskip("paramiko")
    sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
    if sshd is None:
        missing("OpenSSH's server", "apt install openssh-server")
    place = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)]
        subprocess.run(make, check=True)
    if os.getuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    (port,) = free_ports(1)
    told = f"""
        Port {port}
        ListenAddress 127.0.0.1
        HostKey {place}/host
        AuthorizedKeysFile {place}/user.pub
        PidFile none
        StrictModes no
        PermitRootLogin yes
        UsePAM no
        Subsystem sftp internal-sftp
    """
    (place / "config").write_text(told)
    server = Process([str(sshd), "-D", "-f", str(place / "config")], port)
    server.start()
    options = {
        "username": getpass.getuser(),
        "key_filename": str(place / "user"),
        "look_for_keys": False,
        "allow_agent": False,
    }
    yield Engine(f"sftp://127.0.0.1:{port}{place}/far", options, server.stop, server.start)
    server.stop()


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    pytest.importorskip("obstore")
    blobs = pytest.importorskip("azure.storage.blob")
    azurite = shutil.which("azurite-blob")
    if azurite is None:
        missing("Azurite", "npm install -g azurite")
    place = tmp_path_factory.mktemp("azure")
    (port,) = free_ports(1)
    quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    command = [str(azurite), *quiet, "--blobPort", str(port)]
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    server = Process([*command, "--location", str(place)], port, env=environment)
    server.start()
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    blobs.BlobServiceClient(endpoint, credential=KEY).create_container("team")
    options = {"account_name": ACCOUNT, "account_key": KEY, "endpoint": endpoint}
    yield Engine("az://team/experiments", options, server.stop, server.start)
    server.stop()


@pytest.fixture(params=["sftp", "azure"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """A server, and a registry of its own on it."""
    found: Engine = request.getfixturevalue(request.param)
    return found._replace(uri=f"{found.uri}/{uuid4().hex}")


def make(engine: Engine, **options: Any) -> Any:
    @experiment(root=f"{engine.uri}/train", storage_options=engine.options, **options)
    def train(x: int) -> dict[str, Any]:
        (current_dir() / "plots").mkdir()
        (current_dir() / "plots" / "curve.txt").write_text(f"curve {x}")
        return {"loss": x / 2, "weights": list(range(5000))}

    return train


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_what_many_workers_record_is_there_for_another_machine(
    engine: Engine, executor: str, another_host: Callable[[], None]
) -> None:
    train = make(engine)
    train.map([{"x": x} for x in range(24)], executor=executor, workers=4)
    another_host()
    store = open_experiment(f"{engine.uri}/train", storage_options=engine.options)
    runs = store.observations()
    assert sorted(run.result["loss"] for run in runs) == [x / 2 for x in range(24)]
    last = runs[-1]
    (plots,) = store.artefacts(last.id)
    assert (plots / "curve.txt").read_text() == f"curve {last.config['x']}"
    assert store.check()


def test_runs_are_noted_deleted_restored_and_purged(
    engine: Engine, another_host: Callable[[], None]
) -> None:
    train = make(engine)
    first, second, third = train.map([{"x": x} for x in range(3)])
    train.annotate(first.id, tags=["best"])
    train.delete(second.id)
    train.delete(third.id)
    another_host()
    store = open_experiment(f"{engine.uri}/train", storage_options=engine.options)
    assert [run.id for run in store.observations(tags="best")] == [first.id]
    assert store.restore(second.id) == [second.id]
    assert (store.artefacts(second.id)[0] / "curve.txt").read_text() == "curve 1"
    assert store.purge() == [third.id]
    assert not store.gc(dry_run=True).blobs
    assert len(store.observations()) == 2


def test_a_result_is_found_in_the_cache_by_another_machine(
    engine: Engine, another_host: Callable[[], None]
) -> None:
    make(engine, cache=True)(3)
    another_host()
    train = make(engine, cache=True)
    assert train(3)["loss"] == 1.5
    assert len(train.observations()) == 1


def test_no_config_of_a_sweep_is_run_twice(engine: Engine) -> None:
    train = make(engine)
    train.map([{"x": x} for x in range(3)])
    runs = train.map([{"x": x} for x in range(6)], executor="thread", workers=3, resume=True)
    assert len(runs) == len({run.id for run in train.observations()}) == 6


def test_a_registry_gives_and_takes(engine: Engine, folder: Path) -> None:
    @experiment(root="here")
    def square(x: int) -> int:
        return x * x

    square.map([{"x": x} for x in range(3)])
    registry = Registry(engine.uri, storage_options=engine.options)
    registry.push(square, variant="small")
    assert registry.experiments() == ["square"]
    assert registry.load("square", "small").result == 4
    assert len(registry.pull(into="pulled").added) == 3
    assert registry.pull(into="pulled").known == 3


def test_what_an_outage_held_up_goes_up_when_it_is_over(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, another_host: Callable[[], None]
) -> None:
    from digital_experiments.remote import buckets, copies, objects

    monkeypatch.setattr(buckets, "PATIENCE", 0.5)
    monkeypatch.setitem(objects._RETRIES, "retry_timeout", timedelta(seconds=0.5))
    train = make(engine)
    train(0)
    engine.stop()
    try:
        with pytest.warns(OfflineWarning, match="can't be reached"):
            assert train(1)["loss"] == 0.5
    finally:
        engine.start()
    (copy,) = copies.working_copies()
    copy.outbox.reopen()  # it would not be asked again for some seconds
    train(2)
    another_host()
    store = open_experiment(f"{engine.uri}/train", storage_options=engine.options)
    assert [run.config["x"] for run in store.observations()] == [0, 1, 2]
    assert store.check()


def test_wrong_credentials_are_told(sftp: Engine) -> None:
    wrong = {"username": getpass.getuser(), "password": "x", "look_for_keys": False}
    with pytest.raises(PermissionError, match="can't be used with these credentials"):
        open_experiment(f"{sftp.uri}/train", storage_options={**wrong, "allow_agent": False})


def test_a_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from digital_experiments.remote import buckets

    pytest.importorskip("paramiko")
    monkeypatch.setattr(buckets, "PATIENCE", 0.3)
    (port,) = free_ports(1)
    with pytest.raises(BucketUnreachable, match="can't be reached"):
        open_experiment(f"sftp://127.0.0.1:{port}/nowhere/train", storage_options={})


def test_a_connection_that_is_lost_while_it_is_made_is_no_wrong_password(
    sftp: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import paramiko

    real, lost = paramiko.SSHClient.connect, []

    def connect(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not lost:
            lost.append(True)
            why = "Authentication failed: transport shut down or saw EOF"
            raise paramiko.AuthenticationException(why)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(paramiko.SSHClient, "connect", connect)
    train = make(sftp._replace(uri=f"{sftp.uri}/{uuid4().hex}"))
    assert len(train.map([{"x": x} for x in range(3)], resume=True)) == 3
    assert lost


def test_a_claim_whose_answer_is_lost_is_ours(
    sftp: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from digital_experiments.remote import filesystems

    real, lost = filesystems._move, []

    def move(fs: Any, partial: str, target: str, new: bool) -> None:
        real(fs, partial, target, new)
        if "/held/" in target and new and not lost:
            lost.append(target)
            raise EOFError("the connection is lost")

    monkeypatch.setattr(filesystems, "_move", move)
    train = make(sftp._replace(uri=f"{sftp.uri}/{uuid4().hex}"))
    train.map([{"x": x} for x in range(3)], resume=True)
    assert lost
    assert sorted(run.config["x"] for run in train.observations()) == [0, 1, 2]


def test_hidden_files_of_a_run_are_there_for_another_machine(
    engine: Engine, another_host: Callable[[], None]
) -> None:
    @experiment(root=f"{engine.uri}/train", storage_options=engine.options)
    def train(x: int) -> int:
        (current_dir() / ".state.tmp").write_text("half")
        return x

    train(1)
    another_host()
    store = open_experiment(f"{engine.uri}/train", storage_options=engine.options)
    (run,) = store.observations()
    assert (run.dir / ".state.tmp").read_text() == "half"


def test_file_systems_of_other_servers_and_folders_are_other_places(sftp: Engine) -> None:
    host, _, path = sftp.uri.removeprefix("sftp://").partition("/")
    port = int(host.partition(":")[2])
    here, there = (
        fsspec.filesystem("sftp", host=name, port=port, **sftp.options)
        for name in ("127.0.0.1", "localhost")
    )
    roots = [
        DirFileSystem(f"/{path}/a", here),
        DirFileSystem(f"/{path}/a", there),
        DirFileSystem("a", DirFileSystem(f"/{path}/b", here)),
        DirFileSystem("a", DirFileSystem(f"/{path}/c", here)),
    ]
    assert len({located(root).key for root in roots}) == 4
    square = experiment(root=roots[2], name="square")(abs)
    square(-3)
    assert open_experiment(roots[2]).observations()[0].result == 3
    with pytest.raises(StoreNotFound):
        open_experiment(roots[3])


def test_an_option_that_there_is_not_is_told(sftp: Engine) -> None:
    with pytest.raises(TypeError, match="these storage_options: bogus"):
        open_experiment(f"{sftp.uri}/train", storage_options={"bogus": 1})


def test_what_may_not_be_written_is_told_with_its_place(sftp: Engine) -> None:
    host = sftp.uri.removeprefix("sftp://").partition("/")[0]
    train = make(sftp._replace(uri=f"sftp://{host}/proc/nowhere"))
    with pytest.warns(OfflineWarning, match=r"sftp://.*/proc/nowhere/train can't be used"):
        assert train(1)["loss"] == 0.5
