"""A study of three conditions, against a map over the same configs; and crystallize-ml's curve.

Run ``python tests/benchmarks/study.py [PYTHON_WITH_CRYSTALLIZE]``. Bar: a study of 3 x 1,000
trivial replicates takes at most 1.15 x as long as ``map`` over the same 3,000 configs. A disk can
take five times as long a minute later, so they are run side by side, some runs of each in turn
(``stream`` and ``imap``). A good part of what a study takes more is the seeding itself, so that is
told beside, and how it compares with a map that seeds too. With another Python, that has
crystallize-ml, the milliseconds a run of both are shown over the number of replicates.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from digital_experiments import Experiment, Study, experiment
from digital_experiments.callbacks import Seed
from digital_experiments.callbacks.seed import seed_generators

ROUNDS = 9
REPLICATES = 1000
PORTION = 30  # runs
CRYSTALLIZE = """
import sys, time
from crystallize import ArtifactPlugin, Experiment, SeedPlugin, Treatment
from crystallize import data_source, pipeline_step

@data_source
def source(ctx):
    return 0

@pipeline_step()
def add(data, ctx, *, by=0):
    return data, {"x": 1 + by}

treatments = [Treatment(name, {"by": by}) for name, by in (("one", 1), ("two", 2))]
kept = ArtifactPlugin(root_dir=sys.argv[1], versioned=True, artifact_retention=0)
builder = Experiment.builder("study").datasource(source()).add_step(add())
experiment = builder.plugins([kept, SeedPlugin(seed=1)]).build()
for replicates in map(int, sys.argv[2:]):
    start = time.perf_counter()
    experiment.run(treatments=treatments, replicates=replicates)
    print("took", (time.perf_counter() - start) / (3 * replicates))
"""


def trivial(by: int = 0) -> dict[str, int]:
    return {"x": 1 + by}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def study_of(recorded: Experiment[..., Any], replicates: int) -> Study:
    treatments = {"one": {"by": 1}, "two": {"by": 2}}
    return Study(recorded, treatments=treatments, replicates=replicates, seed=1)


def in_turns(ways: dict[str, Iterator[object]]) -> dict[str, float]:
    """Seconds that each takes, a portion of each in turn: the machine's moods meet all alike."""
    taken = dict.fromkeys(ways, 0.0)
    runs: dict[str, list[object]] = {name: [] for name in ways}
    order = list(ways)
    while order:
        for name in list(order):
            start = time.perf_counter()
            made = list(islice(ways[name], PORTION))
            runs[name] += made  # as map does
            taken[name] += time.perf_counter() - start
            if not made:
                order.remove(name)
        order.reverse()
    return taken


def to_map(folder: Path) -> dict[str, object]:
    """The three beside each other, in new folders each time; the first time warms up."""
    configs = [{"by": by} for _ in range(REPLICATES) for by in (0, 1, 2)]
    rounds = [one_round(folder / str(number), configs) for number in range(1 + ROUNDS)][1:]
    seeding = seconds(lambda: [seed_generators(seed) for seed in range(len(configs))])
    ratios = sorted(one["study"] / one["map"] for one in rounds)
    return {
        "map_us": round(statistics.median(one["map"] for one in rounds) / len(configs) * 1e6, 1),
        "study_to_map": round(statistics.median(ratios), 2),
        "from_to": [round(ratios[0], 2), round(ratios[-1], 2)],
        "study_to_map_that_seeds": round(
            statistics.median(one["study"] / one["seeded"] for one in rounds), 2
        ),
        "seeding_us": round(seeding / len(configs) * 1e6, 1),
    }


def one_round(folder: Path, configs: list[dict[str, int]]) -> dict[str, float]:
    recorded = experiment(root=folder / "map")(trivial)
    seeded = recorded.with_(root=folder / "seeded", callbacks=[Seed()])
    studied = study_of(experiment(root=folder / "study")(trivial), REPLICATES)
    recorded(), seeded(), studied.apply()  # what is written once
    start = time.perf_counter()
    runs = studied.stream()  # checks the study
    checking = time.perf_counter() - start
    ways = {"map": recorded.imap(configs), "seeded": seeded.imap(configs), "study": runs}
    taken = in_turns(ways)
    return {**taken, "study": taken["study"] + checking}


def curve(folder: Path, python: str | None) -> list[dict[str, object]]:
    """Milliseconds a run, of both, by the number of replicates."""
    counts = [10, 30, 100, 300]
    recorded = experiment(root=folder / "curve")(trivial)
    ours = [seconds(study_of(recorded, n).run) / (3 * n) for n in counts]
    rows: list[dict[str, object]] = [
        {"replicates": n, "ours_ms": round(1000 * s, 3)} for n, s in zip(counts, ours, strict=True)
    ]
    if python is not None:
        (folder / "theirs.py").write_text(CRYSTALLIZE)  # it looks at its source
        told = subprocess.run(
            [python, "-W", "ignore", "theirs.py", str(folder / "theirs"), *map(str, counts)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        lines = [line.split() for line in told.stdout.splitlines() if line.startswith("took")]
        for row, (_, theirs) in zip(rows, lines, strict=True):
            row["crystallize_ms"] = round(1000 * float(theirs), 3)
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(to_map(Path(name))))
        for row in curve(Path(name), sys.argv[1] if len(sys.argv) > 1 else None):
            print(json.dumps(row))
