"""Files of records, whatever their format: names, bytes, plain data. Knows no observation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

from digital_experiments.errors import DamagedRecord
from digital_experiments.files import read_bytes, write_here
from digital_experiments.ids import new_id
from digital_experiments.store import codecs
from digital_experiments.store.formats import FORMAT, SEALED_SINCE
from digital_experiments.store.layout import PURGED, TRASH
from digital_experiments.store.seal import unseal
from digital_experiments.values import BlobReader, Plain

_REPLACED = ".replaced"

Parser = Callable[[bytes], Plain]

PARSERS: Mapping[str, Parser] = {
    ".pkl": codecs.load_pickle,
    ".json": codecs.load_json,
    ".yaml": codecs.load_yaml,
}
"""How the records in a store are read, by the ending of their names."""


def parse_record(
    data: bytes, suffix: str, parse: Parser | None = None
) -> tuple[dict[str, Plain], BlobReader | None]:
    """The record in a file's bytes, and who reads the values in a 2.x record.

    Raises
    ------
    DamagedRecord
        If it is torn, altered, or no record.
    """
    parse = parse or PARSERS[suffix]
    body, sealed = unseal(data)
    record, problem = None, None
    try:
        record = parse(body)
    except Exception as raised:  # garbage makes a parser raise anything
        problem = raised
    if isinstance(record, dict) and "format" in record:
        if not sealed and record["format"] in range(SEALED_SINCE, FORMAT + 1):
            raise DamagedRecord("it is cut short: its checksum is missing.")
        return record, None
    from digital_experiments.store.legacy import read_legacy

    found = read_legacy(data, suffix)
    if found is not None:
        return found
    if problem is None:
        raise DamagedRecord("it holds no observation.")
    raise DamagedRecord(f"it is damaged: {type(problem).__name__}: {problem}") from problem


def split_name(name: str) -> tuple[str, str] | None:
    """The id and the suffix in the name of a record's file; None for any other name.

    >>> split_name("2026-11-21_10-15-00_123456_k3f9xq.pkl")
    ('2026-11-21_10-15-00_123456_k3f9xq', '.pkl')
    """
    id, dot, ending = name.rpartition(".")
    return (id, dot + ending) if id and dot + ending in PARSERS and name[0] != "." else None


def note_replaced(folder: str, id: str) -> None:
    """Take note that a record takes the place of another of its name, which no listing tells."""
    write_here(folder, f".{id}.{new_id()}{_REPLACED}", b"")


def replaced_id(name: str) -> str | None:
    """The observation that such a note is about; None for any other name."""
    if not name.endswith(_REPLACED):
        return None
    return name[1:].removesuffix(_REPLACED).rpartition(".")[0]


def record_names(folder: str) -> dict[str, tuple[str, str]]:
    """The files of records in a folder, each with its id and suffix."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    split = ((name, split_name(name)) for name in names)
    return {name: parts for name, parts in split if parts is not None}


def purged(root: str) -> set[str]:
    """The ids of the observations that were removed for good."""
    found: set[str] = set()
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(f"{root}/{TRASH}"):
            if name.startswith(PURGED):
                found.update(
                    read_bytes(f"{root}/{TRASH}/{name}").decode(errors="replace").split("\n")
                )
    return found
