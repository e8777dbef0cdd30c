"""Imports go to the same or a lower floor, never up; floors are drawn in the architecture page."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import digital_experiments

PACKAGE = Path(digital_experiments.__file__).parent
FLOORS = [
    {"errors", "ids", "files", "followed", "forks", "locks", "memory"},
    {
        *("views", "values", "digest", "source", "fingerprint", "config"),
        *("columns", "where", "selection", "observation", "observations"),
        *(
            "card",
            "charts",
            "facts",
            "faults",
            "logged",
            "plots",
            "rows",
            "pictures",
            "series",
            "tables",
            "importance",
            "provenance",
            "pages",
        ),
    },
    {"store", "backends", "remote", "upkeep"},
    {
        "assigned",
        "executors",
        "run",
        "callbacks",
        "generators",
        "caching",
        "heart",
        "inside",
        "log",
        "recorder",
        "retention",
        "shown",
        "steplog",
    },
    {
        "experiment",
        "many",
        "options",
        "pipelines",
        "resources",
        "start",
        "stepcache",
        "steps",
        "stored",
        "stores",
        "storekeeping",
        "targets",
    },
    {"controllers"},
    {"study"},
    {"exchange", "reports", "registry", "reproduce", "variants"},
    {"cli", "dashboard", "__main__"},
]
DRAWN = {
    ("ids", "errors"),
    ("files", "errors"),
    ("locks", "files"),
    ("files", "followed"),
    ("values", "views"),
    ("digest", "views"),
    ("fingerprint", "digest"),
    ("fingerprint", "source"),
    ("fingerprint", "views"),
    ("config", "digest"),
    ("config", "fingerprint"),
    ("config", "values"),
    ("config", "views"),
    ("observation", "values"),
    ("observation", "views"),
    ("observations", "observation"),
    ("observations", "config"),
    ("observations", "values"),
    ("observations", "views"),
    ("observations", "columns"),
    ("columns", "values"),
    ("columns", "views"),
    ("selection", "values"),
    ("selection", "views"),
    ("selection", "where"),
    ("backends", "store"),
    ("callbacks", "inside"),
    ("__main__", "cli"),
    ("card", "charts"),
    ("card", "facts"),
    ("card", "observation"),
    ("card", "series"),
    ("card", "views"),
    ("provenance", "facts"),
    ("provenance", "views"),
    ("observation", "provenance"),
    ("run", "steplog"),
    ("steps", "options"),
    ("steps", "stepcache"),
    ("resources", "options"),
    ("pipelines", "experiment"),
    ("pipelines", "steps"),
    ("facts", "digest"),
    ("importance", "charts"),
    ("importance", "config"),
    ("importance", "observation"),
    ("importance", "rows"),
    ("observations", "importance"),
    ("facts", "observation"),
    ("facts", "rows"),
    ("facts", "values"),
    ("facts", "views"),
    ("observation", "card"),
    ("observations", "charts"),
    ("observations", "plots"),
    ("observations", "rows"),
    ("plots", "charts"),
    ("plots", "observation"),
    ("plots", "rows"),
    ("plots", "series"),
    ("plots", "views"),
    ("rows", "columns"),
    ("rows", "observation"),
    ("rows", "values"),
    ("callbacks", "run"),
    ("faults", "views"),
    ("inside", "run"),
    ("log", "heart"),
    ("observation", "logged"),
    ("logged", "series"),
    ("logged", "tables"),
    ("pictures", "views"),
    ("series", "views"),
    ("run", "heart"),
    ("run", "log"),
    ("run", "recorder"),
    ("run", "shown"),
    ("run", "retention"),
    ("recorder", "retention"),
    ("experiment", "retention"),
    ("targets", "experiment"),
    ("shown", "heart"),
    ("shown", "recorder"),
    ("assigned", "run"),
    ("generators", "run"),
    ("caching", "run"),
    ("many", "options"),
    ("experiment", "many"),
    ("experiment", "options"),
    ("experiment", "stored"),
    ("start", "options"),
    ("stored", "storekeeping"),
    ("storekeeping", "stores"),
    ("stores", "stored"),
    ("upkeep", "store"),
    ("remote", "store"),
    ("remote", "upkeep"),
    ("registry", "exchange"),
    ("registry", "variants"),
}
FREE = {"testing", "__init__"}
LIGHT = ["pandas", "numpy", "git", "psutil", "yaml", "cloudpickle", "sqlite3", "asyncio"]
PUBLIC = {
    *("Backend", "Callback", "DigitalExperimentsError", "DigitalExperimentsWarning"),
    *("Experiment", "Observation", "Observations", "Run", "StoredExperiment", "open_experiment"),
    *("log_artefact", "log_artifact", "log_dict", "log_features", "log_figure", "log_image"),
    *("log_metric", "log_metrics", "log_param", "log_params", "log_table", "log_text"),
    *("current_dir", "current_id", "current_run", "experiment", "register_backend"),
    *("Difference", "Report", "compare", "diff", "start_run", "time_block"),
    *("pipeline", "resource", "step"),
    *("Hypothesis", "Outcome", "Registry", "Retention", "Study", "Treatment"),
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a module imports from, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "digital_experiments":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "digital_experiments" and len(parts) > 1:
                found.add(parts[1])
    return found


MODULES = [p for p in sorted(PACKAGE.rglob("*.py")) if room(p) not in FREE]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_own_or_a_lower_floor(path: Path) -> None:
    here = room(path)
    for other in imported_rooms(path) - {here}:
        if other not in FLOOR:  # a public name, handed on by the package
            assert other in PUBLIC, f"{path.name} imports from {other}, which is on no floor"
            assert FLOOR[here] >= FLOOR["controllers"], f"{here} imports from the package itself"
            continue
        assert FLOOR[other] <= FLOOR[here], f"{here} (F{FLOOR[here]}) imports {other}, above it"
        if FLOOR[other] == FLOOR[here]:
            assert (here, other) in DRAWN, f"no arrow is drawn from {here} to {other}"


def test_the_public_names_are_these() -> None:
    assert set(digital_experiments.__all__) == PUBLIC
    assert all(hasattr(digital_experiments, name) for name in PUBLIC)


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, digital_experiments; print([m for m in {LIGHT!r} if m in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_the_top_level_holds_the_usual_only() -> None:
    top = PACKAGE.parent
    git = subprocess.run(["git", "ls-files"], cwd=top, capture_output=True, text=True, check=False)
    if git.returncode:
        pytest.skip("not a clone")
    names = {name.partition("/")[0] for name in git.stdout.splitlines()}
    folders = {"digital_experiments", "tests", "docs", "notebooks", ".ci"}
    files = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
    assert names <= {*folders, *files, ".gitignore"}
