"""Who makes which run, among the processes and machines that share a store.

Each process keeps a log of the runs that it has ended, ``claims/<owner>.log``. A claim is a hard
link to the log of its owner, ``claims/held/<key>``: so making one is a single step that only one
can do, and its time stamp is the owner's last sign of life.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

from digital_experiments.files import make_folder
from digital_experiments.followed import follower_of
from digital_experiments.ids import new_id, started
from digital_experiments.store.flight import SILENT, own_heartbeat, process_lives
from digital_experiments.store.layout import CLAIMS

_LOG = ".log"
_GRAVE = ".grave"
_SIGN = 15.0  # seconds between two signs of life
_SETTLED = 0.1  # seconds after which a folder's time stamp tells of every change


class Ended(NamedTuple):
    """A run that another process has ended."""

    id: str
    status: str


class Sweeper(NamedTuple):
    """A process that resumes a sweep on a store, or died of it.

    Attributes
    ----------
    host : str
        Where it runs.
    pid : int
        Its number there.
    since : float
        When it began, in seconds since the epoch.
    lives : bool
        Whether it still runs.
    ended : dict of int
        How many runs it has ended, by how.
    held : int
        How many configs it has claimed and not ended.
    """

    host: str
    pid: int
    since: float
    lives: bool
    ended: dict[str, int]
    held: int


def sweepers(root: str) -> list[Sweeper]:
    """Who resumes sweeps on a store, the oldest first."""
    follower = follower_of(root)
    if follower is not None:
        return follower.sweepers()
    folder = f"{root}/{CLAIMS}"
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        inodes: Counter[int] = Counter()
        for name in os.listdir(f"{folder}/held"):
            with suppress(FileNotFoundError):  # it was given back meanwhile
                inodes[os.stat(f"{folder}/held/{name}").st_ino] += 1
        for name in sorted(n for n in os.listdir(folder) if n.endswith(_LOG)):
            with suppress(FileNotFoundError):
                found.append(_sweeper(f"{folder}/{name}", inodes))
    return found


def _sweeper(path: str, inodes: Counter[int]) -> Sweeper:
    with open(path, "rb") as file:
        first, _, rest = file.read().partition(b"\n")
        status = os.fstat(file.fileno())
    try:
        owner = json.loads(first)
        host, pid = str(owner["host"]), int(owner["pid"])
    except (ValueError, KeyError, TypeError):  # it is being written, or was torn
        host, pid = "?", 0
    ended = Counter(told.status for told in _ended(rest.decode(errors="replace")).values())
    since = started(os.path.basename(path).removesuffix(_LOG))
    return Sweeper(host, pid, since, not is_dead(path), dict(ended), inodes[status.st_ino])


class Claims:
    """The claims of this process on a store, and what the others have done since.

    Parameters
    ----------
    root : str
        The store's folder.
    """

    def __init__(self, root: str) -> None:
        self._folder = f"{root}/{CLAIMS}"
        self._held = f"{self._folder}/held"
        make_folder(self._held)
        self._name = f"{new_id()}{_LOG}"
        self._log = f"{self._folder}/{self._name}"
        self._own_log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._read: dict[str, int] = {}
        self._folder_seen = 0
        self._own: set[str] = set()
        self._closed = threading.Event()
        try:
            os.write(self._own_log, json.dumps(own_heartbeat(os.getpid())).encode() + b"\n")
            self._remove_dead()
            self.news()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._show, name="digital_experiments claims", daemon=True).start()

    def take(self, key: str) -> bool:
        """Claim a config by its key; False if another process has it, and lives."""
        path = f"{self._held}/{key}"
        for _ in range(2):
            with suppress(FileExistsError):
                os.link(self._log, path)
                self._own.add(key)
                return True
            if not (is_dead(path) and self._bury(path)):
                return False
        return False

    def release(self, key: str, id: str, status: str) -> None:
        """Tell the others what came of a run, and give its config back."""
        os.write(self._own_log, f"{key} {id} {status}\n".encode())
        self.give_back(key)

    def give_back(self, key: str) -> None:
        """Let others have a config that was not run."""
        self._own.discard(key)
        with suppress(FileNotFoundError):
            os.unlink(f"{self._held}/{key}")

    def news(self) -> tuple[bool, dict[str, Ended]]:
        """Whether the store is to be looked at again, and what has ended elsewhere, by its key.

        It is to be looked at again when somebody has come or gone: who goes takes the log along.
        """
        seen = os.stat(self._folder).st_mtime_ns
        changed = seen != self._folder_seen
        if changed or time.time() - seen / 1e9 < _SETTLED:
            logs = [n for n in os.listdir(self._folder) if n.endswith(_LOG) and n != self._name]
            changed = changed or logs != list(self._read)
            self._read = {name: self._read.get(name, 0) for name in logs}
        self._folder_seen = seen
        found: dict[str, Ended] = {}
        for name, offset in self._read.items():
            with suppress(FileNotFoundError), open(f"{self._folder}/{name}", "rb") as file:
                file.seek(offset)
                data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                self._read[name] = offset + len(whole)
                found.update(_ended(whole.decode()))
        return changed, found

    def close(self) -> None:
        """Give everything back."""
        self._closed.set()
        os.close(self._own_log)
        for key in list(self._own):
            self.give_back(key)
        with suppress(FileNotFoundError):
            os.unlink(self._log)

    def _show(self) -> None:
        while not self._closed.wait(_SIGN):
            with suppress(OSError):
                os.utime(self._log)

    def _bury(self, path: str) -> bool:
        """Remove the claim of a dead owner; of several who would, one does."""
        grave = path + _GRAVE
        try:
            os.mkdir(grave)
        except FileExistsError:
            with suppress(OSError):  # whoever dug it may have died too
                if time.time() - os.stat(grave).st_mtime > SILENT:
                    os.rmdir(grave)
            return False
        try:
            if not is_dead(path):
                return False
            os.unlink(path)
            return True
        finally:
            with suppress(OSError):
                os.rmdir(grave)

    def _remove_dead(self) -> None:
        """Remove what processes have left that were killed."""
        for name in os.listdir(self._held):
            path = f"{self._held}/{name}"
            if not name.endswith(_GRAVE) and is_dead(path):
                self._bury(path)
        for name in os.listdir(self._folder):
            path = f"{self._folder}/{name}"
            if name.endswith(_LOG) and name != self._name and is_dead(path):
                with suppress(FileNotFoundError):
                    os.unlink(path)


def is_dead(path: str) -> bool:
    """Whether the owner of a claim, or of a log, has ended."""
    try:
        silent = time.time() - os.stat(path).st_mtime
        with open(path, "rb") as file:
            owner = json.loads(file.readline())
        return not process_lives(owner) or (silent > SILENT and not _is_here(owner))
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):  # it is being written, or was torn
        return silent > SILENT


def _is_here(owner: dict[str, object]) -> bool:
    return bool(owner["host"] == own_heartbeat(os.getpid())["host"])


def _ended(text: str) -> dict[str, Ended]:
    entries = (line.split(" ") for line in text.splitlines() if line[:1] != "{")
    return {entry[0]: Ended(entry[1], entry[2]) for entry in entries if len(entry) == 3}
