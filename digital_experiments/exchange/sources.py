"""Where runs can be brought over from, and how each is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from digital_experiments.errors import did_you_mean
from digital_experiments.exchange import mlflow, results_manager, wandb
from digital_experiments.exchange.arriving import NotBrought, Reader, keep
from digital_experiments.store.progress import progress


class Source(NamedTuple):
    """A system: how its stores are known, and read."""

    name: str
    holds: Callable[[Path], bool]
    read: Callable[[Path], Iterator[Reader]]


SOURCES = (
    Source("erm", results_manager.is_registry, results_manager.read),
    Source("mlflow", mlflow.is_database, mlflow.read_database),
    Source("mlflow", mlflow.is_folder, mlflow.read_folder),
    Source("wandb", wandb.is_offline, wandb.read),
)
NAMES = tuple(dict.fromkeys(source.name for source in SOURCES))


class Imported(NamedTuple):
    """What was brought over.

    Attributes
    ----------
    new : list of (Path, str)
        The store and the id of each run that was not there before.
    known : int
        How many were there already.
    problems : list of str
        A line for each run that could not be brought over.
    """

    new: list[tuple[Path, str]]
    known: int
    problems: list[str]

    def __repr__(self) -> str:
        stores = {root.name for root, _ in self.new}
        lines = [
            f"{len(self.new)} runs brought over into {len(stores)} stores; "
            f"{self.known} were there already"
        ]
        lines += [f"not brought over: {problem}" for problem in self.problems]
        return "\n".join(lines)


def import_runs(
    place: str | os.PathLike[str],
    root: str | os.PathLike[str] = "experiments",
    source: str | None = None,
) -> Imported:
    """Bring over the runs that another system recorded.

    Parameters
    ----------
    place : path
        A registry of experiment-results-manager, a folder ``mlruns`` or an SQLite database of
        MLflow, or a folder of offline runs of W&B.
    root : path
        The folder of stores to bring them into: each experiment has one, by its name.
    source : {"erm", "mlflow", "wandb"}, optional
        Which system it is; by default that is seen.

    Returns
    -------
    Imported
        What is new. Importing again changes nothing: a run always gets the same id.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is nothing at the place; if it is none of these.

    Notes
    -----
    A run that is still running is left for another time. Parameters become the config, metrics
    the series with their steps and times, artifacts the run's files. Values that were kept as
    text become numbers where they are written as Python writes them. Nothing is executed or
    unpickled, and neither MLflow nor W&B has to be installed.
    """
    path = Path(place).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {str(path)!r} to import from.")
    if source is not None and source not in NAMES:
        raise ValueError(f"There is no source {source!r}. {did_you_mean(source, NAMES)}")
    wanted = [s for s in SOURCES if source in (None, s.name)]
    chosen = next((s for s in wanted if s.holds(path)), None)
    if chosen is None:
        raise ValueError(
            f"{str(path)!r} is no store of {' or '.join(dict.fromkeys(s.name for s in wanted))}. "
            "Expected a registry of experiment-results-manager, a folder mlruns, an SQLite "
            "database of MLflow, or a folder of offline runs of W&B."
        )
    found = Imported([], 0, [])
    with progress(None, f"Importing {path}") as advance:
        for reader in chosen.read(path):
            found = _kept(reader, Path(root).expanduser().absolute(), found)
            advance(1)
    return found


def _kept(reader: Reader, root: Path, found: Imported) -> Imported:
    name, read = reader
    try:
        store, id, is_new = keep(read(), root)
    except Exception as problem:  # what is damaged raises anything
        kind = "" if isinstance(problem, NotBrought) else f"{type(problem).__name__}: "
        return found._replace(problems=[*found.problems, f"{name}: {kind}{problem}"])
    if not is_new:
        return found._replace(known=found.known + 1)
    return found._replace(new=[*found.new, (store, id)])
