"""The values of steps, found by code and inputs; each made once, by whoever comes first."""

from __future__ import annotations

import pickle
from typing import Any

from digital_experiments.locks import Lock
from digital_experiments.store import cache
from digital_experiments.store.blobs import Blobs
from digital_experiments.store.elsewhere import is_from_elsewhere
from digital_experiments.store.layout import shared_folder


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

    def claim(self, key: str) -> Lock:
        """What keeps all others from making the value meanwhile."""
        return Lock(shared_folder(self._root), key)
