"""What a cached result costs among 100 and among 10,000 recorded ones.

Run ``python tests/benchmarks/cache_hit.py``. Bar: at most 1.4 yardsticks, and flat.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from time import perf_counter_ns

from yardstick import Yardstick, alternating, make_repository, median

from digital_experiments import experiment


def square(x: int) -> int:
    return x * x


def measure(stored: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        make_repository(Path(name))
        recorded = experiment(root=Path(name, "store"), cache=True)(square)
        for x in range(stored):
            recorded(x)
        fresh = experiment(root=Path(name, "store"), cache=True)(square)
        start = perf_counter_ns()
        fresh(0)
        first = (perf_counter_ns() - start) / 1e6
        yardstick = Yardstick(Path(name))
        rng = random.Random(1)
        times = alternating(lambda _: fresh(rng.randrange(stored)), yardstick, 2000)
        assert len(list(Path(name, "store").glob("*.pkl"))) == stored
    return {
        "stored": stored,
        "first_hit_ms": round(first, 2),
        "hit_us": round(median(times), 1),
        "yardstick_us": round(median(yardstick.times), 1),
        "ratio": round(median(times) / median(yardstick.times), 2),
    }


if __name__ == "__main__":
    for stored in (100, 10_000):
        print(json.dumps(measure(stored)), flush=True)
