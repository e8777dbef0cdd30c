"""What keeps a store in order, as methods of whoever has one. Knows files, not functions."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from digital_experiments.backends import Backend, FileBackend
from digital_experiments.followed import follower_of
from digital_experiments.ids import check_id
from digital_experiments.observation import Observation
from digital_experiments.selection import (
    STATUSES,
    Moment,
    Selection,
    byte_count,
    checked_limit,
    moment,
)
from digital_experiments.store.records import PARSERS

if TYPE_CHECKING:
    from digital_experiments.upkeep import Check, Collected, Merged, Pruned

Which = str | Observation | Iterable[str | Observation]


class Storekeeping:
    """Deletes, cleans, checks, repairs and merges a store."""

    name: str | None

    @property
    def backend(self) -> Backend:
        """What keeps the observations."""
        raise NotImplementedError

    def delete(self, which: Which) -> list[str]:
        """Move observations, with the files they left, to the store's trash.

        Parameters
        ----------
        which : str, Observation, or list of them
            The observations, or their ids.

        Returns
        -------
        list of str
            Their ids.

        Raises
        ------
        ObservationNotFound
            If one of them is not there; then none is deleted.

        Examples
        --------
        >>> from digital_experiments import experiment
        >>> @experiment
        ... def trial(x):
        ...     return x
        >>> [trial(i) for i in range(3)]
        [0, 1, 2]
        >>> gone = trial.delete(trial.observations(x=1))
        >>> [o.result for o in trial.observations()]
        [0, 2]
        >>> gone == trial.restore(gone)
        True
        >>> len(trial.observations())
        3
        """
        from digital_experiments import upkeep

        ids = _ids(which)
        upkeep.delete(self._folder("delete"), ids)
        return ids

    def restore(self, which: Which) -> list[str]:
        """Move observations back from the store's trash.

        Raises
        ------
        ObservationNotFound
            If one of them is not in the trash; then none is restored.
        """
        from digital_experiments import upkeep

        ids = _ids(which)
        upkeep.restore(self._folder("restore"), ids)
        return ids

    def trash(self) -> list[str]:
        """The ids of the observations that were deleted and not purged."""
        from digital_experiments import upkeep

        return upkeep.trashed(self._folder("trash"))

    def purge(self, which: Which | None = None) -> list[str]:
        """Remove deleted observations for good: records, files, notes, and blobs of theirs alone.

        Parameters
        ----------
        which : str, Observation, or list of them, optional
            Some of those in the trash; by default all.

        Returns
        -------
        list of str
            The ids of what is gone now.

        Raises
        ------
        ObservationNotFound
            If one of them was not deleted before; then none is purged.
        """
        from digital_experiments import upkeep

        folder = self._folder("purge")
        ids = upkeep.purge(folder, None if which is None else _ids(which))
        _collected(folder, dry_run=False)
        return ids

    def prune(
        self,
        keep: int | None = None,
        older_than: Moment = None,
        bigger_than: int | str | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """Remove files that runs left, to free the disk. The records stay.

        What is removed meets every condition that is given; one at least is needed.

        Parameters
        ----------
        keep : int, optional
            Of how many runs, the newest, all files are kept.
        older_than : datetime, date, str or timedelta, optional
            Only files of runs started before then: ``"30d"`` for thirty days ago.
        bigger_than : int or str, optional
            Only files of more bytes than that: ``"10 MB"``.
        dry_run : bool
            Whether only to say what would be removed.

        Returns
        -------
        Pruned
            With ``files`` and ``bytes``.

        Raises
        ------
        ValueError
            If no condition is given, or one can't be read.

        Examples
        --------
        >>> from digital_experiments import current_dir, experiment
        >>> @experiment
        ... def save(size):
        ...     _ = (current_dir() / "model.bin").write_bytes(bytes(size))
        >>> for size in (10, 2000, 3000):
        ...     save(size)
        >>> save.prune(keep=1, bigger_than="1 kB", dry_run=True).bytes
        2000
        """
        from digital_experiments import upkeep

        if keep is None and older_than is None and bigger_than is None:
            raise ValueError("prune needs a condition: keep=, older_than= or bigger_than=.")
        size = -1 if bigger_than is None else byte_count(bigger_than, "bigger_than")
        kept = checked_limit(keep, "keep") or 0
        chosen = Selection(frozenset(STATUSES) - {"running"}, self.name)
        ids = self._ids_of(chosen)
        old = set(self._ids_of(replace(chosen, until=moment(older_than, "older_than"))))
        runs = [id for id in ids[: len(ids) - kept] if id in old]
        return upkeep.prune(self._folder("prune"), runs, size, bool(dry_run))

    def _ids_of(self, chosen: Selection) -> list[str]:
        from digital_experiments.store.query import Query

        return list(Query(self.backend.index, chosen).table(["id"])["id"])

    def gc(self, dry_run: bool = False) -> Collected:
        """Remove the blobs that no observation refers to, even while others record.

        Those of deleted observations are kept until these are purged.

        Parameters
        ----------
        dry_run : bool
            Whether only to say what would be removed.

        Returns
        -------
        Collected
            With ``blobs``, ``bytes``, and whether it was ``postponed`` because somebody wrote
            one record for more than ten seconds.
        """
        return _collected(self._folder("gc"), bool(dry_run))

    def check(self) -> Check:
        """Read every record, blob and note, and compare each with its checksum.

        Nothing is changed, nothing is unpickled. Files that runs left have no checksums.

        Returns
        -------
        Check
            True if nothing is damaged; ``damages`` names what is, and what is lost with it.
        """
        from digital_experiments import upkeep

        folder = self._folder("check")
        follower = follower_of(folder)
        if follower is None:
            return upkeep.check(folder, self.backend.index.vanished())
        with follower.as_it_is() as place:
            found = upkeep.check(place, self.backend.index.vanished())
        return replace(found, root=follower.name)

    def repair(self) -> Check:
        """Set what is damaged aside, and complete what a kill has left half done.

        Every healthy observation stays. Damaged files go to the folder ``damaged`` in the
        store; a value whose blob is lost shows by its view from then on. A healthy copy of the
        store gives back what it has: merge it.

        Returns
        -------
        Check
            What was found, and is lost.
        """
        from digital_experiments import upkeep

        folder = self._folder("repair")
        found = self.check()
        follower = follower_of(folder)
        while follower is not None and follower.heal(damage.name for damage in found.damages):
            found = self.check()  # a record that is whole again may name what is not
        upkeep.repair(folder, found)
        self.backend.index.forget()
        return found

    def merge(self, other: str | os.PathLike[str] | Storekeeping) -> Merged:
        """Copy the observations of another store that are not in this one.

        Records are copied as they are, with their files, blobs, tags and notes. Merging again
        changes nothing. What was deleted or purged here stays so.

        Parameters
        ----------
        other : path or experiment
            The other store.

        Returns
        -------
        Merged
            With ``added``, ``known``, ``conflicts`` and ``problems``.

        Raises
        ------
        StoreNotFound
            If there is no such store.
        """
        from digital_experiments import upkeep
        from digital_experiments.stores import open_experiment

        source = other if isinstance(other, Storekeeping) else open_experiment(other)
        here, there = self._folder("merge"), source._folder("merge")
        if Path(here).resolve() == Path(there).resolve():
            raise ValueError(f"{here} can't be merged with itself.")
        return upkeep.merge(here, there)

    def _folder(self, what: str) -> str:
        """The store's folder, if its records are files that we know."""
        backend = self.backend
        if isinstance(backend, FileBackend) and backend.suffix in PARSERS:
            folder = str(backend.root)
            follower = follower_of(folder)
            if follower is not None:
                follower.refresh()
            return folder
        raise TypeError(
            f"{what} works on stores of files in the formats {', '.join(PARSERS)}; this one is "
            f"kept by {type(backend).__name__}."
        )


def _collected(folder: str, dry_run: bool) -> Collected:
    from digital_experiments import upkeep

    follower = follower_of(folder)
    if follower is None:
        return upkeep.collect(folder, dry_run)
    collected: Collected = follower.collect(dry_run)
    return collected


def _ids(which: Which) -> list[str]:
    some = [which] if isinstance(which, (str, Observation)) else which
    if not isinstance(some, Iterable):
        raise TypeError(f"expected observations or their ids, not {which!r}.")
    ids = (one.id if isinstance(one, Observation) else one for one in some)
    return [check_id(id) for id in dict.fromkeys(ids)]
