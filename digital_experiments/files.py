"""Files written whole or not at all, and folders made when needed. Knows no observation."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import get_ident

from digital_experiments.errors import RootError
from digital_experiments.followed import follower_of, followers

_TEMPORARY = re.compile(r"\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-\d+\.tmp$")
_LONG = 50  # characters of a name, each up to four bytes; 255 bytes are what a name may have
_KEPT = 40
_SMALL = 70_000  # bytes that are read at once
_ABANDONED = 600  # seconds
_SETTLED = 2.0  # seconds after which a folder's time stamp tells of every change
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)


def write_atomic(folder: str, name: str, data: bytes | Callable[[], bytes]) -> None:
    """Write ``folder/name`` so that it is there wholly, or not at all.

    The bytes go to a temporary file in the same folder, which is then renamed. The folder
    is made if it is missing. Whatever fails, no temporary file stays behind.

    Parameters
    ----------
    data
        The bytes, or what makes them once the temporary file is there: whoever removes files
        that others need can see by it that somebody is writing.

    Raises
    ------
    OSError
        What the operating system said: a full disk, a read-only folder.
    """
    follower = follower_of(folder) if followers else None
    if follower is None:
        write_here(folder, name, data)
    elif not follower.takes(f"{folder}{os.sep}{name}", data):
        follower.wrote(f"{folder}{os.sep}{name}", write_here(folder, name, data))


def write_here(folder: str, name: str, data: bytes | Callable[[], bytes]) -> bytes:
    """As :func:`write_atomic`, and nobody who follows the folder is told; the bytes."""
    target = f"{folder}{os.sep}{name}"
    descriptor, temporary = new_temporary(folder, name)
    try:
        try:
            written = data if isinstance(data, bytes) else data()
            _write_all(descriptor, written)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except BaseException as problem:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(problem, OSError) and problem.filename is None:
            problem.filename = target  # a full disk: which one
        raise
    return written


def new_temporary(folder: str, name: str) -> tuple[int, str]:
    """A new file that is known for one of this process by its name: its descriptor and path."""
    path = _temporary_name(folder, name)
    try:
        return os.open(path, _NEW_FILE, 0o666), path
    except FileNotFoundError:
        make_folder(folder)
    except FileExistsError:  # left by a killed process that had this one's number
        os.unlink(path)
    return os.open(path, _NEW_FILE, 0o666), path


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """A temporary path beside a file: what is written there becomes the file, unless that fails."""
    partial = _temporary_name(*os.path.split(path))
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


def save(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file where a person wants it; folders that are missing are made.

    Raises
    ------
    IsADirectoryError
        If there is a folder at that place.
    """
    target = Path(path).expanduser().absolute()
    if target.is_dir():
        raise IsADirectoryError(f"{str(target)!r} is a folder: name a file in it.")
    write_atomic(str(target.parent), target.name, data)
    return target


def _temporary_name(folder: str, name: str) -> str:
    if len(name) > _LONG:
        from zlib import crc32

        name = f"{name[:_KEPT]}-{crc32(os.fsencode(name)):08x}"
    return f"{folder}{os.sep}.{name}.{_host()}-{os.getpid()}-{get_ident()}.tmp"


@cache
def _host() -> str:
    """Eight digits that tell this host's temporary files from those of others."""
    from zlib import crc32

    names = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return f"{crc32(names.encode()):08x}"


def is_temporary(path: str) -> bool:
    """Whether a file is one that is being written, or was when its writer was killed."""
    return _TEMPORARY.search(path) is not None


def in_flight(folder: str) -> list[str]:
    """The temporary files in a folder whose writers may still be at it."""
    return [name for name, lives in temporary_files(folder) if lives]


def abandoned(folder: str) -> list[str]:
    """The temporary files in a folder whose writers were killed.

    Those are the files of processes that have ended on this host, and those that another host
    began more than ten minutes ago.
    """
    return [name for name, lives in temporary_files(folder) if not lives]


def temporary_files(folder: str) -> Iterator[tuple[str, bool]]:
    """The temporary files in a folder, and whether their writers may still be at it."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(folder):
            found = _TEMPORARY.search(name)
            if found is not None:
                yield name, _lives(folder, name, found["host"], int(found["pid"]))


def _lives(folder: str, name: str, host: str, pid: int) -> bool:
    if host == _host():
        import psutil

        return psutil.pid_exists(pid)
    with suppress(OSError):
        return time.time() - os.stat(f"{folder}/{name}").st_mtime < _ABANDONED
    return False


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written < len(data):  # a nearly full disk takes a part before it refuses
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def append_whole(descriptor: int, data: bytes, size: int) -> None:
    """Add bytes to an open file that has a size, all or none.

    Raises
    ------
    OSError
        What the operating system said.
    """
    try:
        _write_all(descriptor, data)
    except OSError:
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, size, os.SEEK_SET)
        raise


def append(path: str, data: bytes) -> int:
    """Add whole lines to the end of a file, which is made if it is missing; their length.

    Processes may append to one file at once.

    Raises
    ------
    OSError
        What the operating system said.
    """
    descriptor = os.open(path, _APPEND, 0o666)
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)
    return len(data)


def read_bytes(path: str) -> bytes:
    """All bytes of a file, with fewer system calls than a file object makes.

    Raises
    ------
    FileNotFoundError
        Also where there is something else than a file, such as a folder or a named pipe.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        follower = follower_of(path)
        if follower is None or not follower.fetched(path):
            raise
        return _read(path)


def _read(path: str) -> bytes:
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a file", path)
        size = status.st_size
        parts = [os.read(descriptor, size + 1)]
        while parts[-1] and sum(map(len, parts)) < size:
            parts.append(os.read(descriptor, size))
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def read_many(folder: str, names: list[str]) -> Iterator[bytes | OSError | None]:
    """The bytes of each of many files in a folder, several times as fast as one by one.

    What is gone, or is no file, gives None; what can't be read gives the error.
    """
    near = None
    if os.open in os.supports_dir_fd:
        with suppress(FileNotFoundError):
            near = os.open(folder, os.O_RDONLY)
    prefix = "" if near is not None else f"{folder}{os.sep}"
    try:
        for name in names:
            try:
                descriptor = os.open(prefix + name, _READ, dir_fd=near)
                try:
                    data = os.read(descriptor, _SMALL)
                    if len(data) in (0, _SMALL):
                        data = read_bytes(f"{folder}{os.sep}{name}")
                finally:
                    os.close(descriptor)
                yield data
            except (FileNotFoundError, IsADirectoryError):
                yield None
            except OSError as problem:
                yield problem
    finally:
        if near is not None:
            os.close(near)


def remove(*paths: str) -> None:
    """Remove files of one store, those that are there."""
    follower = follower_of(paths[0]) if paths else None
    if follower is not None:
        follower.removing(list(paths))
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)


def remove_folder(path: str) -> None:
    """Remove a folder with all that is in it, if it is there."""
    follower = follower_of(path)
    if follower is not None:
        follower.removing([f"{path}/"])
    shutil.rmtree(path, ignore_errors=True)


def move_file(source: str, target: str) -> None:
    """Move a file; folders that are missing are made."""
    follower = follower_of(source)
    if follower is not None:
        follower.moving(source, target)
    make_folder(os.path.dirname(target))
    os.replace(source, target)


def move_folder(source: str, target: str) -> None:
    """Move a folder, if there is one, into another that may hold a part of it already."""
    follower = follower_of(source)
    if follower is not None:
        follower.moving(f"{source}/", f"{target}/")
    _move_folder(source, target)


def _move_folder(source: str, target: str) -> None:
    if not os.path.isdir(source):
        return
    make_folder(os.path.dirname(target))
    if not os.path.isdir(target):
        os.replace(source, target)
        return
    for name in os.listdir(source):
        if os.path.isdir(f"{source}/{name}") and os.path.isdir(f"{target}/{name}"):
            _move_folder(f"{source}/{name}", f"{target}/{name}")
        else:
            os.replace(f"{source}/{name}", f"{target}/{name}")
    os.rmdir(source)


def files_below(folder: str, names: Iterable[str]) -> dict[str, dict[str, int]]:
    """The files in some folders of a folder: of each by their path in it, and their bytes.

    Of a copy of one elsewhere the files here count too: there they may have been removed.
    """
    found = {name: _tree(f"{folder}/{name}") for name in names}
    follower = follower_of(folder)
    if follower is None:
        return found
    for path, size in follower.files_below(folder).items():
        name, _, inside = path.partition("/")
        if name in found:
            found[name][inside] = size
    return found


def folders_in(folder: str) -> set[str]:
    """The names of the folders in a folder that hold files."""
    follower = follower_of(folder)
    if follower is not None:
        return {path.partition("/")[0] for path in follower.files_below(folder) if "/" in path}
    with suppress(FileNotFoundError, NotADirectoryError):
        return {entry.name for entry in os.scandir(folder) if entry.is_dir()}
    return set()


def _tree(folder: str) -> dict[str, int]:
    found = {}
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(place, name)
            found[os.path.relpath(path, folder)] = os.lstat(path).st_size
    return found


def fetch_folder(folder: str) -> None:
    """Have all files of a folder at hand, also where it is the copy of one elsewhere."""
    follower = follower_of(folder)
    if follower is not None:
        follower.fetch_folder(folder)


def folder_state(folder: str) -> list[int] | None:
    """What changes whenever a file comes into a folder or leaves it; None if it is missing."""
    try:
        status = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def is_settled(state: list[int], seen: float) -> bool:
    """Whether the state of a folder at a time, in seconds since the epoch, tells of any change."""
    return seen - max(state[-2:]) / 1e9 > _SETTLED


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
        try:
            mode = place.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return  # whoever uses it is told
        if stat.S_ISDIR(mode):
            return
        raise RootError(
            f"{str(path)!r} can't be the folder of a store, because {str(place)!r} is a file. "
            "Expected a folder, or a path at which one can be made; give another root."
        )
