"""The values of steps, found by code and inputs; each made once, by whoever comes first."""

from __future__ import annotations

import pickle
from typing import Any

from digital_experiments.files import make_folder
from digital_experiments.store import cache
from digital_experiments.store.blobs import Blobs
from digital_experiments.store.elsewhere import is_from_elsewhere
from digital_experiments.store.layout import shared_folder

_FOR_EVER = 1e9  # seconds


class StepCache:
    """The values of steps that a store holds, as blobs, with a pointer for each key.

    Parameters
    ----------
    root : str
        The store's folder.
    trust : bool
        Whether values that others put into the store's bucket may be loaded.
    """

    def __init__(self, root: str, trust: bool = False) -> None:
        self._root = root
        self._trust = trust
        self._blobs = Blobs(root)

    def find(self, key: str) -> tuple[Any, str] | None:
        """The value that a key stands for, and its blob; whatever is wrong with it, None."""
        blob = (cache.find(self._root, key) or "").partition(" ")[2]
        if not blob or not (self._trust or not is_from_elsewhere(self._root, key)):
            return None
        try:
            return pickle.loads(self._blobs.bytes_of(blob)), blob
        except Exception:  # the blob is gone or damaged; or classes of the value are
            return None

    def keep(self, key: str, value: Any, id: str) -> str:
        """Let a key stand for a value that a run has made, and give the value's blob.

        Raises
        ------
        Exception
            Whatever says that the value can't be pickled, or not be written.
        """
        import cloudpickle

        blob = self._blobs.put(cloudpickle.dumps(value, protocol=5), "cloudpickle")
        cache.point(self._root, key, f"{id} {blob}")
        return blob

    def claim(self, key: str) -> Claim:
        """What keeps all others from making the value meanwhile."""
        return Claim(shared_folder(self._root), key)


class Claim:
    """A claim to make the value of a key: one thread, process or task has it at a time.

    It ends with who has it, even by a kill. Where the file system keeps no locks all may have it.
    """

    def __init__(self, folder: str, key: str) -> None:
        from filelock import FileLock

        self._folder = folder
        self._lock = FileLock(f"{folder}/{key}", thread_local=False)

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

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *problem: object) -> None:
        self._lock.release()
