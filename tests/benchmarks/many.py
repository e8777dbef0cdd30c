"""Many trivial runs by each executor, against a plain loop and a bare map of pebble.

Run ``python tests/benchmarks/many.py``. Bars: ``serial`` at most 1.1 x a plain loop; ``thread`` at
most 1.2 x ``serial``; ``process`` with 2 workers at most 1.5 x a bare map of pebble that writes a
file of the same size for each.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pebble import ProcessPool

from digital_experiments import Experiment, experiment

BLOCK, BLOCKS = 200, 40
MANY = 10_000


def trivial(x: int) -> int:
    return x


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write(folder: str, size: int, number: int) -> int:
    path = f"{folder}/{number}"
    with open(f"{path}.tmp", "wb") as file:
        file.write(bytes(size))
    os.replace(f"{path}.tmp", path)
    return number


def loop(recorded: Experiment[..., Any], configs: list[dict[str, int]]) -> None:
    for config in configs:
        recorded(**config)


def small(folder: Path) -> dict[str, object]:
    """Blocks of each way in turn: the machine's moods meet all of them."""
    recorded = experiment(root=folder / "small")(trivial)
    configs = [{"x": x} for x in range(BLOCK)]
    ways: dict[str, Callable[[], object]] = {
        "loop": partial(loop, recorded, configs),
        "serial": partial(recorded.map, configs),
        "thread": partial(recorded.map, configs, executor="thread", workers=2),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for _ in range(BLOCKS + 1):
        for name in order:
            taken[name].append(seconds(ways[name]))
        order = [*order[1:], order[0]]  # a disk that has just been busy is slower
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    return {
        "loop_us": round(medians["loop"] / BLOCK * 1e6, 1),
        "serial_to_loop": round(medians["serial"] / medians["loop"], 2),
        "thread_to_serial": round(medians["thread"] / medians["serial"], 2),
    }


def large(folder: Path) -> dict[str, object]:
    recorded = experiment(root=folder / "large")(trivial)
    recorded(0)
    (record,) = (folder / "large").glob("*.pkl")
    size, bare = record.stat().st_size, str(folder / "bare")
    os.mkdir(bare)
    work = partial(write, bare, size)
    with ProcessPool(max_workers=2, context=multiprocessing.get_context("fork")) as pool:
        list(pool.map(work, range(100)).result())
        yard = seconds(lambda: list(pool.map(work, range(MANY)).result()))
    configs = [{"x": x} for x in range(MANY)]
    ours = seconds(lambda: recorded.map(configs, executor="process", workers=2))
    return {"process_s": round(ours, 2), "pebble_s": round(yard, 2), "ratio": round(ours / yard, 2)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(small(Path(name))))
        print(json.dumps(large(Path(name))))
