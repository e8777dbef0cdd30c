"""Which files of older runs are kept. The records and series of all runs stay."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from digital_experiments.selection import STATUSES, Selection

if TYPE_CHECKING:
    from digital_experiments.backends import Backend
    from digital_experiments.store.query import Query
    from digital_experiments.upkeep import Pruned

_KEEP, _BIG = "DE_ARTEFACT_RETENTION", "DE_BIG_FILE_THRESHOLD_MB"
_MEGABYTE = 1_000_000
_LOOK = 50  # runs


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

    def apply_to_runs(self, backend: Backend, name: str, id: str) -> None:
        """Remove files of the older ones among the runs of an experiment, one of which has ended.

        The whole store is looked at by the first run in a process, and by each fiftieth after it;
        in between its own runs are known.
        """
        from digital_experiments.upkeep import has_files

        if self.keep <= 0:
            return
        root = str(backend.root)
        known = _own.setdefault((root, name, self), _Own())
        if known.left == 0:
            known.ids, known.left = self._runs(backend, name), _LOOK
        elif has_files(root, id):
            known.ids.insert(0, id)
        known.left -= 1
        self.apply(root, [[one] for one in known.ids])
        del known.ids[self.keep :]

    def _runs(self, backend: Backend, name: str) -> list[str]:
        """The runs of an experiment that have files, and are of no study; the newest first."""
        from digital_experiments.store.query import Query
        from digital_experiments.store.studies import study_names
        from digital_experiments.upkeep import runs_with_files

        root = str(backend.root)
        chosen = Selection(frozenset(STATUSES) - {"running"}, name, newest_first=True)
        there = runs_with_files(root)
        query = Query(backend.index, chosen)
        ids = [id for id in query.table(["id"])["id"] if id in there]
        of_studies = set(_of_studies(query)) if study_names(root) else ()
        return [id for id in ids if id not in of_studies]


@dataclass
class _Own:
    """What a process knows of the runs of an experiment that have files.

    Attributes
    ----------
    ids : list of str
        The newest first.
    left : int
        How many runs more until the store is looked at again.
    """

    ids: list[str] = field(default_factory=list)
    left: int = 0


_own: dict[tuple[str, str, Retention], _Own] = {}


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
