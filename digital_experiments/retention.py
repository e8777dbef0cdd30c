"""Which files of older runs are kept. The records and series of all runs stay."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from digital_experiments.files import folders_in
from digital_experiments.forks import ForkedLock
from digital_experiments.selection import STATUSES, Selection
from digital_experiments.store.layout import STORAGE

if TYPE_CHECKING:
    from digital_experiments.backends import Backend
    from digital_experiments.store.query import Query
    from digital_experiments.upkeep import Pruned

_KEEP, _BIG = "DE_ARTEFACT_RETENTION", "DE_BIG_FILE_THRESHOLD_MB"
_MEGABYTE = 1_000_000


def _told(variable: str, default: float) -> float:
    """A number that the environment gives."""
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        number = float(text)
        if not math.isfinite(number) or (type(default) is int and number != int(number)):
            raise ValueError
    except ValueError:
        kind = "a whole number" if type(default) is int else "a number"
        raise ValueError(f"{variable} must be {kind}, not {text!r}.") from None
    return number


@dataclass(frozen=True)
class Retention:
    """How much is kept of the files that runs leave.

    The newest version keeps them all. Of the others that are kept, files over a size go; of all
    older ones every file. Records, metrics and series stay. A version is a running of a
    study; of a plain experiment, a run that left files.

    Parameters
    ----------
    keep : int
        How many versions keep files, the newest included; 0 or less keeps all of all. By default
        ``$DE_ARTEFACT_RETENTION``, or 3.
    big_file_mb : float
        From how many megabytes (10**6 bytes) on a file is big. By default
        ``$DE_BIG_FILE_THRESHOLD_MB``, or 10.

    Examples
    --------
    >>> from digital_experiments import current_dir, experiment
    >>> from digital_experiments import Retention
    >>> @experiment(retention=Retention(keep=1))
    ... def save():
    ...     _ = (current_dir() / "model.bin").write_bytes(b"weights")
    >>> for _ in range(3):
    ...     save()
    >>> [len(o.artefacts()) for o in save.observations()]
    [0, 0, 1]
    """

    keep: int = field(default_factory=lambda: int(_told(_KEEP, 3)))
    big_file_mb: float = field(default_factory=lambda: _told(_BIG, 10.0))

    def __post_init__(self) -> None:
        if type(self.keep) is not int:
            raise ValueError(f"keep must be a number of versions, not {self.keep!r}.")
        size = self.big_file_mb
        if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 <= size < math.inf:
            raise ValueError(f"big_file_mb must be a number of megabytes, 0 or more, not {size!r}.")

    def apply(self, root: str, versions: Sequence[Sequence[str]]) -> list[Pruned]:
        """Remove what is not to be kept.

        Parameters
        ----------
        root : str
            The store's folder.
        versions : list of list of str
            The ids of the runs of each version, the newest version first.
        """
        from digital_experiments.upkeep import prune

        if self.keep <= 0:
            return []
        size = int(self.big_file_mb * _MEGABYTE)
        newest = set(versions[0]) if versions else set()
        return [
            prune(
                root, [id for id in ids if id not in newest], size if n < self.keep else -1, False
            )
            for n, ids in enumerate(versions[1:], 1)
        ]

    def apply_to_runs(self, backend: Backend, name: str) -> None:
        """Remove files of the older ones among the runs of an experiment that left any.

        A run is looked at once in a process: those that other processes make are seen by their
        folders.
        """
        if self.keep <= 0:
            return
        root = str(backend.root)
        with _lock:
            known = _known.get((root, name)) or _known.setdefault(
                (root, name), _Known.of(backend, name)
            )
            for id in folders_in(f"{root}/{STORAGE}") - known.seen:
                known.look_at(backend, name, id)
            newest_first = sorted(known.kept, reverse=True)
            self.apply(root, [[id] for id in newest_first])
            known.kept.difference_update(newest_first[self.keep :])


@dataclass
class _Known:
    """What a process knows of the runs in a store.

    Attributes
    ----------
    seen : set of str
        The runs that have ended and were looked at.
    kept : set of str
        Those of them that are an experiment's, and of no study, and have files.
    """

    seen: set[str]
    kept: set[str]

    @classmethod
    def of(cls, backend: Backend, name: str) -> _Known:
        """All runs, as they are now."""
        from digital_experiments.store.query import Query
        from digital_experiments.upkeep import runs_with_files

        ended = frozenset(STATUSES) - {"running"}
        there = runs_with_files(str(backend.root))
        own = Query(backend.index, Selection(ended, name))
        of_studies = set(_of_studies(own))
        kept = {id for id in own.table(["id"])["id"] if id in there} - of_studies
        return cls(set(Query(backend.index, Selection(ended)).table(["id"])["id"]), kept)

    def look_at(self, backend: Backend, name: str, id: str) -> None:
        """Take in a run, if it has ended."""
        from digital_experiments.upkeep import has_files

        try:
            run = backend.load(id)
        except (KeyError, ValueError):  # it has not been recorded, or is damaged
            return
        if run.status == "running":
            return
        self.seen.add(id)
        study = run.facts.get("study")
        of_study = isinstance(study, dict) and "plan" in study
        is_own = run.facts.get("experiment") == name and not of_study
        if is_own and has_files(str(backend.root), id):
            self.kept.add(id)


_known: dict[tuple[str, str], _Known] = {}
_lock = ForkedLock()


def _of_studies(query: Query) -> list[str]:
    """The runs that are part of studies, whose versions decide on their files."""
    try:
        table = query.table(["id", "metadata.study.plan"])
    except LookupError:
        return []
    plans = table["metadata.study.plan"]
    return [id for id, plan in zip(table["id"], plans, strict=True) if isinstance(plan, str)]


def checked_retention(retention: object) -> Retention | None:
    """A retention, if it is one.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if retention is None or isinstance(retention, Retention):
        return retention
    raise TypeError(f"retention must be Retention(keep=...), not {retention!r}.")
