"""Run with digital-experiments 2.0.4 installed: makes small stores."""

import collections
import shutil
import sys
from pathlib import Path

import numpy as np

from digital_experiments import current_dir, experiment, time_block

out = Path(sys.argv[1])
for backend in ("pickle", "json", "yaml"):
    root = out / backend
    shutil.rmtree(root, ignore_errors=True)

    @experiment(root=root, backend=backend)
    def scale(a, b=2, *rest, **options):
        # a comment that 2.x took for code
        with time_block("work"):
            (current_dir() / "note.txt").write_text("kept")
        return {"product": a * b}

    scale(1)
    scale(2, 5)
    scale(3, 1, 7, flag=True)
root = out / "objects"
shutil.rmtree(root, ignore_errors=True)


@experiment(root=root)
def measure(n, weights=None):
    return {
        "mean": np.float64(n) / 2,
        "array": np.arange(n),
        "counts": collections.OrderedDict(a=1),
    }


measure(3)
measure(4, weights=np.ones(2))
root = out / "yaml-objects"
shutil.rmtree(root, ignore_errors=True)


@experiment(root=root, backend="yaml")
def pair(n):
    return (n, {"z": 1 + 2j})


pair(1)
