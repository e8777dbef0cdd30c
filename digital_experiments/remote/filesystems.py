"""Buckets by any file system of fsspec: of objects, or of files in folders."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Any, TypeVar

from digital_experiments.errors import BucketUnreachable
from digital_experiments.files import replacing
from digital_experiments.ids import new_id
from digital_experiments.remote.buckets import (
    PATIENCE,
    Bucket,
    Found,
    pauses,
    unreachable,
    without_credentials,
)
from digital_experiments.remote.places import Place, protocol_of, unwrapped

_OF_OBJECTS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory")
"""The schemes of file systems where an object is there wholly or not at all."""

_FINAL = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    NotImplementedError,
    TypeError,
    ValueError,
)
_TIMEOUTS = ("timeout", "banner_timeout", "auth_timeout")
_SILENCE = 20.0  # seconds
_REFUSED = ("Authentication failed.", "No authentication methods available")  # by paramiko
_PARTIAL = ".digital-experiments-partial"
_memory = threading.Lock()
T = TypeVar("T")


def bucket_by_fsspec(place: Place) -> Bucket:
    """A bucket by the file system that fsspec has for a place."""
    scheme = place.scheme if place.filesystem is None else protocol_of(place.filesystem)
    if scheme not in _OF_OBJECTS:
        return FolderBucket(place)  # to open it is to connect, which waits until it is asked
    bucket = FsspecBucket(place)
    bucket.open()
    return bucket


class FsspecBucket(Bucket):
    """Objects by a file system of fsspec.

    Parameters
    ----------
    place : Place
        Where they are.
    """

    passing: tuple[type[Exception], ...] = (OSError, TimeoutError, EOFError)
    """What may be over when it is asked again."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place
        self._lock: Any = _memory if place.is_in_process else nullcontext()
        self._fs: Any = None
        self._root = ""

    def open(self) -> None:
        """Have the file system at hand."""
        self._fs, self._root = self._open()

    def _open(self) -> tuple[Any, str]:
        """The file system, and the place's path in it."""
        import fsspec

        if self._place.filesystem is not None:
            return _of_this_process(self._place.filesystem), self._place.path
        opened: tuple[Any, str] = fsspec.url_to_fs(self._place.uri, **self._place.options)
        return opened

    def here(self, folder: str) -> tuple[dict[str, Found], list[str]]:  # noqa: D102
        files, folders = {}, []
        for entry in self._asked(lambda fs: _entries(fs, fs.ls, self._path(folder)) or []):
            name = self._name(entry["name"])
            if entry["type"] == "directory":
                folders.append(name)
            elif name != folder:
                files[name] = _found(entry)
        return files, folders

    def below(self, folder: str) -> dict[str, Found]:  # noqa: D102
        entries = self._asked(lambda fs: _entries(fs, fs.find, self._path(folder)) or {})
        return {self._name(path): _found(entry) for path, entry in entries.items()}

    def size(self, name: str) -> int:  # noqa: D102
        return int(self._asked(lambda fs: fs.info(self._path(name)))["size"])

    def read(self, name: str) -> bytes:  # noqa: D102
        data: bytes = self._asked(lambda fs: fs.cat_file(self._path(name)))
        return data

    def write(self, name: str, data: bytes, new: bool) -> None:  # noqa: D102
        how = {"mode": "create"} if new else {}
        self._asked(lambda fs: fs.pipe_file(self._path(name), data, **how))

    def upload(self, name: str, path: str) -> None:  # noqa: D102
        self._asked(lambda fs: fs.put_file(path, self._path(name)))

    def download(self, name: str, path: str) -> None:  # noqa: D102
        with replacing(path) as partial:
            self._asked(lambda fs: fs.get_file(self._path(name), partial))

    def copy(self, name: str, target: str) -> None:  # noqa: D102
        self._asked(lambda fs: fs.cp_file(self._path(name), self._path(target)))

    def remove(self, name: str) -> None:  # noqa: D102
        with suppress(FileNotFoundError):
            self._asked(lambda fs: fs.rm_file(self._path(name)))

    def _path(self, name: str) -> str:
        return "/".join(part for part in (self._root, name) if part)

    def _name(self, path: str) -> str:
        inside = path.removeprefix("/") if not self._root.startswith("/") else path
        return inside.removeprefix(self._root).strip("/")

    def _asked(self, work: Callable[[Any], T]) -> T:
        """Ask again for a while where it may be that only the way there is broken."""
        for pause in pauses():
            try:
                with self._lock:
                    if self._fs is None:
                        self.open()
                    return work(self._fs)
            except PermissionError as problem:
                if self._place.uri in str(problem):
                    raise
                raise PermissionError(f"{self._place.uri} refuses it: {problem}.") from problem
            except _FINAL:
                raise
            except Exception as problem:  # each file system has errors of its own
                if pause is None or not isinstance(problem, self.passing):
                    raise BucketUnreachable(unreachable(self._place.uri, problem)) from problem
                self._begin_again()
                time.sleep(pause)
        raise AssertionError("the last pause is None")

    def _begin_again(self) -> None:
        """Get ready for another try."""


class FolderBucket(FsspecBucket):
    """Files in folders, such as those of sftp, by a file system of fsspec.

    A connection of its own is asked by one thread at a time. A file is written beside its place,
    then moved there.
    """

    passing = (Exception,)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._lock = threading.Lock()

    def _open(self) -> tuple[Any, str]:
        place = self._place
        try:
            fs, path = _connected(place)
        except TypeError as problem:
            named = ", ".join(sorted(place.options)) or "none"
            raise TypeError(
                f"{place.uri} can't be opened with these storage_options: {named}. "
                f"{without_credentials(str(problem))}"
            ) from None
        except Exception as problem:
            if str(problem) in _REFUSED:  # else the connection was lost meanwhile
                raise PermissionError(
                    f"{place.uri} can't be used with these credentials. Give others by "
                    "storage_options=: username, password or key_filename."
                ) from None
            raise
        if _is_sftp(fs):
            fs.ftp.get_channel().settimeout(_SILENCE)
        return fs, path

    def _begin_again(self) -> None:
        with self._lock, suppress(Exception):
            lost, self._fs = self._fs, None
            if _is_sftp(lost):
                lost.client.close()

    def here(self, folder: str) -> tuple[dict[str, Found], list[str]]:  # noqa: D102
        files, folders = super().here(folder)
        return {name: it for name, it in files.items() if not _is_partial(name)}, folders

    def below(self, folder: str) -> dict[str, Found]:  # noqa: D102
        found = super().below(folder)
        return {name: it for name, it in found.items() if not _is_partial(name)}

    def write(self, name: str, data: bytes, new: bool) -> None:  # noqa: D102
        self._put(name, lambda fs, partial: fs.pipe_file(partial, data), new)

    def upload(self, name: str, path: str) -> None:  # noqa: D102
        self._put(name, lambda fs, partial: fs.put_file(path, partial))

    def copy(self, name: str, target: str) -> None:  # noqa: D102
        with tempfile.TemporaryDirectory(prefix="digital_experiments-") as folder:
            self.download(name, f"{folder}/copy")
            self.upload(target, f"{folder}/copy")

    def _put(self, name: str, fill: Callable[[Any, str], object], new: bool = False) -> None:
        """Fill a file beside the place, and move it there; with ``new`` only if there is none."""
        mark = new_id()

        def put(fs: Any) -> None:
            target = self._path(name)
            folder = target.rpartition("/")[0]
            partial = f"{folder}/.{mark}{_PARTIAL}"
            try:
                fill(fs, partial)
            except FileNotFoundError:
                fs.makedirs(folder, exist_ok=True)
                fill(fs, partial)
            try:
                _move(fs, partial, target, new)
            except FileExistsError:
                fs.rm_file(partial)
                raise

        self._asked(put)


def _is_partial(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last[:1] == "." and last.endswith(_PARTIAL)


def _connected(place: Place) -> tuple[Any, str]:
    """The file system of a place, opened for one who uses it alone, and the path in it."""
    import fsspec

    if place.filesystem is not None:
        fs, path = unwrapped(place.filesystem, place.path)
        return _again(fs), path
    options = dict(place.options)
    if place.scheme in ("sftp", "ssh"):
        logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it is told by ours
        options = {**dict.fromkeys(_TIMEOUTS, PATIENCE), **options}
    opened: tuple[Any, str] = fsspec.url_to_fs(place.uri, skip_instance_cache=True, **options)
    return opened


def _is_sftp(fs: Any) -> bool:
    return hasattr(fs, "ftp") and hasattr(fs.ftp, "posix_rename")


def _move(fs: Any, partial: str, target: str, new: bool) -> None:
    if new and _is_sftp(fs):
        try:
            fs.ftp.rename(partial, target)  # of paramiko: it never replaces a file
            return
        except OSError:
            if not fs.exists(target):
                raise
            raise FileExistsError(target) from None
    if new and fs.exists(target):
        raise FileExistsError(target)
    fs.mv(partial, target)


def _entries(fs: Any, ask: Callable[..., Any], path: str) -> Any:
    """What there is at a path; None if there is no such folder."""
    try:
        fs.invalidate_cache()
        return ask(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _of_this_process(fs: Any) -> Any:
    """A file system, opened anew in the child of the process that opened it."""
    if getattr(fs, "protocol", "") == "dir":
        return type(fs)(fs.path, _of_this_process(fs.fs))
    return fs if os.getpid() == getattr(fs, "_pid", os.getpid()) else _again(fs)


def _again(fs: Any) -> Any:
    return type(fs)(*fs.storage_args, **fs.storage_options, skip_instance_cache=True)


def _found(entry: dict[str, Any]) -> Found:
    modified = _moment(entry)
    size = int(entry.get("size") or 0)
    stamp = next((str(entry[k]) for k in ("ETag", "etag", "md5Hash") if entry.get(k)), None)
    return Found(size, stamp or f"{modified} {size}", modified)


def _moment(entry: dict[str, Any]) -> float:
    for key in ("LastModified", "last_modified", "mtime", "modified", "created", "updated"):
        told = entry.get(key)
        if isinstance(told, (int, float)):
            return float(told)
        if isinstance(told, datetime):
            return told.timestamp()
        if isinstance(told, str):
            with suppress(ValueError):
                return datetime.fromisoformat(told).timestamp()
    return 0.0
