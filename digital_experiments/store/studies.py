"""The files of studies in a store: plans, and what was noted on them. Knows no study."""

from __future__ import annotations

import os
from typing import Any

from digital_experiments.errors import DamagedRecord
from digital_experiments.files import read_bytes
from digital_experiments.followed import follower_of
from digital_experiments.store.codecs import load_json
from digital_experiments.store.layout import STUDIES

ENDING = ".json"


def study_names(root: str) -> list[str]:
    """The studies that have files in a store."""
    return sorted(name for name in _listed(f"{root}/{STUDIES}") if not name.startswith("."))


def study_files(root: str, study: str) -> list[str]:
    """The names of a study's files, the oldest plan first."""
    follower = follower_of(root)
    if follower is not None:
        follower.refresh()
    names = _listed(f"{root}/{STUDIES}/{study}")
    return sorted(name for name in names if name.endswith(ENDING) and not name.startswith("."))


def all_study_files(root: str) -> list[str]:
    """The paths of the files of all studies, below the store's folder."""
    return [
        f"{STUDIES}/{study}/{name}"
        for study in study_names(root)
        for name in study_files(root, study)
    ]


def read_study_file(root: str, path: str) -> dict[str, Any]:
    """What one of them holds.

    Raises
    ------
    DamagedRecord
        If that is no object of JSON.
    FileNotFoundError
        If it is not there.
    """
    data = read_bytes(f"{root}/{path}")
    try:
        told = load_json(data)
    except (ValueError, KeyError, TypeError) as problem:
        raise DamagedRecord(f"it is no JSON: {problem}.") from problem
    if not isinstance(told, dict):
        raise DamagedRecord("it is no object of JSON.")
    return told


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
