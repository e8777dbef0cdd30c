"""Every test works in an empty folder of its own, outside any repository."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from buckets import empty_memory, forget_buckets


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DE_ROOT", raising=False)
    monkeypatch.delenv("DE_STRICT", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # its sockets need a short path
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("DE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DE_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.fixture(autouse=True)
def no_buckets() -> Iterator[None]:
    """What one test did with buckets is unknown to the next."""
    yield
    forget_buckets()
    empty_memory()


@pytest.fixture
def git(folder: Path) -> Callable[..., str]:
    """Git in the test's folder."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def run(*words: str, cwd: Path = folder) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
        options = {"cwd": cwd, "env": environment, "capture_output": True, "text": True}
        return subprocess.run(command, check=True, **options).stdout.strip()

    return run
