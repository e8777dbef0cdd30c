"""Runs in flight: a small file each that is written again and again while the run lives.

What a run is now - running or lost - is worked out by who reads, and never written.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

from digital_experiments.files import read_bytes, remove, write_atomic
from digital_experiments.series import FILE as SERIES
from digital_experiments.series import read_points, summary_of
from digital_experiments.store.codecs import dump_json, load_json
from digital_experiments.store.layout import RUNNING, storage_folder
from digital_experiments.store.records import PARSERS
from digital_experiments.values import Plain

SILENT = 60.0
"""Seconds without a beat after which a run counts as lost."""

_ENDING = ".json"
_MOST = 50_000_000  # bytes of a series that are read to know its end


def beat(root: str, id: str, record: dict[str, Plain]) -> None:
    """Show that a run lives, and what is known of it so far.

    Raises
    ------
    OSError
        What the operating system said.
    """
    write_atomic(f"{root}/{RUNNING}", id + _ENDING, dump_json(record))


def flight_name(id: str) -> str:
    """The file of a run in flight, below the store's folder."""
    return f"{RUNNING}/{id}{_ENDING}"


def land(root: str, id: str) -> None:
    """The run has ended."""
    with suppress(OSError):
        remove(f"{root}/{flight_name(id)}")


def in_flight(root: str) -> dict[str, dict[str, Plain]]:
    """The records of runs that have not ended, by id, each with the status of now."""
    found = {}
    for id in ids_in_flight(root):
        record = read_flight(root, id)
        if record is not None:
            found[id] = record
    return found


def ids_in_flight(root: str) -> list[str]:
    """The ids of the runs that have begun and are not recorded, or not yet."""
    return sorted(id for id in _ids(root) if not _is_recorded(root, id))


def landed(root: str) -> list[str]:
    """The paths of files of runs that are recorded; a kill has left them."""
    return [f"{root}/{flight_name(id)}" for id in _ids(root) if _is_recorded(root, id)]


def _ids(root: str) -> list[str]:
    try:
        names = os.listdir(f"{root}/{RUNNING}")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name.removesuffix(_ENDING) for name in names if _is_ours(name)]


def _is_ours(name: str) -> bool:
    return name.endswith(_ENDING) and name[0] != "."


def read_flight(root: str, id: str) -> dict[str, Plain] | None:
    """The record of a run in flight; None where there is none."""
    path = f"{root}/{flight_name(id)}"
    try:
        if not os.path.exists(path):
            read_bytes(path)  # it may be in a bucket
        since = time.time() - os.stat(path).st_mtime
        record: Any = load_json(read_bytes(path))
        metadata = record["metadata"]
        lives = since < SILENT and process_lives(metadata["heartbeat"])
        metadata["status"] = "running" if lives else "lost"
        if not lives:
            _add_last_points(root, id, metadata)
    except (OSError, ValueError, LookupError, TypeError):  # gone, or no file of ours
        return None
    whole: dict[str, Plain] = record
    return whole if whole.get("id") == id else None


def _add_last_points(root: str, id: str, metadata: dict[str, Any]) -> None:
    """The series went on after the last beat of a run that was killed."""
    path = f"{storage_folder(root, id)}/{SERIES}"
    with suppress(OSError):
        size = os.stat(path).st_size
        if size <= _MOST:
            metadata["metrics"] = _summary(path, size)


@lru_cache(maxsize=64)
def _summary(path: str, size: int) -> dict[str, Any]:
    return summary_of(read_points(path))


def _is_recorded(root: str, id: str) -> bool:
    return any(os.path.exists(f"{root}/{id}{suffix}") for suffix in PARSERS)


def process_lives(heartbeat: dict[str, Any]) -> bool:
    """Whether a process of this host still runs; of those of others their beats tell."""
    if heartbeat["host"] != _host():
        return True
    return bool(heartbeat["process"] == process_mark(heartbeat["pid"]))


@cache
def _host() -> str:
    import platform

    return platform.node()


def process_mark(pid: int) -> str | None:
    """What tells a process from a later one of the same number; None if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():.0f}"
    except psutil.Error:
        return None


@cache
def own_heartbeat(pid: int) -> dict[str, Plain]:
    """Who beats: this process."""
    return {"pid": pid, "host": _host(), "process": process_mark(pid)}
