"""What another store holds and this one does not, copied. Doing it twice changes nothing."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, fields

from digital_experiments.errors import DamagedRecord, InvalidName
from digital_experiments.files import make_folder, read_bytes, remove, write_atomic
from digital_experiments.followed import follower_of
from digital_experiments.ids import check_id, new_id
from digital_experiments.observation import check_record
from digital_experiments.store.elsewhere import is_from_elsewhere, note_elsewhere
from digital_experiments.store.flight import flight_name, in_flight
from digital_experiments.store.layout import NOTES, RUNNING, STORAGE, blob_folder
from digital_experiments.store.notes import id_of, note_names, read_note
from digital_experiments.store.progress import progress
from digital_experiments.store.records import parse_record, purged, record_names
from digital_experiments.store.studies import all_study_files, read_study_file
from digital_experiments.upkeep.references import names_in, problem_with, with_inner
from digital_experiments.upkeep.trash import trashed

_merging = threading.Lock()  # two into one store would meet in the same folders


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
        The folders of the two.
    ids
        The observations to copy, with their tags and notes; by default all there is.
    overwrite
        Whether an observation that is another one here is replaced.
    trust
        Whether the pickles of what came from elsewhere may be loaded here without asking.
    """
    with _merging:
        return _merge(root, other, ids, overwrite, trust)


def _merge(
    root: str, other: str, ids: Iterable[str] | None, overwrite: bool, trust: bool
) -> Merged:
    ours = follower_of(root)
    if ours is not None:
        ours.refresh()
    done = Merged()
    wanted = None if ids is None else set(ids)
    here = {id: name for name, (id, _) in record_names(root).items()}
    deleted = set(trashed(root)) | purged(root)
    names = {n: parts for n, parts in record_names(other).items() if _in(parts[0], wanted)}
    new = [id for id, _ in names.values() if id not in here and id not in deleted]
    theirs = follower_of(other)
    if theirs is not None:
        theirs.fetch_runs(new)
    if not trust:
        flights = [id for id in in_flight(other) if _in(id, wanted)]
        note_elsewhere(root, [id for id in (*new, *flights) if is_from_elsewhere(other, id)])
    with ours.held(overwrite) if ours is not None else nullcontext():
        _merge_all(root, other, names, here, deleted, wanted, overwrite, done)
    return done


def _in(id: str, wanted: set[str] | None) -> bool:
    return wanted is None or id in wanted


def _merge_all(
    root: str,
    other: str,
    names: dict[str, tuple[str, str]],
    here: dict[str, str],
    deleted: set[str],
    wanted: set[str] | None,
    overwrite: bool,
    done: Merged,
) -> None:
    with progress(len(names), f"Merging {other}") as advance:
        for name in sorted(names):
            advance(1)
            _merge_record(root, other, name, names[name], here, deleted, overwrite, done)
    for id, record in in_flight(other).items():
        if record["metadata"]["status"] == "lost" and id not in here and _in(id, wanted):
            _merge_lost(root, other, id, deleted, done)
    gone = purged(root)
    for note in note_names(other):
        if _in(id_of(note), wanted) and id_of(note) not in gone:
            _merge_note(root, other, note, done)
    for path in all_study_files(other) if wanted is None else ():
        _merge_plan(root, other, path, done)


def _merge_lost(root: str, other: str, id: str, deleted: set[str], done: Merged) -> None:
    """Copy what is left of a run that was lost."""
    name = flight_name(id)
    if id in deleted:
        done.deleted.append(id)
    elif os.path.exists(f"{root}/{name}"):
        done.known += 1
    else:
        data = read_bytes(f"{other}/{name}")
        _with_belongings(root, other, id, data, done)
        write_atomic(f"{root}/{RUNNING}", os.path.basename(name), data)
        beat = os.stat(f"{other}/{name}").st_mtime
        os.utime(f"{root}/{name}", (beat, beat))  # another host judges it by its last beat
        done.added.append(id)


def _merge_record(
    root: str,
    other: str,
    name: str,
    parts: tuple[str, str],
    here: dict[str, str],
    deleted: set[str],
    overwrite: bool,
    done: Merged,
) -> None:
    id, suffix = parts
    if id in deleted:
        done.deleted.append(id)
        return
    try:
        data = read_bytes(f"{other}/{name}")
        check_record(parse_record(data, suffix)[0], check_id(id))
        if id in here and (not overwrite or _is_same(root, here[id], name, data)):
            _compare(root, here[id], name, data, id, done)
            _copy_blobs(root, other, data, done)
            return
        if id in here and here[id] != name:
            remove(f"{root}/{here[id]}")
        write_atomic(root, name, lambda: _with_belongings(root, other, id, data, done))
        done.added.append(id)
    except FileNotFoundError:  # deleted there meanwhile
        return
    except (DamagedRecord, InvalidName) as problem:
        done.problems.append(f"{name}: {problem}")


def _compare(root: str, mine: str, name: str, data: bytes, id: str, done: Merged) -> None:
    if _is_same(root, mine, name, data):
        done.known += 1
    else:
        done.conflicts.append(id)


def _is_same(root: str, mine: str, name: str, data: bytes) -> bool:
    return mine == name and read_bytes(f"{root}/{mine}") == data


def _with_belongings(root: str, other: str, id: str, data: bytes, done: Merged) -> bytes:
    """The bytes of a record, once all that it needs is here."""
    _copy_blobs(root, other, data, done)
    source, target = f"{other}/{STORAGE}/{id}", f"{root}/{STORAGE}/{id}"
    if os.path.isdir(source):
        partial = f"{root}/{STORAGE}/.{new_id()}.tmp"
        if follower_of(other) is not None and is_from_elsewhere(other, id):
            make_folder(os.path.dirname(partial))
            shutil.move(source, partial)  # it was only fetched for this, and can be again
        else:
            shutil.copytree(source, partial, symlinks=True)
        if os.path.isdir(target):  # left by a merge that was killed
            shutil.rmtree(target)
        os.replace(partial, target)
    return data


def _copy_blobs(root: str, other: str, data: bytes, done: Merged) -> None:
    for name in with_inner(other, names_in(data)):
        folder = blob_folder(root, name)
        if os.path.exists(f"{folder}/{name}"):
            continue
        problem = problem_with(other, name)
        if problem is None:
            write_atomic(folder, name, read_bytes(f"{blob_folder(other, name)}/{name}"))
        elif os.path.exists(f"{blob_folder(other, name)}/{name}"):
            done.problems.append(problem)


def _merge_note(root: str, other: str, name: str, done: Merged) -> None:
    if os.path.exists(f"{root}/{NOTES}/{name}"):
        return
    try:
        read_note(other, name)
        write_atomic(f"{root}/{NOTES}", name, read_bytes(f"{other}/{NOTES}/{name}"))
        done.notes += 1
    except DamagedRecord as problem:
        done.problems.append(f"{NOTES}/{name}: {problem}")


def _merge_plan(root: str, other: str, path: str, done: Merged) -> None:
    """Copy a file of a study."""
    try:
        read_study_file(other, path)
    except DamagedRecord as problem:
        done.problems.append(f"{path}: {problem}")
        return
    data = read_bytes(f"{other}/{path}")
    if not os.path.exists(f"{root}/{path}"):
        write_atomic(f"{root}/{os.path.dirname(path)}", os.path.basename(path), data)
        done.notes += 1
    elif read_bytes(f"{root}/{path}") != data:
        done.problems.append(f"{path}: it is another plan here, which was kept.")
