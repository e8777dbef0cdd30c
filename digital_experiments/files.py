"""Files written whole or not at all, and folders made when needed. Knows no observation."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import get_ident

from digital_experiments.errors import RootError

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def write_atomic(folder: str, name: str, data: bytes) -> None:
    """Write ``folder/name`` so that it is there wholly, or not at all.

    The bytes go to a temporary file in the same folder, which is then renamed. The folder
    is made if it is missing. Whatever fails, no temporary file stays behind.

    Raises
    ------
    OSError
        What the operating system said: a full disk, a read-only folder.
    """
    target = f"{folder}{os.sep}{name}"
    temporary = f"{folder}{os.sep}.{name}.{os.getpid()}-{get_ident()}.tmp"
    try:
        descriptor = os.open(temporary, _NEW_FILE, 0o666)
    except FileNotFoundError:
        make_folder(folder)
        descriptor = os.open(temporary, _NEW_FILE, 0o666)
    except FileExistsError:  # left by a killed process that had this one's number
        os.unlink(temporary)
        descriptor = os.open(temporary, _NEW_FILE, 0o666)
    try:
        try:
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written < len(data):  # a nearly full disk takes a part before it refuses
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def read_bytes(path: str) -> bytes:
    """All bytes of a file, with fewer system calls than a file object makes."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(descriptor).st_size
        parts = [os.read(descriptor, size + 1)]
        while parts[-1] and sum(map(len, parts)) < size:
            parts.append(os.read(descriptor, size))
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def make_folder(path: str | Path) -> None:
    """Make a folder and its parents.

    Raises
    ------
    RootError
        If there is a file where the folder, or one of its parents, should be.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        refuse_file(path)
        raise


def refuse_file(path: str | Path) -> None:
    """Raise a RootError if ``path``, or what should be a parent folder of it, is a file."""
    for place in (Path(path), *Path(path).parents):
        if place.is_dir():
            return
        if place.exists():
            raise RootError(
                f"{str(path)!r} can't be the folder of a store, because {str(place)!r} is a file. "
                "Expected a folder, or a path at which one can be made; give another root."
            )


def file_names(folder: str, suffix: str) -> list[str]:
    """Names without suffix of the visible files in a folder that end so, sorted.

    A folder that does not exist holds none.
    """
    cut = len(suffix)
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name[:-cut]
                for entry in entries
                if entry.name.endswith(suffix) and entry.name[0] != "." and entry.is_file()
            )
    except FileNotFoundError:
        return []
