"""Values kept once, named by the SHA-256 of their content. Knows no record.

The ending of a blob's name says how to read it:

================ ==========================================================
``.txt``         text, UTF-8
``.json``        plain data, with the tags of the JSON backend
``.pkl``         plain data, pickled; read by an unpickler that knows no classes
``.cloudpickle`` the pickle of any value, handed out as bytes
================ ==========================================================
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import lru_cache

from digital_experiments.errors import DamagedRecord
from digital_experiments.files import read_bytes, write_atomic
from digital_experiments.store import codecs
from digital_experiments.store.elsewhere import is_from_elsewhere
from digital_experiments.store.layout import ASIDE, BLOBS, blob_folder
from digital_experiments.values import Plain, is_pickle

_NAME = re.compile(r"[0-9a-f]{64}\.(txt|json|pkl|cloudpickle)")


class Blobs:
    """The blobs of one store.

    Parameters
    ----------
    root : str
        The store's folder.
    trust : bool
        Whether pickles that came from elsewhere may be loaded.
    """

    trusted = False
    """Of which observation a value is has to be known for that."""

    def __init__(self, root: str, trust: bool = False) -> None:
        self.root = root
        self.trust = trust
        self._folder = f"{root}/{BLOBS}"

    def trusts(self, id: str) -> bool:
        """Whether the pickles of an observation may be loaded."""
        return self.trust or not is_from_elsewhere(self.root, id)

    def put(self, data: bytes, ending: str) -> str:
        """Keep bytes, unless they are kept already, and return the blob's name."""
        name = f"{sha256(data)}.{ending}"
        if self.size(name) != len(data):  # missing, or torn by a failing disk
            write_atomic(blob_folder(self.root, name), name, data)
        return name

    def put_text(self, text: str) -> str:
        """Keep a text; one that UTF-8 can't hold is kept as JSON."""
        try:
            return self.put(text.encode(), "txt")
        except UnicodeEncodeError:
            return self.put_json(text)

    def put_json(self, plain: Plain) -> str:
        """Keep plain data as readable JSON."""
        return self.put(codecs.readable_json(plain), "json")

    def state(self) -> tuple[int, int] | None:
        """What changes when the folder of blobs is made again; None if it is missing."""
        try:
            status = os.stat(self._folder)
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns)

    def size(self, name: str) -> int:
        """The bytes of a blob; -1 if it is missing."""
        try:
            return os.stat(f"{blob_folder(self.root, name)}/{name}").st_size
        except OSError:
            return -1

    def read(self, name: str) -> Plain | bytes:
        """What a blob holds: plain data, or bytes where that is a pickle.

        Raises
        ------
        DamagedRecord
            If it is missing, or its content is not what its name says.
        """
        data = self.bytes_of(name)
        return data if is_pickle(name) else _content(data, name.partition(".")[2])

    def bytes_of(self, name: str) -> bytes:
        """The bytes of a blob, which are those that its name says.

        Raises
        ------
        DamagedRecord
            If it is missing, or damaged.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise DamagedRecord(f"{name!r} is not the name of a blob.")
        path = f"{blob_folder(self.root, name)}/{name}"
        try:
            data = read_bytes(path)
        except FileNotFoundError:
            data = self._moved_aside(name)
        except OSError as problem:
            raise DamagedRecord(f"blob {path} can't be read: {problem}") from problem
        if sha256(data) != name.partition(".")[0]:
            raise DamagedRecord(f"blob {path} is damaged: its content is not what its name says.")
        return data

    def _moved_aside(self, name: str) -> bytes:
        """The bytes of a blob that a collection of what is not needed has not decided on yet."""
        with suppress(OSError):
            for folder in os.listdir(self._folder):
                if folder.startswith(ASIDE):
                    with suppress(OSError):
                        return read_bytes(f"{self._folder}/{folder}/{name}")
        raise DamagedRecord(f"blob {blob_folder(self.root, name)}/{name} is missing.")


@lru_cache(maxsize=64)
def _small_content(data: bytes, ending: str) -> Plain:
    return codecs.BLOB_READERS[ending](data)


def _content(data: bytes, ending: str) -> Plain:
    """Environments and code are read again and again: decode those once."""
    if ending == "txt" or len(data) > 100_000:
        return codecs.BLOB_READERS[ending](data)
    return _small_content(data, ending)


def sha256(data: bytes) -> str:
    """The name that content has in a store, as ``sha256sum`` prints it."""
    import hashlib

    return hashlib.sha256(data).hexdigest()
