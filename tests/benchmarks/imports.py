"""What ``import digital_experiments`` adds to starting Python.

Run ``python tests/benchmarks/imports.py``. Bar: at most 40 ms.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time


def seconds(code: str) -> float:
    start = time.perf_counter()
    with_bytecode = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=with_bytecode)
    return time.perf_counter() - start


if __name__ == "__main__":
    seconds("import digital_experiments")
    bare, imported = [], []
    for _ in range(15):
        bare.append(seconds("pass"))
        imported.append(seconds("import digital_experiments"))
    added = 1000 * (statistics.median(imported) - statistics.median(bare))
    python = 1000 * statistics.median(bare)
    print(json.dumps({"bare_ms": round(python, 1), "import_adds_ms": round(added, 1)}))
