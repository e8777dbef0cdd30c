"""Stores of MLflow: folders of small files, or an SQLite database. MLflow is not needed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from digital_experiments.exchange.arriving import Arrival, NotBrought, Reader, plain_value
from digital_experiments.series import Point, as_number

_STATUS = {
    3: "completed",
    4: "failed",
    5: "interrupted",
    "FINISHED": "completed",
    "FAILED": "failed",
    "KILLED": "interrupted",
}
_RUNNING = (1, 2, "RUNNING", "SCHEDULED")
_META = "meta.yaml"
_HIDDEN = ("mlflow.log-model.history", "mlflow.loggedArtifacts")


def is_folder(place: Path) -> bool:
    """Whether a folder is a file store, such as ``mlruns``."""
    return any((inside / _META).is_file() for inside in _folders(place))


def is_database(place: Path) -> bool:
    """Whether a file is an SQLite database of MLflow's."""
    if not place.is_file():
        return False
    with open(place, "rb") as file:
        if file.read(15) != b"SQLite format 3":
            return False
    names: set[str] = set()
    with suppress(sqlite3.DatabaseError), closing(_open(place)) as database:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        names = {name for (name,) in database.execute(query)}
    return {"experiments", "runs", "metrics", "params", "tags"} <= names


def read_folder(place: Path) -> Iterator[Reader]:
    """The runs in a file store; those that were deleted are left."""
    for folder in _folders(place):
        if (folder / _META).is_file() and not _is_deleted(folder):
            for run in _folders(folder):
                if (run / _META).is_file() and not _is_deleted(run):
                    yield str(run), partial(_of_folder, run)


def _is_deleted(folder: Path) -> bool:
    with suppress(ValueError):
        return bool(_facts(folder).get("lifecycle_stage") == "deleted")
    return False


def _facts(folder: Path) -> dict[str, Any]:
    import yaml

    path = folder / _META
    try:
        facts = yaml.safe_load(_text(path))
    except yaml.YAMLError as problem:
        raise NotBrought(f"{path} is no YAML: {problem}") from problem
    if not isinstance(facts, dict):
        raise NotBrought(f"{path} is empty, or no file of MLflow's.")
    return facts


def _of_folder(run: Path) -> Arrival:
    facts, experiment = _facts(run), str(_facts(run.parent).get("name"))
    points = []
    for name, text in _files(run / "metrics"):
        for line in text.splitlines():
            time, value, *step = line.split(" ")
            points.append(_point(name, int(step[0]) if step else 0, float(value), int(time)))
    return _arrival(
        str(facts.get("run_id") or run.name),
        experiment,
        facts,
        dict(_files(run / "params")),
        dict(_files(run / "tags")),
        points,
        _local(facts.get("artifact_uri"), run / "artifacts"),
    )


def read_database(place: Path) -> Iterator[Reader]:
    """The runs in a database; those that were deleted are left."""
    with closing(_open(place)) as database:
        database.row_factory = sqlite3.Row
        try:
            runs = database.execute(
                "SELECT runs.*, experiments.name AS experiment FROM runs JOIN experiments USING "
                "(experiment_id) WHERE runs.lifecycle_stage = 'active' ORDER BY start_time"
            ).fetchall()
        except sqlite3.Error as problem:
            raise ValueError(f"{str(place)!r} can't be read: {problem}.") from problem
        for run in runs:
            yield str(run["run_uuid"]), partial(_of_database, place, database, dict(run))


def _of_database(place: Path, database: sqlite3.Connection, run: dict[str, Any]) -> Arrival:
    uuid = run["run_uuid"]
    params, tags = (_pairs(database, table, uuid) for table in ("params", "tags"))
    rows = database.execute(
        "SELECT key, step, value, is_nan, timestamp FROM metrics WHERE run_uuid = ? "
        "ORDER BY timestamp, step",
        (uuid,),
    )
    points = [
        _point(key, step, float("nan") if is_nan else value, time)
        for key, step, value, is_nan, time in rows
    ]
    local = _local(run["artifact_uri"], place.parent / "mlruns" / str(run["experiment_id"]) / uuid)
    return _arrival(uuid, run["experiment"], run, params, tags, points, local)


def _pairs(database: sqlite3.Connection, table: str, run: str) -> dict[str, str]:
    query = f"SELECT key, value FROM {table} WHERE run_uuid = ?"
    return dict(tuple(row) for row in database.execute(query, (run,)))


def _arrival(
    run: str,
    experiment: str,
    facts: Mapping[str, Any],
    params: Mapping[str, str],
    tags: Mapping[str, str],
    points: list[Point],
    artifacts: Path | None,
) -> Arrival:
    if facts.get("status") in _RUNNING:
        raise NotBrought("it is still running. Import it again when it has ended.")
    start = float(facts.get("start_time") or 0) / 1000
    end = float(facts.get("end_time") or facts.get("start_time") or 0) / 1000
    metadata: dict[str, Any] = {
        "mlflow": {
            "name": facts.get("run_name") or facts.get("name") or tags.get("mlflow.runName"),
            "user": facts.get("user_id"),
            "tags": {key: value for key, value in tags.items() if key not in _HIDDEN},
        }
    }
    commit = tags.get("mlflow.source.git.commit")
    if commit:
        metadata["environment"] = {"git": {"commit": commit}}
    inside = sorted(artifacts.iterdir()) if artifacts is not None and artifacts.is_dir() else []
    return Arrival(
        "mlflow",
        run,
        experiment,
        start,
        max(start, end),
        _STATUS.get(facts.get("status"), "interrupted"),
        config={key: plain_value(value) for key, value in params.items()},
        points=sorted(points, key=lambda point: point[3]),
        files=[(path.name, path) for path in inside],
        metadata=metadata,
    )


def _point(key: str, step: int, value: float, milliseconds: int) -> Point:
    return key, step, as_number(value, key), milliseconds / 1000


def _local(uri: object, default: Path) -> Path | None:
    """Where the artifacts of a run are on this machine, if they are."""
    parts = urlparse(str(uri or ""))
    named = Path(unquote(parts.path)) if parts.scheme in ("", "file") and parts.path else default
    places = (named, default / "artifacts", default)
    return next((path for path in places if path.is_dir()), None)


def _open(place: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)


def _folders(place: Path) -> Iterable[Path]:
    if not place.is_dir():
        return []
    return [path for path in sorted(place.iterdir()) if path.is_dir() and path.name[0] != "."]


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Names below a folder, and the texts in them."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), _text(path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
