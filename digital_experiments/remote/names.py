"""Names of objects, which are those of files below a store's folder. Asks no bucket."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from digital_experiments.store.layout import RUNNING, TRASH
from digital_experiments.store.records import PARSERS, split_name

RECORDS = tuple(PARSERS)
_LONGEST = 255  # bytes that a file system takes for the name of a file
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\]")  # lines, halves, backslash


def kind(name: str) -> str:
    """The folder of the store that a file is in; the empty text for a record."""
    return name.partition("/")[0] if "/" in name else ""


def is_record(name: str) -> bool:
    """Whether it is the name of a record in the store: not of a run in flight, nor in the trash."""
    return name.endswith(RECORDS) and name[0] != "." and "/" not in name


def id_of(name: str) -> str | None:
    """The observation that a record is of: in the store, in flight, or in the trash."""
    parts = split_name(name.removeprefix(f"{TRASH}/").removeprefix(f"{RUNNING}/"))
    return parts[0] if parts is not None and "/" not in parts[0] else None


def is_safe(name: str) -> bool:
    """Whether a name of an object stays in its folder when it becomes one of a file."""
    parts = name.split("/")
    odd = "\\" in name or "\0" in name or (os.name == "nt" and ":" in name)
    return not odd and all(part not in ("", ".", "..") and _is_short(part) for part in parts)


def _is_short(part: str) -> bool:
    return len(part.encode(errors="surrogatepass")) <= _LONGEST


def listed(folder: str, folders: bool = False) -> list[str]:
    """The files in a folder of this machine, or the folders in it."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return [e.name for e in entries if e.name[0] != "." and e.is_dir() == folders]
    return []


def is_fit(name: str) -> bool:
    """Whether a bucket can hold an object of that name, and all systems a file of it."""
    return _UNFIT.search(name) is None
