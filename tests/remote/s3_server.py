"""A server of S3 for the tests: SeaweedFS, started and stopped by them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

BUCKET = "team-bucket"
NO_RETRIES = {"max_retries": 0}
PORTS = ("admin", "filer", "master", "s3", "volume")


class Server:
    """SeaweedFS with its data in a folder; it may be stopped and started again.

    Parameters
    ----------
    folder : Path
        Where its data lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = dict(zip(PORTS, free_ports(2 * len(PORTS))[::2], strict=True))
        self._grpc = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._secret = uuid4().hex  # not in a file that a run might record
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "a-key",
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        ports += [f"-{name}.port.grpc={port}" for name, port in self._grpc.items()]
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder.parent / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    executable() or "weed",
                    "mini",
                    f"-dir={self.folder}",
                    f"-bucket={BUCKET}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    "-webdav=false",
                    "-admin.ui=false",
                    "-master.telemetry=false",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    *ports,
                ],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        config = {name.lower(): value for name, value in self.environment.items()}
        store = S3Store(
            BUCKET, config=config, client_options={"allow_http": True}, retry_config=NO_RETRIES
        )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(BaseError):
                store.list_with_delimiter()
                return
            time.sleep(0.1)
        raise TimeoutError(f"SeaweedFS did not start: see {self.folder.parent}/server.log")

    def pause(self) -> None:
        """Answer nobody any more, and keep all connections."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def executable() -> str | None:
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
