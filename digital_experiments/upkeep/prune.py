"""Files that runs left, removed by age, size and number of runs. Records and series stay."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from digital_experiments.files import files_below, folders_in, remove
from digital_experiments.series import FILE as SERIES
from digital_experiments.store.layout import STORAGE, storage_folder


class Pruned(NamedTuple):
    """What was removed, or would be.

    Attributes
    ----------
    files : list of (str, str, int)
        The observation's id, the file's path below its folder, and its bytes.
    dry_run : bool
        Whether nothing was removed.
    """

    files: list[tuple[str, str, int]]
    dry_run: bool

    @property
    def bytes(self) -> int:
        """What the files took."""
        return sum(size for _, _, size in self.files)


def prune(root: str, ids: list[str], bigger_than: int, dry_run: bool) -> Pruned:
    """Remove the files of more than so many bytes that some runs left."""
    files = []
    there = files_below(f"{root}/{STORAGE}", ids)
    for id in ids:
        for path, size in there[id].items():
            if size > bigger_than and os.path.basename(path) != SERIES:
                files.append((id, path, size))
    if not dry_run:
        remove(*(f"{storage_folder(root, id)}/{path}" for id, path, _ in files))
        for id in {id for id, _, _ in files}:
            _remove_empty(storage_folder(root, id))
    return Pruned(files, dry_run)


def runs_with_files(root: str) -> set[str]:
    """The runs that left files besides their series."""
    place = f"{root}/{STORAGE}"
    found = files_below(place, folders_in(place))
    return {id for id, files in found.items() if set(files) - {SERIES}}


def has_files(root: str, id: str) -> bool:
    """Whether a run left files besides its series."""
    return bool(set(files_below(f"{root}/{STORAGE}", [id])[id]) - {SERIES})


def _remove_empty(folder: str) -> None:
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(place)
