"""What a backend has to do. Knows observations; no format, no experiment."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from digital_experiments.errors import DamagedRecord, DamagedWarning, RootError
from digital_experiments.files import fetch_folder, folder_state, make_folder
from digital_experiments.observation import Notes, Observation
from digital_experiments.store.flight import in_flight
from digital_experiments.store.layout import NOTES, STORAGE, storage_folder
from digital_experiments.store.notes import read_notes
from digital_experiments.values import NoBlobs, Plain

if TYPE_CHECKING:
    from digital_experiments.store.batches import Scanned
    from digital_experiments.store.index import Index

_NAMED = 10
_ENDING = ".id"


class Backend(ABC):
    """Keeps observations below a folder.

    Subclass it, override :meth:`record`, :meth:`load` and :meth:`all_ids`, register it with
    :func:`register_backend`, and test it by subclassing
    :class:`digital_experiments.testing.BackendSuite`.

    Atomicity
        After a crash at any instant a record is there wholly or not at all.
    Concurrency
        Many threads and processes record into one root at once, without a lock. Ids are
        unique, so no two ever write the same record.
    Ownership
        A backend keeps what :meth:`record` was given as it was then, whatever happens to the
        values afterwards, and hands out a new object at each :meth:`load`.
    Missing ids
        :meth:`load` raises :class:`~digital_experiments.errors.ObservationNotFound`.
    Damage
        :meth:`load` raises :class:`~digital_experiments.errors.DamagedRecord`;
        :meth:`load_all` leaves that one out, and warns.

    Parameters
    ----------
    root : pathlib.Path
        The folder; it is made if it is missing.

    Attributes
    ----------
    takes_proxies : bool
        Whether ``metadata`` may hold read-only mappings, which many runs share, where it
        otherwise holds dicts.
    """

    takes_proxies: ClassVar[bool] = False
    trust = False
    """Whether pickles that came from elsewhere are loaded."""

    _index: Index | None = None

    def __init__(self, root: Path) -> None:
        make_folder(root)
        self.root = Path(root)

    @abstractmethod
    def record(self, observation: Observation) -> None:
        """Keep an observation."""

    @abstractmethod
    def load(self, id: str) -> Observation:
        """The observation of that id."""

    def later(self, id: str, status: str | None = None) -> Observation:
        """The observation of that id, and perhaps status, read when it is first asked for."""
        return self.load(id)

    @abstractmethod
    def all_ids(self) -> list[str]:
        """The ids of everything that is kept, in any order."""

    def load_all(self) -> list[Observation]:
        """Every observation that can be read, sorted by id, which is by time."""
        found, damaged = [], []
        for id in sorted(self.all_ids()):
            try:
                found.append(self.load(id))
            except DamagedRecord as problem:
                damaged.append(f"{id}: {problem}")
            except KeyError:  # deleted since it was listed
                continue
        if damaged:
            warn_of_damage(str(self.root), damaged)
        return found

    @property
    def index(self) -> Index:
        """The table of all records, by which lists are made."""
        if self._index is None:
            from digital_experiments.store.index import Index

            self._index = Index(self)
        return self._index

    @property
    def key(self) -> str | None:
        """What tells the files of this store from others; None if they are not to be indexed."""
        return None

    def state(self) -> list[int] | None:
        """What changes whenever a record comes or goes; None if nothing tells."""
        return None

    def listing(self) -> bytes:
        """What :meth:`scan` takes, a line each: here, ids with an ending, as files have one."""
        return os.fsencode("\n".join(f"{id}{_ENDING}" for id in sorted(self.all_ids())))

    def scan(self, names: list[str]) -> Iterator[Scanned]:
        """Name, id and record of each; a problem if it is damaged, None if it is gone."""
        for name in names:
            id = name.removesuffix(_ENDING)
            try:
                found = self.load(id)
                parts = {part: found.plain(part) for part in ("config", "result", "metadata")}
                yield name, id, parts
            except DamagedRecord as problem:
                yield name, id, problem
            except KeyError:  # deleted since it was listed
                yield name, id, None

    def listed(
        self,
        id: str,
        record: Callable[[str], Plain],
        simple: bool,
        notes: Notes | Callable[[str], Notes],
    ) -> Observation:
        """The observation of a record in the index, or what that says if it is gone."""
        try:
            return self.load(id)
        except KeyError:
            place = f"{self.root}/{STORAGE}"
            return Observation.of_store(id, record, NoBlobs(), place, notes)

    def in_flight(self) -> dict[str, dict[str, Plain]]:
        """The records of runs that have not ended, by id, with the status of now."""
        return in_flight(str(self.root))

    def notes_state(self) -> list[int] | None:
        """What changes whenever a note comes or goes."""
        return folder_state(f"{self.root}/{NOTES}")

    def all_notes(self) -> Mapping[str, Notes]:
        """What was noted on observations."""
        return read_notes(str(self.root))

    def deleted(self, names: set[str]) -> set[str]:
        """Those of some names whose records were deleted on purpose."""
        return names

    def artefacts(self, id: str) -> list[Path]:
        """What a run left in its folder, files and folders, sorted by name."""
        folder = Path(storage_folder(str(self.root), id))
        fetch_folder(str(folder))
        return sorted(folder.iterdir()) if os.path.isdir(folder) else []


class UnusableBackend(Backend):
    """Stands for a backend that could not be made; every run is refused for that reason.

    Parameters
    ----------
    root : Path
        Where it would work.
    reason : Exception
        Why it can't.
    uri : str, optional
        The bucket that it would have been for.
    """

    def __init__(self, root: Path, reason: Exception, uri: str | None = None) -> None:
        self.root = root
        self.reason = reason
        self.uri = uri

    def record(self, observation: Observation) -> None:
        """Refuse."""
        raise self.reason

    def load(self, id: str) -> Observation:
        """Refuse."""
        raise self._told()

    def all_ids(self) -> list[str]:
        """Refuse."""
        raise self._told()

    def _told(self) -> RootError:
        why = f"({type(self.reason).__name__}: {self.reason})"
        if self.uri is not None:
            return RootError(f"{self.uri} has no working copy on this machine {why}.")
        return RootError(
            f"The store in {str(self.root)!r} can't be used {why}. Give an absolute root, or go to "
            "a folder that exists."
        )


def warn_of_damage(root: str, damaged: list[str]) -> None:
    """One warning that names what was left out of a list, and why."""
    named = "".join(f"\n  {line}" for line in damaged[:_NAMED])
    more = f"\n  ... and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
    plural = "s were" if len(damaged) > 1 else " was"
    warnings.warn(
        f"{len(damaged)} record{plural} left out of {root}:{named}{more}\n"
        "All others are there. Move a damaged file out of the folder to silence this.",
        DamagedWarning,
        stacklevel=4,
    )
