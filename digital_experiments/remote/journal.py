"""Records of runs that have been sent, or are under way, and have no file of their own here yet.

To make a file takes longer than to send what is in it to a bucket nearby, and a worker may never
read what it has recorded. So records are appended to a journal of their process, and files are made
of them when somebody on this machine looks, also if the process has been killed meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

from digital_experiments.files import append_whole, new_temporary, temporary_files, write_here
from digital_experiments.ids import new_id
from digital_experiments.remote.names import id_of
from digital_experiments.store.layout import DAMAGED, TRASH
from digital_experiments.store.records import purged

_JOURNALS = ".journals"
_READ = ".read"
_MOST = 4_000_000  # bytes after which a journal is ended


class Journal:
    """What has been recorded in a working copy, by this process and by others of this machine.

    Parameters
    ----------
    folder : str
        The folder of the copy.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._journals = f"{folder}/{_JOURNALS}"
        self.renew()

    def renew(self) -> None:
        """Begin a journal of its own, in a process that has just been forked."""
        self._lock = threading.Lock()
        self._file: tuple[int, str] | None = None
        self._size = 0

    def add(self, name: str, data: bytes) -> None:
        """Keep a record until it has a file.

        Raises
        ------
        OSError
            What the operating system said: a full disk, a read-only folder.
        """
        entry = b"%d %s\n%s" % (len(data), name.encode(), data)
        with self._lock:
            append_whole(self._opened(), entry, self._size)
            self._size += len(entry)
            is_long = self._size > _MOST
        if is_long:
            with suppress(OSError):  # a full disk: it stays in the journal
                self.settle()

    def _opened(self) -> int:
        """The journal of this process: a new one if it has none, or somebody removed it."""
        if self._file is not None:
            descriptor, _ = self._file
            with suppress(OSError):  # on a network it may have been removed by another machine
                if os.fstat(descriptor).st_nlink:
                    return descriptor
            os.close(descriptor)
        self._file, self._size = new_temporary(self._journals, new_id()), 0
        return self._file[0]

    def settle(self) -> None:
        """Make files of all records that are in journals of this machine."""
        ended = self._end()
        for name, lives in list(temporary_files(self._journals)):
            path = f"{self._journals}/{name}"
            with suppress(FileNotFoundError):  # settled by somebody else meanwhile
                begun = _how_far(path)
                end = self._make_files(path, begun)
                if name == ended or not lives:
                    for left in (path, path + _READ):
                        os.unlink(left)
                elif end > begun:  # who has made files may since have removed some
                    write_here(self._journals, name + _READ, b"%d" % end)

    def _end(self) -> str | None:
        """End the journal of this process; its name."""
        with self._lock:
            if self._file is None:
                return None
            descriptor, path = self._file
            self._file = None
            os.close(descriptor)
            return os.path.basename(path)

    def _make_files(self, path: str, begun: int) -> int:
        """Make files of the records that a journal has from a place on; the place of its end."""
        with open(path, "rb") as file:
            end = file.seek(begun)
            data = file.read()
        gone = purged(self._folder) if data else set()
        for name, record, end_of_it in _entries(data):
            if id_of(name) not in gone and not self._has(name):
                write_here(self._folder, name, record)
            end = begun + end_of_it
        return end

    def _has(self, name: str) -> bool:
        """Whether a record has a file: in the store, in its trash, or set aside as damaged."""
        places = (f"{self._folder}/{part}{name}" for part in ("", f"{TRASH}/", f"{DAMAGED}/"))
        return any(map(os.path.exists, places))


def _how_far(path: str) -> int:
    """How many bytes of a journal have been read."""
    try:
        with open(path + _READ, "rb") as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return 0


def has_journals(folder: str) -> bool:
    """Whether there are journals in a working copy."""
    return any(temporary_files(f"{folder}/{_JOURNALS}"))


def _entries(data: bytes) -> Iterator[tuple[str, bytes, int]]:
    """The whole records in a part of a journal, their names, and where each ends."""
    end = 0
    while (line := data.find(b"\n", end)) >= 0:
        size, _, name = data[end:line].partition(b" ")
        if not size.isdigit():  # the machine went down while it was written
            return
        begin, end = line + 1, line + 1 + int(size)
        if end > len(data):  # it is being written, or was when its writer was killed
            return
        yield name.decode(), data[begin:end], end
