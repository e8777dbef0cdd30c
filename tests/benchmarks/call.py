"""What one recorded call of a trivial function costs, and what it leaves on disk.

Run ``python tests/benchmarks/call.py``. Bars, in a git repository: the median at most 1.75
yardsticks and p99 at most 3 x that median, for pickle and json; the first call of a process at
most 150 ms; one file of at most 600 bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter_ns

from yardstick import Yardstick, alternating, make_repository, median, percentile

from digital_experiments import experiment


def square(x: int) -> int:
    return x * x


def measure(backend: str, folder: Path, calls: int) -> dict[str, object]:
    """Record into the very folder that the yardstick writes to."""
    recorded = experiment(root=folder, backend=backend)(square)
    start = perf_counter_ns()
    recorded(0)
    first = (perf_counter_ns() - start) / 1e6
    yardstick = Yardstick(folder)
    alternating(recorded, yardstick, 400)
    yardstick.times.clear()
    times = alternating(recorded, yardstick, calls)
    sizes = [p.stat().st_size for p in folder.iterdir() if p.suffix in (".pkl", ".json", ".yaml")]
    yard = median(yardstick.times)
    return {
        "backend": backend,
        "first_call_ms": round(first, 1),
        "median_us": round(median(times), 1),
        "yardstick_us": round(yard, 1),
        "ratio": round(median(times) / yard, 2),
        "p99_over_median": round(percentile(times, 0.99) / median(times), 2),
        "yardstick_p99_over_median": round(percentile(yardstick.times, 0.99) / yard, 2),
        "bytes_a_run": max(sizes),
        "files_a_run": len(sizes) / (calls + 401),
    }


def main(backends: list[str], calls: int = 4000) -> None:
    for backend in backends:
        with tempfile.TemporaryDirectory() as name:
            make_repository(Path(name))
            store = Path(name, "store")
            store.mkdir()
            command = [sys.executable, __file__, "--in", str(store), backend, str(calls)]
            subprocess.run(command, cwd=name, check=True, env={**os.environ, "PYTHONPATH": ""})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in"]:
        folder, backend, calls = sys.argv[2:]
        print(json.dumps(measure(backend, Path(folder), int(calls))), flush=True)
    else:
        main(sys.argv[1:] or ["pickle", "json", "yaml"])
