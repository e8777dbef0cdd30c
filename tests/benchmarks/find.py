"""Reading many observations: into a table, the newest of them, those with a property.

Run ``python tests/benchmarks/find.py 100000``. Bars at 100,000: a table by a warm index at most
8 x ``pandas.read_parquet`` of the same frame, in at most 300 MB; without an index at most 1.5 x
opening and reading every file (kept where these are not in memory; where they are, the work on
their content shows); the newest 20 after one more run at most 50 ms, of which most is
``os.listdir``, and 250 ms as a fresh ``ls``; ``where`` at most 100 ms.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from digital_experiments import experiment, open_experiment

REPEATS = 5


def train(
    lr: float,
    epochs: int,
    seed: int,
    optimiser: str,
    dropout: float,
    width: int,
    depth: int,
    augment: bool,
) -> dict[str, float]:
    return {"accuracy": 1 - lr / 2, "loss": lr * epochs, "steps": epochs * 100}


def generate(folder: Path, count: int) -> None:
    recorded = experiment(root=folder)(train)
    rng = random.Random(1)
    for i in range(count):
        words = rng.choice(["adam", "sgd"])
        recorded(rng.random(), i % 50, i, words, rng.random(), 2 ** (i % 8), i % 5, i % 2 == 0)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_a_fresh_process(what: str, folder: Path) -> dict[str, float]:
    """What a process finds that has not recorded the runs; no way to read counts an import."""
    command = [sys.executable, __file__, "--measure", what, str(folder)]
    seen = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(seen.stdout)
    return found


def measure(what: str, folder: Path) -> dict[str, float]:
    if what == "listing":
        return listing(folder)
    import pandas

    def read_every_file() -> None:
        for name in os.listdir(folder):
            if name.endswith(".pkl"):
                with open(os.path.join(folder, name), "rb") as file:
                    file.read()

    work = {
        "table": lambda: open_experiment(folder).to_dataframe(),
        "parquet": lambda: pandas.read_parquet(f"{folder}.parquet"),
        "files": read_every_file,
    }[what]
    taken = seconds(work)
    with open("/proc/self/status") as status:
        (peak,) = (int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))
    return {"seconds": taken, "peak_mb": peak}


def median_of(what: str, folder: Path) -> float:
    return statistics.median(in_a_fresh_process(what, folder)["seconds"] for _ in range(REPEATS))


def listing(folder: Path) -> dict[str, float]:
    """The newest 20 after one more run, in this process and as a command."""
    store = open_experiment(folder)
    one_more = experiment(root=folder)(train)
    warm, bare, command, python = [], [], [], []
    store.observations(limit=20, newest_first=True)
    for i in range(REPEATS):
        one_more(0.5, i, i, "adam", 0.5, 1, 1, True)
        warm.append(seconds(lambda: store.observations(limit=20, newest_first=True)))
        bare.append(seconds(lambda: os.listdir(folder)))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    run = "from digital_experiments.cli import main; main()"
    for i in range(REPEATS + 1):
        one_more(0.5, i, i, "adam", 0.5, 1, 1, True)
        for words, times in ((["-c", run, "ls", str(folder)], command), (["-c", ""], python)):
            job = [sys.executable, *words]
            times.append(
                seconds(lambda: subprocess.run(job, env=environment, capture_output=True))  # noqa: B023
            )
    return {
        "newest_20_ms": round(1000 * statistics.median(warm), 1),
        "listdir_ms": round(1000 * statistics.median(bare), 1),
        "ls_command_ms": round(1000 * statistics.median(command[1:]), 1),
        "bare_python_ms": round(1000 * statistics.median(python[1:]), 1),
    }


def selecting(folder: Path) -> dict[str, object]:
    store = open_experiment(folder)
    store.observations(limit=1)
    time.sleep(2.5)  # until the folder's time stamps tell of every change
    store.observations(limit=1)
    times = [seconds(lambda: store.observations(where="config.lr < 0.01")) for _ in range(REPEATS)]
    return {"where_ms": round(1000 * statistics.median(times), 1)}


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.environ["DE_CACHE_DIR"] = f"{name}/cache"
        folder = Path(name, "store")
        taken = seconds(lambda: generate(folder, count))
        print(json.dumps({"observations": count, "recorded_s": round(taken, 1)}), flush=True)
        time.sleep(2.5)

        def forget() -> None:
            shutil.rmtree(f"{name}/cache", ignore_errors=True)

        taken_cold: list[float] = []
        taken_files: list[float] = []
        for _ in range(2 * REPEATS):  # in turn: the disk's moods meet both
            taken_files.append(in_a_fresh_process("files", folder)["seconds"])
            forget()
            taken_cold.append(in_a_fresh_process("table", folder)["seconds"])
        files, cold = statistics.median(taken_files), statistics.median(taken_cold)
        warm = median_of("table", folder)
        found: dict[str, object] = {
            "cold_s": round(cold, 3),
            "read_every_file_s": round(files, 3),
            "cold_ratio": round(cold / files, 2),
            "warm_s": round(warm, 3),
            "warm_peak_mb": in_a_fresh_process("table", folder)["peak_mb"],
        }
        try:
            open_experiment(folder).to_dataframe().to_parquet(f"{folder}.parquet")
            parquet = median_of("parquet", folder)
            found.update(parquet_s=round(parquet, 3), warm_ratio=round(warm / parquet, 2))
        except ImportError:
            found["parquet_s"] = None  # pandas needs pyarrow for it
        print(json.dumps(found), flush=True)
        print(json.dumps(selecting(folder)), flush=True)
        print(json.dumps(in_a_fresh_process("listing", folder)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
