"""The versions of records: which is written, and which are read."""

from __future__ import annotations

from digital_experiments.errors import DamagedRecord, NewerFormat
from digital_experiments.values import Plain

FORMAT = 4
"""The version of the records written; those of digital-experiments 2.x carry none."""

SEALED_SINCE = 4
"""From which version of the records on each one has a checksum."""

_READ = (3, FORMAT)


def check_record(record: Plain, id: str) -> None:
    """Raise unless this is the record of that observation, in a format that we read.

    Raises
    ------
    NewerFormat, DamagedRecord
        If it was written by a later release, is another's, or is no record at all.
    """
    if not isinstance(record, dict) or "format" not in record:
        raise DamagedRecord("it holds no observation.")
    version = record["format"]
    if type(version) is int and version > FORMAT:
        raise NewerFormat(
            f"it has format {version}, and this release reads up to {FORMAT}: "
            "upgrade digital-experiments to open it."
        )
    dicts = isinstance(record.get("config"), dict) and isinstance(record.get("metadata"), dict)
    if not (dicts and version in _READ and "result" in record and "id" in record):
        raise DamagedRecord("it is a record, but not a whole one.")
    if record["id"] != id:
        raise DamagedRecord(f"the file is named {id!r}, but holds observation {record['id']!r}.")
