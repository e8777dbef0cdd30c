"""What the README, the docs and the docstrings show runs as shown."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
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


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_code_of_a_page_runs_from_top_to_bottom(page: Path, folder: Path) -> None:
    script = folder / "page.py"  # from a file, so that functions have a source
    script.write_text("\n".join(python_blocks(page)))
    exec(compile(script.read_text(), str(script), "exec"), {"__name__": "page"})


@pytest.mark.parametrize("name", ["digital_experiments", *MODULES])
def test_the_examples_of_docstrings_give_what_they_show(name: str) -> None:
    pytest.importorskip("scipy", reason="RandomSearch's example draws from scipy.stats")
    assert doctest.testmod(importlib.import_module(name)).failed == 0
