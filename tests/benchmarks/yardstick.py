"""What every figure is a ratio to: pickle a 2,048-byte record, write a fresh file, rename it."""

from __future__ import annotations

import os
import pickle
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

RECORD_BYTES = 2048


class Yardstick:
    """Writes records of a fixed size into a folder, and keeps the nanoseconds of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = {"id": "", "config": {"x": 0}, "result": {"y": 0}, "padding": ""}
        self.record["padding"] = "p" * (RECORD_BYTES - len(pickle.dumps(self.record)) - 12)
        self.count = 0
        self.times: list[int] = []

    def write(self) -> None:
        self.count += 1
        record = {**self.record, "id": f"{self.count:08d}", "config": {"x": self.count}}
        start = perf_counter_ns()
        path = os.path.join(self.folder, f"yard-{self.count:08d}.bin")
        data = pickle.dumps(record)
        descriptor = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, data)
        os.close(descriptor)
        os.replace(path + ".tmp", path)
        self.times.append(perf_counter_ns() - start)


def alternating(
    work: Callable[[int], object], yardstick: Yardstick, calls: int, block: int = 20
) -> list[int]:
    """Nanoseconds of each call of ``work``, blocks of it and of the yardstick in turn."""
    times = []
    for first in range(0, calls, block):
        for i in range(first, first + block):
            start = perf_counter_ns()
            work(i)
            times.append(perf_counter_ns() - start)
        for _ in range(block):
            yardstick.write()
    return times


def percentile(times: list[int], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] / 1000


def median(times: list[int]) -> float:
    return statistics.median(times) / 1000


def make_repository(folder: Path) -> None:
    """A git repository with one commit, for what runs in it."""
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    (folder / "README").write_text("bench\n")
    (folder / ".gitignore").write_text("*.bin\nstore*\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
