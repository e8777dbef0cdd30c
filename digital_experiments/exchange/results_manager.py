"""Registries of experiment-results-manager: a folder an experiment, variant and run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from digital_experiments.digest import short_hash
from digital_experiments.errors import DamagedWarning
from digital_experiments.exchange.arriving import Arrival, Reader, plain_value
from digital_experiments.faults import warn_user
from digital_experiments.logged import DICTS, FIGURES, PLOTLY
from digital_experiments.remote import Place
from digital_experiments.remote.opening import (
    bucket_of,
    copies_folder,
    fetched_all,
    known_stores,
)

MARK = ".erm_registry.json"
_RUN = "erm_metadata.json"


def is_registry(place: Path) -> bool:
    """Whether a folder is such a registry."""
    return (place / MARK).is_file()


def is_of_results_manager(place: Path | Place) -> bool:
    """Whether a folder, or a place on a bucket, is such a registry."""
    if isinstance(place, Path):
        return is_registry(place)
    return not known_stores(place) and MARK in bucket_of(place).here("")[0]


def brought_over(place: Path | Place) -> Path:
    """A folder of stores that hold its runs, kept on this machine and brought up to date."""
    from digital_experiments.exchange.sources import import_runs

    key = place.key if isinstance(place, Place) else str(place.resolve())
    folder = f"{copies_folder()}/erm-{short_hash(key.encode())[:12]}"
    source = place if isinstance(place, Path) else Path(fetched_all(place, f"{folder}/source"))
    found = import_runs(source, f"{folder}/stores", "erm")
    if found.problems:
        warn_user("Not brought over: " + "; ".join(found.problems[:10]), DamagedWarning)
    return Path(folder, "stores")


def read(place: Path) -> Iterator[Reader]:
    """The runs in a registry."""
    for path in sorted(place.rglob(_RUN)):
        yield str(path), partial(_arrival, path, place)


def _arrival(path: Path, place: Path) -> Arrival:
    facts: dict[str, Any] = json.loads(path.read_bytes())
    start = datetime.fromisoformat(facts["timestamp_utc"])
    if start.tzinfo is None:
        start = start.replace(tzinfo=UTC)
    moment = start.timestamp()
    numbers = {key: plain_value(value) for key, value in facts.get("metrics", {}).items()}
    points = [(k, 0, v, moment) for k, v in numbers.items() if isinstance(v, (int, float))]
    texts = {key: value for key, value in numbers.items() if not isinstance(value, (int, float))}
    dicts = {
        name: {key: plain_value(value) for key, value in values.items()}
        for name, values in facts.get("dicts", {}).items()
    }
    files: list[tuple[str, Path | bytes]] = [
        (f"{DICTS}/{name}.json", json.dumps(values, indent=2).encode())
        for name, values in dicts.items()
    ]
    artifacts = facts.get("artifacts", {}).values()
    files.extend(_file(artifact, path.parent / "artifacts") for artifact in artifacts)
    metadata: dict[str, Any] = {"variant": facts["variant_id"]}
    if texts:
        metadata["params"] = texts
    return Arrival(
        "experiment-results-manager",
        path.parent.relative_to(place).as_posix(),
        facts["experiment_id"],
        moment,
        moment,
        config={key: plain_value(value) for key, value in facts.get("params", {}).items()},
        points=points,
        files=files,
        metadata=metadata,
    )


def _file(artifact: dict[str, str], folder: Path) -> tuple[str, Path]:
    name = artifact["filename"]
    source = folder / name
    if not source.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} points outside of the run in {str(folder)!r}.")
    pictured = name.lower().endswith((PLOTLY, ".png"))
    return (f"{FIGURES}/{name}" if pictured else name), source
