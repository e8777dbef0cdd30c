"""What another store holds and this one does not, copied. Doing it twice changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, fields

from digital_experiments.errors import DamagedRecord, InvalidName
from digital_experiments.files import make_folder, read_bytes, remove, write_atomic
from digital_experiments.followed import follower_of
from digital_experiments.forks import ForkedLock
from digital_experiments.ids import check_id, new_id
from digital_experiments.locks import Lock
from digital_experiments.store.elsewhere import is_from_elsewhere, note_elsewhere, note_trusted
from digital_experiments.store.flight import flight_name, in_flight
from digital_experiments.store.formats import check_record
from digital_experiments.store.layout import (
    NOTES,
    RUNNING,
    STORAGE,
    blob_folder,
    shared_folder,
)
from digital_experiments.store.notes import id_of, note_names, read_note
from digital_experiments.store.progress import progress
from digital_experiments.store.records import note_replaced, parse_record, purged, record_names
from digital_experiments.store.studies import all_study_files, read_study_file
from digital_experiments.upkeep.references import names_in, problem_with, with_inner
from digital_experiments.upkeep.trash import trashed

_merging = ForkedLock()  # two into one store would meet in the same folders


@dataclass
class Merged:
    """What a merge did.

    Attributes
    ----------
    added : list of str
        Ids of the observations that are new here.
    known : int
        How many were here already.
    deleted : list of str
        Ids of those that were deleted or purged here, and stay so.
    conflicts : list of str
        Ids of those that are another observation here; this store's own was kept.
    notes : int
        How many tags and notes are new here, and files of studies.
    problems : list of str
        What could not be copied, and why.
    """

    added: list[str] = field(default_factory=list)
    known: int = 0
    deleted: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    notes: int = 0
    problems: list[str] = field(default_factory=list)

    def __add__(self, other: Merged) -> Merged:
        """What both did."""
        return Merged(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def merge(
    root: str,
    other: str,
    ids: Iterable[str] | None = None,
    overwrite: bool = False,
    trust: bool = False,
) -> Merged:
    """Copy into a store what another one has and it has not.

    Parameters
    ----------
    root, other
        The folders of the two, the other as it is now.
    ids
        The observations to copy, with their tags and notes; by default all there is.
    overwrite
        Whether an observation that is another one here is replaced.
    trust
        Whether the pickles of what came from elsewhere may be loaded here without asking.
    """
    with _merging, Lock(shared_folder(root), "merging") as lock:
        lock.take()
        return _merge(root, other, ids, overwrite, trust)


def _merge(
    root: str, other: str, ids: Iterable[str] | None, overwrite: bool, trust: bool
) -> Merged:
    ours, theirs = follower_of(root), follower_of(other)
    if ours is not None:
        ours.refresh()
    wanted = None if ids is None else set(ids)
    names = {n: parts for n, parts in record_names(other).items() if _in(parts[0], wanted)}
    merging = _Merging(root, other, overwrite)
    new = {name: id for name, (id, _) in names.items() if merging.is_new(name, id)}
    flights = [id for id in in_flight(other) if _in(id, wanted) and id not in merging.here]
    coming = [*new.values(), *flights]
    if theirs is not None:
        merging.brought = theirs.fetch_runs(coming)
    if not trust:
        note_elsewhere(root, [id for id in coming if is_from_elsewhere(other, id)])
    replaced = [name for name, id in new.items() if id in merging.here]
    with ours.held(replaced) if ours is not None else nullcontext():
        merging.take(names, wanted)
    if trust:
        note_trusted(root, merging.same)
    return merging.done


def _in(id: str, wanted: set[str] | None) -> bool:
    return wanted is None or id in wanted


class _Merging:
    """One merge of a store into another.

    Attributes
    ----------
    brought : set of str
        Ids of runs whose files were fetched for this alone.
    same : list of str
        Ids of those that are the same on both sides now.
    """

    def __init__(self, root: str, other: str, overwrite: bool) -> None:
        self.root = root
        self.other = other
        self.overwrite = overwrite
        self.here = {id: name for name, (id, _) in record_names(root).items()}
        self.purged = purged(root)
        self.deleted = self.purged | set(trashed(root))
        self.brought: set[str] = set()
        self.same: list[str] = []
        self.done = Merged()

    def is_new(self, name: str, id: str) -> bool:
        """Whether an observation of the other store is copied: it is not here, or replaced."""
        if id in self.deleted:
            return False
        if id not in self.here:
            return True
        with suppress(FileNotFoundError):  # deleted there meanwhile
            return self.overwrite and not self._is_same(name, id, self._theirs(name))
        return False

    def take(self, names: dict[str, tuple[str, str]], wanted: set[str] | None) -> None:
        """Copy the records of some names, and with them lost runs, notes and plans."""
        with progress(len(names), f"Merging {self.other}") as advance:
            for name in sorted(names):
                advance(1)
                self._take_record(name, *names[name])
        for id, record in in_flight(self.other).items():
            if record["metadata"]["status"] == "lost" and _in(id, wanted) and id not in self.here:
                self._take_lost(id)
        for note in note_names(self.other):
            if _in(id_of(note), wanted) and id_of(note) not in self.purged:
                self._take_note(note)
        for path in all_study_files(self.other) if wanted is None else ():
            self._take_plan(path)

    def _theirs(self, path: str) -> bytes:
        return read_bytes(f"{self.other}/{path}")

    def _is_same(self, name: str, id: str, data: bytes) -> bool:
        return self.here[id] == name and read_bytes(f"{self.root}/{name}") == data

    def _take_record(self, name: str, id: str, suffix: str) -> None:
        done = self.done
        if id in self.deleted:
            done.deleted.append(id)
            return
        try:
            data = self._theirs(name)
            check_record(parse_record(data, suffix)[0], check_id(id))
            if id in self.here and self._is_same(name, id, data):
                done.known += 1
                self.same.append(id)
                self._take_blobs(data)
            elif id in self.here and not self.overwrite:
                done.conflicts.append(id)
                self._take_blobs(data)
            else:
                if self.here.get(id, name) != name:
                    remove(f"{self.root}/{self.here[id]}")
                write_atomic(self.root, name, lambda: self._with_belongings(id, data))
                if id in self.here:
                    note_replaced(self.root, id)
                done.added.append(id)
                self.same.append(id)
        except FileNotFoundError:  # deleted there meanwhile
            return
        except (DamagedRecord, InvalidName) as problem:
            done.problems.append(f"{name}: {problem}")

    def _take_lost(self, id: str) -> None:
        """Copy what is left of a run that was lost."""
        name = flight_name(id)
        if id in self.deleted:
            self.done.deleted.append(id)
        elif os.path.exists(f"{self.root}/{name}"):
            self.done.known += 1
        else:
            data = self._theirs(name)
            self._with_belongings(id, data)
            write_atomic(f"{self.root}/{RUNNING}", os.path.basename(name), data)
            beat = os.stat(f"{self.other}/{name}").st_mtime
            os.utime(f"{self.root}/{name}", (beat, beat))  # others judge it by its last beat
            self.done.added.append(id)

    def _with_belongings(self, id: str, data: bytes) -> bytes:
        """The bytes of a record, once all that it needs is here, and nothing of another one."""
        self._take_blobs(data)
        source, target = (f"{root}/{STORAGE}/{id}" for root in (self.other, self.root))
        partial = f"{self.root}/{STORAGE}/.{new_id()}.tmp"
        if os.path.isdir(source) and id in self.brought:
            make_folder(os.path.dirname(partial))
            shutil.move(source, partial)  # it was only fetched for this, and can be again
        elif os.path.isdir(source):
            shutil.copytree(source, partial, symlinks=True)
        if os.path.isdir(target):  # of a run that is replaced, or of a merge that was killed
            shutil.rmtree(target)
        if os.path.isdir(partial):
            os.replace(partial, target)
        return data

    def _take_blobs(self, data: bytes) -> None:
        for name in with_inner(self.other, names_in(data)):
            folder = blob_folder(self.root, name)
            if os.path.exists(f"{folder}/{name}"):
                continue
            problem = problem_with(self.other, name)
            place = f"{blob_folder(self.other, name)}/{name}"
            if problem is None:
                write_atomic(folder, name, read_bytes(place))
            elif os.path.exists(place):
                self.done.problems.append(problem)

    def _take_note(self, name: str) -> None:
        if os.path.exists(f"{self.root}/{NOTES}/{name}"):
            return
        try:
            read_note(self.other, name)
            write_atomic(f"{self.root}/{NOTES}", name, self._theirs(f"{NOTES}/{name}"))
            self.done.notes += 1
        except DamagedRecord as problem:
            self.done.problems.append(f"{NOTES}/{name}: {problem}")

    def _take_plan(self, path: str) -> None:
        """Copy a file of a study."""
        try:
            read_study_file(self.other, path)
        except DamagedRecord as problem:
            self.done.problems.append(f"{path}: {problem}")
            return
        data = self._theirs(path)
        if not os.path.exists(f"{self.root}/{path}"):
            write_atomic(f"{self.root}/{os.path.dirname(path)}", os.path.basename(path), data)
            self.done.notes += 1
        elif read_bytes(f"{self.root}/{path}") != data:
            self.done.problems.append(f"{path}: it is another plan here, which was kept.")
