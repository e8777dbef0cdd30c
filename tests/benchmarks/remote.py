"""Stores on a bucket beside the bare client, on a real server of S3 (SeaweedFS) on this machine.

    python tests/benchmarks/remote.py [RUNS] [LISTED] [PULLED]

Prints JSON: ``write`` is the time of so many small runs by 8 threads, over that of as many bare
puts of the same bytes by the same client, and over that of puts that only create, as ours are;
``list`` that of a list with a warm index over one bare
listing; ``pull`` how many times as fast it is to pull runs with four files each as to get the same
objects one after another: by fsspec, as registries without this package do, and by the same client.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import s3fs

sys.path.insert(0, str(Path(__file__).parent.parent / "remote"))
from s3_server import BUCKET, Server

from digital_experiments import Registry, current_dir, experiment, followed, open_experiment
from digital_experiments.remote import copies

FILES = 4
ROUNDS = 15


def bucket(prefix: str) -> Any:
    from obstore.store import from_url

    return from_url(f"s3://{BUCKET}/{prefix}", client_options={"allow_http": True})


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def write(runs: int, rounds: int = 20) -> dict[str, float]:
    """Small runs by 8 threads, and bare puts of the same bytes; they take turns."""

    @experiment(root=f"s3://{BUCKET}/{uuid4().hex}/square")
    def square(x: int) -> int:
        return x * x

    square(0)
    name = f"{square.observations()[0].id}.pkl"
    record = (Path(square.root) / name).read_bytes()
    store = bucket(uuid4().hex)
    ways: dict[str, Callable[[int], object]] = {
        "bare": lambda _: store.put(uuid4().hex, record),
        "create": lambda _: store.put(uuid4().hex, record, mode="create"),
        "ours": square,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(8) as pool:
        for _ in range(rounds):
            for name, way in ways.items():
                numbers = range(runs // 4)
                taken[name].append(timed(lambda w=way, n=numbers: list(pool.map(w, n))))
    whole = {name: sum(times) for name, times in taken.items()}
    return {
        **{f"{name}_s": 4 * statistics.median(times) for name, times in taken.items()},
        "ratio": whole["ours"] / whole["bare"],
        "ratio_to_create": whole["ours"] / whole["create"],
    }


def listing(count: int) -> dict[str, float]:
    """A list with a warm index, and a bare listing."""
    name = uuid4().hex

    @experiment(root=f"s3://{BUCKET}/{name}/square")
    def square(x: int) -> int:
        return x * x

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(square, range(count)))
    assert len(square.observations()) == count
    store = bucket(f"{name}/square")
    ours, bare = [], []
    for _ in range(ROUNDS):
        bare.append(timed(lambda: sum(map(len, store.list()))))
        ours.append(timed(square.observations))
    ours_s, bare_s = statistics.median(ours), statistics.median(bare)
    return {"ours_s": ours_s, "bare_s": bare_s, "ratio": ours_s / bare_s}


def pull(runs: int) -> dict[str, float]:
    """Runs with files, pulled by a machine that has none of them."""
    name = uuid4().hex

    @experiment(root=f"s3://{BUCKET}/{name}/train")
    def train(x: int) -> int:
        for n in range(FILES):
            (current_dir() / f"file-{n}").write_bytes(os.urandom(2000))
        return x

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(train, range(runs)))
    store = bucket(f"{name}/train")
    names = [entry["path"] for chunk in store.list() for entry in chunk]

    def one_by_one(get: Callable[[str, Path], object]) -> float:
        target = Path(tempfile.mkdtemp())
        for folder in {(target / path).parent for path in names}:
            folder.mkdir(parents=True, exist_ok=True)
        return timed(lambda: [get(path, target / path) for path in names])

    s3 = s3fs.S3FileSystem()
    fsspec_s = one_by_one(lambda path, to: s3.get_file(f"{BUCKET}/{name}/train/{path}", str(to)))
    client_s = one_by_one(lambda path, to: to.write_bytes(store.get(path).bytes()))
    copies._copies.clear()
    followed.followers.clear()
    os.environ["DE_DATA_DIR"] = tempfile.mkdtemp()
    target = tempfile.mkdtemp()
    ours = timed(lambda: Registry(f"s3://{BUCKET}/{name}").pull(into=target))
    assert len(open_experiment(f"{target}/train").observations()) == runs
    return {
        "ours_s": ours,
        "fsspec_s": fsspec_s,
        "client_s": client_s,
        "times_as_fast": fsspec_s / ours,
        "times_as_fast_as_the_client": client_s / ours,
    }


def main(runs: int = 1000, listed: int = 10_000, pulled: int = 1000) -> None:
    """Print the three, each as one line of JSON."""
    os.chdir(tempfile.mkdtemp())
    os.environ["DE_DATA_DIR"] = tempfile.mkdtemp()
    os.environ["DE_CACHE_DIR"] = tempfile.mkdtemp()
    server = Server(Path(tempfile.mkdtemp()) / "data")
    server.start()
    os.environ.update(server.environment)
    try:
        for name, measure, count in (
            ("write", write, runs),
            ("list", listing, listed),
            ("pull", pull, pulled),
        ):
            figures = {key: round(value, 3) for key, value in measure(count).items()}
            print(json.dumps({name: figures, "runs": count}), flush=True)
    finally:
        server.kill()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
