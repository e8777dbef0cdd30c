"""Locks of the file system, which end with the process that holds them. Know no store."""

from __future__ import annotations

from digital_experiments.files import make_folder

_FOR_EVER = 1e9  # seconds


class Lock:
    """A lock of the file system: one thread, process or task has it at a time.

    It ends with who has it, even by a kill. Where the file system keeps no locks all may have it.

    Parameters
    ----------
    folder, name : str
        Where its file is.
    """

    def __init__(self, folder: str, name: str) -> None:
        from filelock import FileLock

        self._folder = folder
        self._lock = FileLock(f"{folder}/{name}", thread_local=False)

    def take(self, seconds: float = _FOR_EVER) -> bool:
        """Wait for it; False if it can't be had in that time."""
        from filelock import Timeout

        try:
            make_folder(self._folder)
            self._lock.acquire(timeout=seconds)
        except Timeout:
            return False
        except (OSError, NotImplementedError):
            pass
        return True

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *problem: object) -> None:
        self._lock.release()
