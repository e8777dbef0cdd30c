"""The shell's commands, run as a user runs them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

RUN = [sys.executable, "-c", "from digital_experiments.cli import main; main()"]


def test_the_demo_does_the_main_job_in_under_a_minute(folder: Path) -> None:
    start = time.perf_counter()
    seen = subprocess.run(
        [*RUN, "demo", "--root", "shown"], capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - start < 60
    assert seen.stdout.count("completed") == 6
    assert "diverged" in seen.stdout
    assert "best: accuracy" in seen.stdout
    assert "shown/train" in seen.stdout
    assert len(list((folder / "shown" / "train").glob("*.pkl"))) == 8


def test_help_and_version() -> None:
    assert "demo" in subprocess.run([*RUN, "--help"], capture_output=True, text=True).stdout
    assert "3.0.0" in subprocess.run([*RUN, "--version"], capture_output=True, text=True).stdout
