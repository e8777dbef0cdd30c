"""Tags and notes that a person adds later: each a small file of its own, never changed.

``notes/<observation's id>.<id of the addition>.json`` says which tags were given, which were
taken away, and what was noted. Read in the order of their ids they make up what holds now, so
that stores with different ones can be merged file by file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from digital_experiments.errors import DamagedRecord
from digital_experiments.files import read_bytes, write_atomic
from digital_experiments.ids import new_id
from digital_experiments.observation import Notes
from digital_experiments.store.codecs import dump_json, load_json
from digital_experiments.store.layout import NOTES
from digital_experiments.store.seal import seal, unseal

_ENDING = ".json"


def add_note(
    root: str,
    id: str,
    tags: Iterable[str] = (),
    untag: Iterable[str] = (),
    note: str | None = None,
) -> None:
    """Add tags, take tags away, note something on an observation."""
    addition: dict[str, Any] = {"id": id, "tags": dict.fromkeys(untag, False)}
    addition["tags"].update(dict.fromkeys(tags, True))
    if note is not None:
        addition["note"] = note
    write_atomic(f"{root}/{NOTES}", f"{id}.{new_id()}{_ENDING}", seal(dump_json(addition)))


def note_names(root: str, id: str | None = None) -> list[str]:
    """The names of all additions, or of those to one observation, in the order of time."""
    try:
        names = os.listdir(f"{root}/{NOTES}")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        name
        for name in names
        if name.endswith(_ENDING) and name[0] != "." and id in (None, id_of(name))
    )


def id_of(name: str) -> str:
    """The observation that an addition is to."""
    return name.removesuffix(_ENDING).rpartition(".")[0]


def read_note(root: str, name: str) -> dict[str, Any]:
    """One addition.

    Raises
    ------
    DamagedRecord
        If it can't be read.
    """
    try:
        body, sealed = unseal(read_bytes(f"{root}/{NOTES}/{name}"))
        addition = load_json(body)
    except OSError as problem:
        raise DamagedRecord(f"it can't be read: {problem}") from problem
    except ValueError as problem:
        raise DamagedRecord(f"it is damaged: {problem}") from problem
    if not (sealed and _is_addition(addition)):
        raise DamagedRecord("it holds no note.")
    whole: dict[str, Any] = addition
    return whole


def _is_addition(found: Any) -> bool:
    if not (isinstance(found, dict) and isinstance(found.get("tags"), dict)):
        return False
    given = all(isinstance(value, bool) for value in found["tags"].values())
    return given and isinstance(found.get("note", ""), str)


def read_notes(root: str, id: str | None = None) -> dict[str, Notes]:
    """What all additions, or those to one observation, make up; damaged ones are passed over."""
    tags: dict[str, dict[str, bool]] = {}
    texts: dict[str, str | None] = {}
    for name in note_names(root, id):
        try:
            addition = read_note(root, name)
        except DamagedRecord:
            continue
        owner = id_of(name)
        tags.setdefault(owner, {}).update(addition["tags"])
        texts[owner] = addition.get("note", texts.get(owner))
    return {owner: Notes(given, texts[owner] or None) for owner, given in tags.items()}
