"""Deleting in two steps: into the store's trash, which is laid out as a store, and for good.

The record's own file says where an observation is. It is moved first when an observation is
deleted, and last when it is restored or purged; so whatever a kill leaves half done, the same
call again completes.
"""

from __future__ import annotations

import os
from contextlib import suppress

from digital_experiments.errors import ObservationNotFound
from digital_experiments.files import (
    move_file,
    move_folder,
    remove,
    remove_folder,
    write_atomic,
)
from digital_experiments.followed import shown_name
from digital_experiments.ids import new_id
from digital_experiments.store.flight import flight_name, ids_in_flight, read_flight
from digital_experiments.store.layout import NOTES, PURGED, STORAGE, TRASH
from digital_experiments.store.notes import note_names
from digital_experiments.store.records import purged, record_names


def delete(root: str, ids: list[str]) -> None:
    """Move observations, with the files they left, to the trash.

    Raises
    ------
    ObservationNotFound
        If one of them is not there; then none is deleted.
    ValueError
        If one of them is still running; then none is deleted.
    """
    _refuse_running(root, ids)
    names = _names_of(root, ids, done=set(trashed(root)), where="in the store")
    for id in ids:
        for name in names[id]:
            move_file(f"{root}/{name}", f"{_trash(root)}/{name}")
        move_folder(f"{root}/{STORAGE}/{id}", f"{_trash(root)}/{STORAGE}/{id}")


def restore(root: str, ids: list[str]) -> None:
    """Move observations back from the trash.

    Raises
    ------
    ObservationNotFound
        If one of them is not in the trash; then none is restored.
    """
    names = _names_of(_trash(root), ids, done=_ids_in(root), where="in the trash")
    for id in ids:
        move_folder(f"{_trash(root)}/{STORAGE}/{id}", f"{root}/{STORAGE}/{id}")
        for name in names[id]:
            move_file(f"{_trash(root)}/{name}", f"{root}/{name}")


def purge(root: str, ids: list[str] | None = None) -> list[str]:
    """Remove observations that are in the trash for good, and return their ids.

    A list of the ids stays, by which a check knows that nothing is missing, and a merge that
    they are not to come back.

    Raises
    ------
    ObservationNotFound
        If one of them is not in the trash; then none is removed.
    """
    wanted = trashed(root) if ids is None else ids
    names = _names_of(_trash(root), wanted, done=purged(root), where="in the trash")
    if any(names.values()):
        write_atomic(_trash(root), f"{PURGED}{new_id()}.txt", "\n".join(wanted).encode())
    for id in wanted:
        remove_folder(f"{_trash(root)}/{STORAGE}/{id}")
        for note in note_names(root, id):
            remove(f"{root}/{NOTES}/{note}")
        for name in names[id]:
            remove(f"{_trash(root)}/{name}")
    return wanted


def trashed(root: str) -> list[str]:
    """The ids of the observations in the trash, sorted."""
    return sorted(_ids_in(_trash(root)))


def finish_moves(root: str) -> list[str]:
    """Complete what a kill has left half done, and return the ids that it was about.

    An observation's files belong where its record is.
    """
    here, there = f"{root}/{STORAGE}", f"{_trash(root)}/{STORAGE}"
    done = []
    for id in half_moved(root):
        to_trash = os.path.isdir(f"{here}/{id}")
        source, target = (here, there) if to_trash else (there, here)
        move_folder(f"{source}/{id}", f"{target}/{id}")
        done.append(id)
    return done


def half_moved(root: str) -> list[str]:
    """The observations whose files are in the trash while they are not, or the other way round."""
    kept = _ids_in(root)
    gone = set(trashed(root)) - kept
    return sorted(
        (gone & _folders(f"{root}/{STORAGE}")) | (kept & _folders(f"{_trash(root)}/{STORAGE}"))
    )


def _refuse_running(root: str, ids: list[str]) -> None:
    flight = {id: read_flight(root, id) for id in set(ids) & set(ids_in_flight(root))}
    alive = [id for id, run in flight.items() if run and run["metadata"]["status"] == "running"]
    if alive:
        raise ValueError(
            f"{len(alive)} of {len(ids)} runs are still running, the first {alive[0]!r}. End them "
            "before you delete them. Nothing was changed."
        )


def _trash(root: str) -> str:
    return f"{root}/{TRASH}"


def _folders(place: str) -> set[str]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return set(os.listdir(place))
    return set()


def _ids_in(place: str) -> set[str]:
    return set(_names_in(place).values())


def _names_in(place: str) -> dict[str, str]:
    """The file of each observation, a lost run's too, and its id."""
    recorded = {name: id for name, (id, _) in record_names(place).items()}
    return {**recorded, **{flight_name(id): id for id in ids_in_flight(place)}}


def _names_of(place: str, ids: list[str], done: set[str], where: str) -> dict[str, list[str]]:
    """The record files of each id; none for one that an earlier, killed call was done with."""
    names: dict[str, list[str]] = {id: [] for id in ids}
    for name, id in _names_in(place).items():
        if id in names:
            names[id].append(name)
    missing = [id for id, found in names.items() if not found and id not in done]
    if missing:
        raise ObservationNotFound(
            f"{len(missing)} of {len(ids)} observations are not {where} of {shown_name(place)}, "
            f"the first {missing[0]!r}. Nothing was changed."
        )
    return names
