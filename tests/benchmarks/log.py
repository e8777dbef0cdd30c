"""Logging series, reading them back, and laying runs side by side.

Run ``python tests/benchmarks/log.py``. Bars: at least 500,000 points a second and half of the
yardstick, one buffered text line a point; 100,000 points read back in 1.5 x parsing their lines
by orjson; a report of 20 runs with 10 figures and 100,000 points each in under 2 s and 5 MB
beside the figures; showing a run that lives takes under 0.5 % of a core.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pandas as pd

from digital_experiments import compare, log_metric, open_experiment, start_run
from digital_experiments.heart import heart
from digital_experiments.observation import Observation
from digital_experiments.run import Run

POINTS = 500_000
READ = 100_000
REPEATS = 5


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def text_lines() -> None:
    with open("yardstick.txt", "w") as file:
        for step in range(POINTS):
            file.write(f"loss {step} {1 / (step + 1)} {time.time()}\n")


def points(count: int) -> Run:
    with start_run("points") as run:
        for step in range(count):
            log_metric("loss", 1 / (step + 1), step)
    return run


def writing() -> dict[str, float]:
    lines = statistics.median(seconds(text_lines) for _ in range(REPEATS))
    start_run("points").__enter__().__exit__(None, None, None)  # the first gathers facts
    logged = statistics.median(seconds(lambda: points(POINTS)) for _ in range(REPEATS))
    return {
        "points_a_second": round(POINTS / logged),
        "text_lines_a_second": round(POINTS / lines),
        "write_ratio": round(lines / logged, 2),
    }


def reading() -> dict[str, float]:
    run = points(READ)
    assert run.observation is not None
    observation: Observation = run.observation
    path = observation.series_path()
    pd.DataFrame({"a": [1]})  # what pandas does at its first frame

    def parse() -> list[object]:
        with open(path, "rb") as file:
            return [orjson.loads(line) for line in file]

    observation.metrics("loss")
    parsed = statistics.median(seconds(parse) for _ in range(REPEATS))
    read = statistics.median(seconds(lambda: observation.metrics("loss")) for _ in range(REPEATS))
    return {
        "read_s": round(read, 3),
        "parse_s": round(parsed, 3),
        "read_ratio": round(read / parsed, 2),
    }


def comparing() -> dict[str, float]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    figure.subplots().plot([1, 3, 2])
    for number in range(20):
        with start_run("compared", params={"lr": number}) as run:
            for step in range(READ):
                log_metric("loss", number / (step + 1), step)
            for n in range(10):
                run.log_figure(f"figure {n}", figure)
    found = open_experiment("compared").observations()
    size = sum(p[0].stat().st_size for o in found for p in o.figures().values())
    taken = []
    for _ in range(3):
        report = compare(found)
        taken.append(seconds(lambda: report.html))  # noqa: B023
    return {
        "report_s": round(statistics.median(taken), 2),
        "report_mb": round(len(report.html) / 1e6, 2),
        "figures_mb": round(size * 4 / 3 / 1e6, 2),
    }


def beating() -> dict[str, float]:
    """What showing a run takes while it only sleeps, of one core."""
    with start_run("beats") as run:
        log_metric("a", 1)
        time.sleep(1.5)
        before = time.process_time()
        time.sleep(10)
        used = time.process_time() - before
    assert run.observation is not None
    assert heart.sample().rss
    return {"heart_percent_of_a_core": round(used * 10, 3)}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.environ["DE_CACHE_DIR"] = str(Path(name, "cache"))
        os.chdir(name)
        for measure in (writing, reading, comparing, beating):
            print(json.dumps(measure()), flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
