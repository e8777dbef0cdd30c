"""Whether everything is there and as it was written; what is damaged, and lost with it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from digital_experiments.errors import DamagedRecord, NewerFormat
from digital_experiments.files import move_file, read_bytes, read_many, remove, write_atomic
from digital_experiments.ids import looks_like_id, new_id
from digital_experiments.store.codecs import load_json
from digital_experiments.store.flight import flight_name, ids_in_flight, read_flight
from digital_experiments.store.formats import check_record
from digital_experiments.store.layout import BLOBS, DAMAGED, NOTES, TRASH, blob_folder
from digital_experiments.store.notes import note_names, read_note
from digital_experiments.store.progress import progress
from digital_experiments.store.records import parse_record, record_names
from digital_experiments.store.studies import all_study_files, read_study_file
from digital_experiments.upkeep.collect import left_aside, leftovers, put_back, wrong_pointers
from digital_experiments.upkeep.references import (
    BLOB_NAME,
    blob_names,
    names_in,
    problem_with,
    tagged,
)
from digital_experiments.upkeep.trash import finish_moves, half_moved

_LOSSES = "lost-"
_NAMED = 20


class Damage(NamedTuple):
    """One thing that is not as it should be.

    Attributes
    ----------
    kind : str
        ``record``, ``missing record``, ``blob``, ``note`` or ``pointer``; ``unfinished`` and
        ``newer`` are no damage.
    name : str
        The path below the store's folder.
    problem : str
        What is wrong.
    lost : list of str
        What is lost with it: values of runs.
    """

    kind: str
    name: str
    problem: str
    lost: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.kind} {self.name}: {self.problem}"
        more = f" and {len(self.lost) - 3:,} more" if len(self.lost) > 3 else ""
        return f"{text} Lost: {', '.join(self.lost[:3])}{more}." if self.lost else text


@dataclass
class Check:
    """What a check found.

    Attributes
    ----------
    root : str
        The store's folder.
    records, blobs, notes : int
        How many are healthy.
    damages : list of Damage
        What is not.
    notices : list of Damage
        What is no damage: work that a kill has left half done, records of a later release.
    known : int
        How many losses there are that an earlier repair has told of.
    repaired : bool
        Whether the damaged files have been set aside.
    """

    root: str
    records: int = 0
    blobs: int = 0
    notes: int = 0
    damages: list[Damage] = field(default_factory=list)
    notices: list[Damage] = field(default_factory=list)
    known: int = 0
    repaired: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        healthy = f"{self.records:,} records, {self.blobs:,} blobs, {self.notes:,} notes healthy"
        lines = [f"{self.root}: {healthy}"]
        if self.known:
            lines.append(f"{self.known} values are lost, as an earlier repair has told")
        if self.damages:
            lines.append(f"{len(self.damages)} damaged{', set aside now' * self.repaired}:")
            lines += [f"  {damage}" for damage in self.damages[:_NAMED]]
        if len(self.damages) > _NAMED:
            lines.append(f"  ... and {len(self.damages) - _NAMED} more")
        if self.notices:
            done = "completed now" if self.repaired else "no damage; `repair` completes it"
            lines.append(f"{len(self.notices)} left half done or unread ({done}):")
            lines += [f"  {notice}" for notice in self.notices[:_NAMED]]
        return "\n".join(lines)


def check(root: str, vanished: dict[str, str] | None = None) -> Check:
    """Read every record, blob and note, and compare them with their checksums.

    Parameters
    ----------
    root : str
        The store's folder.
    vanished : dict
        Names of records that were seen there, and are neither there nor in the trash, with the
        time when they were seen.
    """
    found = Check(root)
    users: dict[str, list[str]] = {}
    for place in ("", f"{TRASH}/"):
        _check_records(root, place, found, users)
    _check_blobs(root, found, users, known_losses(root))
    _check_notes(root, found)
    _check_studies(root, found)
    _check_flight(root, found)
    for name, seen in sorted((vanished or {}).items()):
        problem = f"it is gone; it was there on {seen}."
        lost = (f"run {name.rpartition('.')[0]}",)
        found.damages.append(Damage("missing record", name, problem, lost))
    found.damages += [
        Damage("pointer", path[len(root) + 1 :], "it holds no id; it is no loss.")
        for path in wrong_pointers(root)
    ]
    found.notices += _unfinished(root)
    return found


def _check_records(root: str, place: str, found: Check, users: dict[str, list[str]]) -> None:
    folder = f"{root}/{place}".rstrip("/")
    names = record_names(folder)
    with progress(len(names), f"Checking {folder}") as advance:
        for (name, (id, suffix)), data in zip(
            names.items(), read_many(folder, list(names)), strict=True
        ):
            advance(1)
            if data is None:
                continue
            try:
                if isinstance(data, OSError):
                    raise DamagedRecord(f"it can't be read: {data}")
                record, _ = parse_record(data, suffix)
                if _is_copy(record, id, suffix, names):
                    told = f"it is a copy of {record['id']}; it is no loss."
                    found.notices.append(Damage("copy", f"{place}{name}", told))
                    continue
                check_record(record, id)
            except NewerFormat as problem:
                found.notices.append(Damage("newer", f"{place}{name}", str(problem)))
                continue
            except DamagedRecord as problem:
                if looks_like_id(id) or names_in(data if isinstance(data, bytes) else b""):
                    lost = (f"run {id}",)
                    found.damages.append(Damage("record", f"{place}{name}", str(problem), lost))
                continue
            found.records += 1
            for blob, where in _named_in(record):
                users.setdefault(blob, []).append(f"{where} of {id}")


def _is_copy(record: Any, id: str, suffix: str, names: Collection[str]) -> bool:
    """Whether a file is the copy of a record that is there, by another name."""
    own = record.get("id") if isinstance(record, dict) else None
    return isinstance(own, str) and own != id and f"{own}{suffix}" in names


def _named_in(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    parts = {part: record[part] for part in ("config", "result", "metadata")}
    for name, place in tagged(parts):
        if BLOB_NAME.fullmatch(name):
            part, *keys = [key for key in place if not key.startswith("$")]
            yield name, part + "".join(f"[{key!r}]" for key in keys)


def _check_blobs(root: str, found: Check, users: dict[str, list[str]], known: set[str]) -> None:
    problems: dict[str, str | None] = {}
    for name in [name for name in users if name.endswith(".json")]:
        problems[name] = problem_with(root, name)
        if problems[name] is None:
            _add_inner(root, name, users)
    names = sorted({*users, *blob_names(root)})
    with progress(len(names), f"Checking blobs of {root}") as advance:
        for name in names:
            advance(1)
            problem = problems[name] if name in problems else problem_with(root, name)
            if problem is None:
                found.blobs += 1
            elif name in known and "missing" in problem:
                found.known += 1
            else:
                path = f"{BLOBS}/{name[:2]}/{name}"
                found.damages.append(Damage("blob", path, problem, tuple(users.get(name, ()))))


def _add_inner(root: str, name: str, users: dict[str, list[str]]) -> None:
    """Note who needs the blobs that a blob names by a tag, such as the parts of an environment."""
    content = load_json(read_bytes(f"{blob_folder(root, name)}/{name}"))
    for inner, _ in tagged(content):
        if BLOB_NAME.fullmatch(inner):
            users.setdefault(inner, []).extend(f"a part of {user}" for user in users[name])


def _check_notes(root: str, found: Check) -> None:
    for name in note_names(root):
        try:
            read_note(root, name)
            found.notes += 1
        except DamagedRecord as problem:
            found.damages.append(Damage("note", f"{NOTES}/{name}", str(problem)))


def _check_studies(root: str, found: Check) -> None:
    for path in all_study_files(root):
        with suppress(FileNotFoundError):
            try:
                read_study_file(root, path)
            except DamagedRecord as problem:
                found.damages.append(Damage("plan", path, str(problem), (f"plan {path}",)))


def _check_flight(root: str, found: Check) -> None:
    for id in ids_in_flight(root):
        if read_flight(root, id) is None and id in ids_in_flight(root):
            problem = "what is known of the run in flight can't be read."
            found.damages.append(Damage("run", flight_name(id), problem, (f"run {id}",)))


def _unfinished(root: str) -> list[Damage]:
    """What a kill has left half done."""
    found = [
        Damage("unfinished", path[len(root) + 1 :], "its writer was killed; it is no loss.")
        for path in leftovers(root)
    ]
    found += [
        Damage("unfinished", id, "its files were being moved to or from the trash.")
        for id in half_moved(root)
    ]
    found += [
        Damage("unfinished", path[len(root) + 1 :], "a collection of blobs was killed.")
        for path in left_aside(root)
    ]
    return found


def repair(root: str, found: Check) -> Check:
    """Set the damaged aside and complete what was left half done; all that is healthy stays.

    Damaged files are moved to the folder ``damaged``, where nothing is read but by hand.
    """
    lost = []
    for damage in found.damages:
        if damage.kind in ("record", "blob", "note", "run", "plan"):
            _set_aside(root, damage.name)
        if damage.kind == "blob" and damage.lost:
            lost.append(damage.name.rpartition("/")[2])
        if damage.kind == "pointer":
            remove(f"{root}/{damage.name}")
    remove(*leftovers(root))
    finish_moves(root)
    put_back(root)
    if lost:
        write_atomic(f"{root}/{DAMAGED}", f"{_LOSSES}{new_id()}.txt", "\n".join(lost).encode())
    found.repaired = True
    return found


def known_losses(root: str) -> set[str]:
    """The blobs that earlier repairs told to be lost."""
    found: set[str] = set()
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(f"{root}/{DAMAGED}"):
            if name.startswith(_LOSSES):
                (data,) = read_many(f"{root}/{DAMAGED}", [name])
                found |= names_in(data) if isinstance(data, bytes) else set()
    return found


def _set_aside(root: str, name: str) -> None:
    with suppress(FileNotFoundError):
        move_file(f"{root}/{name}", f"{root}/{DAMAGED}/{name}")
