"""Files and folders that tell, by their stamps, whether something else has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

_PAUSE = 0.002
"""Seconds for which nobody looks again: no commit is made and nothing installed in less."""


class Watched:
    """Files and folders as they are now.

    Parameters
    ----------
    paths : iterable of str
        Where they are; there may be nothing there yet.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._stamps = {path: _stamp(path) for path in paths}
        self._looked = 0.0

    def is_unchanged(self) -> bool:
        """Whether they are still what they were, as of the last two milliseconds."""
        now = time.monotonic()
        if now - self._looked < _PAUSE:
            return True
        if any(_stamp(path) != seen for path, seen in self._stamps.items()):
            return False
        self._looked = now
        return True


def _stamp(path: str) -> tuple[int, int, int] | None:
    """What changes when a file or folder does; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
