"""Files that runs left, removed by age, size and number of runs. Records and series stay."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from digital_experiments.series import FILE as SERIES
from digital_experiments.store.layout import storage_folder


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
    for id in ids:
        folder = storage_folder(root, id)
        for path, size in _files(folder):
            if size > bigger_than and os.path.basename(path) != SERIES:
                files.append((id, os.path.relpath(path, folder), size))
                if not dry_run:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
        if not dry_run:
            _remove_empty(folder)
    return Pruned(files, dry_run)


def _files(folder: str) -> list[tuple[str, int]]:
    found = []
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(place, name)
            found.append((path, os.lstat(path).st_size))
    return found


def _remove_empty(folder: str) -> None:
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(place)
