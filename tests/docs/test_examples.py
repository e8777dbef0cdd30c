"""What the README, the docs and the docstrings show runs as shown."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shutil
from pathlib import Path

import pytest

import digital_experiments

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
MODULES = [
    m.name for m in pkgutil.walk_packages(digital_experiments.__path__, "digital_experiments.")
]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


CLUSTERS = {"dask": "distributed", "ray": "ray", "slurm": "submitit"}


@pytest.fixture
def clusters() -> None:
    """Dask, Ray and Slurm, for the page that shows them."""
    if not os.environ.get("DE_CI"):  # there a missing part is a failure
        for library in CLUSTERS.values():
            pytest.importorskip(library, reason=f"{library} is not installed")
        if shutil.which("sinfo") is None:
            pytest.skip("there is no Slurm")


@pytest.mark.usefixtures("clusters")
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore:Port 8787:UserWarning"
)
def test_the_code_of_the_page_on_clusters_runs(folder: Path) -> None:
    run_page(ROOT / "docs" / "cluster.md", folder, "__main__")


PAGES = [page for page in PAGES if page.name != "cluster.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_code_of_a_page_runs_from_top_to_bottom(page: Path, folder: Path) -> None:
    run_page(page, folder)


def run_page(page: Path, folder: Path, name: str = "page") -> None:
    script = folder / "page.py"  # from a file, so that functions have a source
    script.write_text("\n".join(python_blocks(page)))
    exec(compile(script.read_text(), str(script), "exec"), {"__name__": name})


@pytest.mark.parametrize("name", ["digital_experiments", *MODULES])
def test_the_examples_of_docstrings_give_what_they_show(name: str) -> None:
    pytest.importorskip("scipy", reason="RandomSearch's example draws from scipy.stats")
    pytest.importorskip(CLUSTERS.get(name.rpartition(".")[2], "pytest"))
    assert doctest.testmod(importlib.import_module(name)).failed == 0
