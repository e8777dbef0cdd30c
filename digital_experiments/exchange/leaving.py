"""Observations handed on: as a table, or to MLflow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digital_experiments.errors import did_you_mean
from digital_experiments.files import save
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.views import for_json, printable, short_repr

if TYPE_CHECKING:
    from mlflow import MlflowClient

FORMATS = ("csv", "parquet", "json", "mlflow")
_BATCH = 1000  # points that MLflow takes at once
_PARAMS = 100
_NAME = 240  # characters
_MARK = "digital_experiments.id"
_LONGEST = 6000  # characters of a parameter of MLflow's
_DATABASES = (".db", ".sqlite", ".sqlite3")
_UNFIT = re.compile(r"[^\w\-. :/]")  # in names of MLflow's
_STATUS = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


def export(
    observations: Sequence[Observation], to: str, path: str | os.PathLike[str]
) -> Path | str:
    """Hand observations on to other programs.

    Parameters
    ----------
    observations : list of Observation
        Which.
    to : {"csv", "parquet", "json", "mlflow"}
        A table with metadata, or a list of objects, or runs of MLflow.
    path : path or str
        The file; of MLflow the tracking URI, or the path of an SQLite database.

    Returns
    -------
    pathlib.Path or str
        The file, or the tracking URI.

    Raises
    ------
    ValueError
        For another format.
    ModuleNotFoundError
        If pyarrow (for parquet) or mlflow is missing.
    """
    if to not in FORMATS:
        raise ValueError(f"There is no format {to!r}. {did_you_mean(to, FORMATS)}")
    if to == "mlflow":
        return _to_mlflow(observations, str(path))
    if to == "json":
        return save(path, json.dumps([_plain(o) for o in observations], indent=2).encode())
    return save(path, _table(observations, to))


def _table(observations: Sequence[Observation], to: str) -> bytes:
    from io import BytesIO

    frame = Observations(observations).to_dataframe(include_metadata=True)
    if to == "csv":
        text: str = frame.to_csv(index=False)
        return text.encode(errors="backslashreplace")
    for name in frame.columns:  # of mixed values parquet has none
        if frame[name].dtype == object:
            frame[name] = frame[name].map(lambda v: v if v is None else short_repr(v, 1000))
    buffer = BytesIO()
    try:
        frame.to_parquet(buffer, index=False)
    except ImportError as problem:
        raise ModuleNotFoundError(
            "Parquet is written by pyarrow: pip install pyarrow."
        ) from problem
    return buffer.getvalue()


def _plain(observation: Observation) -> dict[str, Any]:
    parts = {part: observation.shown(part) for part in ("config", "result")}
    found: dict[str, Any] = for_json(
        {"id": observation.id, **parts, "metadata": observation.metadata}
    )
    return found


def _to_mlflow(observations: Sequence[Observation], uri: str) -> str:
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(
            "Install mlflow to export to it: pip install mlflow."
        ) from problem
    uri = _tracking_uri(uri)
    client = MlflowClient(tracking_uri=uri)
    for observation in observations:
        if observation.status == "running":
            raise ValueError(f"Run {observation.id} is still running: export it when it has ended.")
    for observation in observations:
        try:
            _send(client, observation)
        except MlflowException as problem:
            raise ValueError(f"MLflow does not take run {observation.id}: {problem}") from problem
    return uri


def _tracking_uri(place: str) -> str:
    if "://" in place or place.startswith(("databricks", "uc:")):
        return place
    if not place.endswith(_DATABASES):
        raise ValueError(
            f"MLflow takes a tracking URI such as http://localhost:5000, or the path of an "
            f"SQLite database, which ends in .db: not {place!r}."
        )
    return f"sqlite:///{Path(place).expanduser().absolute()}"


def _send(client: MlflowClient, observation: Observation) -> None:
    """Make one run of MLflow, unless it is there; none stays behind half-made."""
    name = str(observation.facts.get("experiment", "digital_experiments"))
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    if client.search_runs([experiment], f"tags.`{_MARK}` = '{observation.id}'"):
        return
    timing = observation.facts.get("timing", {})
    total = timing.get("total", timing)
    start, end = (_milliseconds(total.get(name)) for name in ("start", "end"))
    run = client.create_run(
        experiment, start_time=start, tags=_tags(observation), run_name=observation.id
    )
    id = run.info.run_id
    try:
        _fill(client, id, observation, end or 0)
        client.set_terminated(id, _STATUS.get(observation.status, "KILLED"), end)
        client.set_tag(id, _MARK, observation.id)
    except BaseException:
        client.delete_run(id)
        raise


def _fill(client: MlflowClient, id: str, observation: Observation, end: int) -> None:
    from mlflow.entities import Metric, Param

    settings = _named({**_logged_params(observation), **observation.shown("config")})
    params = [Param(key, _setting(value)) for key, value in settings.items()]
    metrics = [
        Metric(_name(key), float(value), int(moment * 1000), _step(step))
        for key, step, value, moment in observation.points()
    ]
    result = Observations([observation]).to_dataframe().filter(regex="^result")
    metrics += [
        Metric(_name(str(key)), float(value), end, 0)
        for key, value in result.iloc[0].items()
        if isinstance(value, (int, float))
    ]
    for first in range(0, len(params), _PARAMS):
        client.log_batch(id, params=params[first : first + _PARAMS])
    for first in range(0, len(metrics), _BATCH):
        client.log_batch(id, metrics=metrics[first : first + _BATCH])
    for path in observation.artefacts():
        client.log_artifacts(id, str(path), path.name) if path.is_dir() else client.log_artifact(
            id, str(path)
        )


def _tags(observation: Observation) -> dict[str, str]:
    tags = dict.fromkeys(map(_name, observation.tags), "true")
    for fact in ("variant", "fingerprint"):
        if observation.facts.get(fact):
            tags[fact] = str(observation.facts[fact])
    if observation.features:
        tags["features"] = ", ".join(observation.features)
    if observation.note:
        tags["mlflow.note.content"] = observation.note
    return {key: printable(text)[:_LONGEST] for key, text in tags.items()}


def _logged_params(observation: Observation) -> dict[str, Any]:
    """Params that were logged; of those that the config has too, under another name."""
    config = observation.shown("config")
    return {
        f"logged {key}" if key in config else key: value
        for key, value in observation.params.items()
    }


def _named(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings under names that MLflow takes, each its own."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name, number = _name(key), 1
        while name in found:
            number += 1
            name = f"{_name(key)} {number}"
        found[name] = value
    return found


def _name(name: str) -> str:
    """A name with only such characters as MLflow takes, and no longer than that.

    >>> _name("../odd,name"), _name("")
    ('_/odd_name', '_')
    """
    parts = (part if part.strip(".") else "_" for part in _UNFIT.sub("_", name).split("/"))
    return "/".join(parts)[:_NAME].strip() or "_"


def _setting(value: Any) -> str:
    return printable(value)[:_LONGEST] if isinstance(value, str) else short_repr(value, _LONGEST)


def _step(step: float) -> int:
    """The whole number that MLflow has for a step."""
    return min(max(round(step), -(2**63)), 2**63 - 1)


def _milliseconds(text: object) -> int | None:
    return int(datetime.fromisoformat(text).timestamp() * 1000) if isinstance(text, str) else None
