"""The immutable record of a run that ended. Knows plain data; never files or stores."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from digital_experiments.errors import DamagedRecord, DamagedWarning, NewerFormat
from digital_experiments.values import (
    BlobReader,
    NoBlobs,
    Plain,
    decode,
    decode_whole,
    encode,
    peek,
)
from digital_experiments.views import ValueView, short_repr

FORMAT = 4
"""The version of the records written; those of digital-experiments 2.x carry none."""

READ_SINCE = 3

_PARTS = ("config", "result", "metadata")
_NO_BLOBS = NoBlobs()


class Observation:
    """What is known of one run that ended: ``id``, ``config``, ``result`` and ``metadata``.

    Observations come from :meth:`Experiment.observations`; one that was read from a store
    holds plain data until a pickled value is asked for.

    Parameters
    ----------
    id : str
        The unique, sortable name of the run.
    config : dict
        Every parameter of the function, defaults included, as it was before the run.
    result : Any
        What the function returned; None for a run that failed.
    metadata : dict
        Timing, environment, code, status and whatever callbacks add.

    Examples
    --------
    >>> from digital_experiments import Observation
    >>> Observation("1", {"x": 3}, 9, {})
    Observation(1, {'x': 3} → 9)
    """

    __slots__ = ("_blobs", "_dir", "_id", "_live", "_plain", "lost")
    _fields = ("id", *_PARTS)

    def __init__(
        self, id: str, config: dict[str, Any], result: Any, metadata: dict[str, Any]
    ) -> None:
        self._id = id
        self._live: dict[str, Any] = {"config": config, "result": result, "metadata": metadata}
        self._plain: dict[str, Plain] = {}
        self._blobs: BlobReader = _NO_BLOBS
        self._dir: str | None = None
        self.lost: list[str] | None = None

    @classmethod
    def of_run(
        cls,
        id: str,
        plain_config: Plain,
        result: Any,
        metadata: dict[str, Any],
        dir: str,
        lost: list[str],
    ) -> Observation:
        """The observation of a run that has just ended, its config frozen since its start.

        ``lost`` gets a line for each value that can't be kept.
        """
        made = cls.__new__(cls)
        made._id = id
        made._live = {"result": result, "metadata": metadata}
        made._plain = {"config": plain_config}
        made._blobs = _NO_BLOBS
        made._dir = dir
        made.lost = lost
        return made

    def with_plain_result(self, plain: Plain) -> Observation:
        """The same, with a result that was frozen piece by piece while the run went on."""
        self._plain["result"] = plain
        del self._live["result"]
        return self

    @classmethod
    def from_record(cls, record: Plain, blobs: BlobReader, dir: str) -> Observation:
        """The observation that a record of a store tells of; nothing in it is unpickled.

        Raises
        ------
        NewerFormat, DamagedRecord
            If it was written by a later release, or is no record at all.
        """
        check_record(record)
        made = cls.__new__(cls)
        made._id = record["id"]
        made._live = {}
        made._plain = {part: record[part] for part in _PARTS}
        made._blobs = blobs
        made._dir = dir
        made.lost = None
        return made

    @property
    def id(self) -> str:
        """The unique, sortable name of the run."""
        return self._id

    @property
    def config(self) -> dict[str, Any]:
        """Every parameter of the function, as it was before the run."""
        return self._decoded("config")

    @property
    def result(self) -> Any:
        """What the function returned, unpickled when first asked for.

        Raises
        ------
        ValueUnavailable
            If it was kept, but can't be loaded here.
        """
        if "result" not in self._live:
            self._live["result"] = decode_whole(self._plain["result"], self._blobs)
        return self._live["result"]

    @property
    def metadata(self) -> dict[str, Any]:
        """Timing, environment, code, status and whatever callbacks added."""
        live: dict[str, Any] | None = self._live.get("metadata")
        return self._decoded("metadata") if live is None else live

    def _decoded(self, part: str) -> dict[str, Any]:
        if part not in self._live:
            self._live[part] = decoded = decode(self._plain[part], self._blobs)
            for key, value in decoded.items():
                if isinstance(value, ValueView) and (value.reason or "").startswith("Damaged"):
                    text = f"Observation {self._id} has lost {part}[{key!r}]: {value.reason}"
                    warnings.warn(text, DamagedWarning, stacklevel=3)
        live: dict[str, Any] = self._live[part]
        return live

    @property
    def facts(self) -> dict[str, Any]:
        """The metadata as far as it stands in the record itself: cheap, and opens no blob."""
        live: dict[str, Any] | None = self._live.get("metadata")
        facts: dict[str, Any] = self._plain["metadata"] if live is None else live
        return facts

    @property
    def status(self) -> str:
        """``completed``, ``failed`` or ``interrupted``."""
        return str(self.facts.get("status", "completed"))

    @property
    def error(self) -> dict[str, str] | None:
        """Of a run that did not complete: ``type``, ``message`` and ``traceback``."""
        error = self.facts.get("error")
        return error if isinstance(error, dict) else None

    @property
    def duration(self) -> float | None:
        """Seconds that the function ran, or None where no timing was recorded."""
        timing = self.facts.get("timing")
        total = timing.get("total", timing) if isinstance(timing, dict) else None
        seconds: float | None = total.get("duration") if isinstance(total, dict) else None
        return seconds

    @property
    def dir(self) -> Path:
        """The folder of the files that the run left; it exists only if there are any."""
        if self._dir is None:
            raise DamagedRecord(f"observation {self._id} is in no store, so it has no folder.")
        return Path(self._dir)

    def artefacts(self) -> list[Path]:
        """What the run left in its folder: files and folders, sorted by name."""
        return sorted(self.dir.iterdir()) if self._dir and os.path.isdir(self._dir) else []

    artifacts = artefacts

    def shown(self, part: str) -> Any:
        """A part as a list shows it: plain values, and views in place of all others."""
        if part not in self._plain:
            return self._live[part]
        try:
            return peek(self._plain[part])
        except Exception as problem:  # a record that was altered: tags without their content
            damaged = ValueView({"repr": f"<damaged: {type(problem).__name__}>"}, str(problem))
            return damaged if part == "result" else {}

    def plain(self, part: str) -> Plain:
        """A part as plain data with its tags."""
        return self._plain[part] if part in self._plain else encode(self._live[part])

    @property
    def blobs(self) -> BlobReader:
        """What reads the blobs that the plain data names."""
        return self._blobs

    def freeze_result(self) -> None:
        """Encode the result as it is now."""
        if "result" not in self._plain:
            self._plain["result"] = encode(self._live["result"], self.lost)

    def _asdict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._fields}

    def _replace(self, **changes: Any) -> Observation:
        return Observation(**{**self._asdict(), **changes})

    def __iter__(self) -> Iterator[Any]:
        return iter(self._asdict().values())

    def __getitem__(self, position: int) -> Any:
        return getattr(self, self._fields[position])

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        """Ids are unique over all stores, so they alone decide."""
        return isinstance(other, Observation) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return (
            f"Observation({self._id}, {short_repr(self.shown('config'), 500)} → {self.outcome()})"
        )

    def outcome(self) -> str:
        """The result in one line, or what went wrong instead."""
        if self.error is None:
            return short_repr(self.shown("result"))
        first = str(self.error.get("message", "")).partition("\n")[0]
        kind = self.error.get("type", "")
        return f"{self.status}: {kind}: {short_text(first)}" if first else f"{self.status}: {kind}"


def short_text(text: str, length: int = 120) -> str:
    """The start of a text.

    >>> short_text("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def check_record(record: Plain) -> None:
    """Raise unless this is the record of an observation in a format that we read."""
    if not isinstance(record, dict) or "format" not in record:
        raise DamagedRecord("it holds no observation.")
    version = record["format"]
    if isinstance(version, int) and version > FORMAT:
        raise NewerFormat(
            f"it has format {version}, and this release reads up to {FORMAT}: "
            "upgrade digital-experiments to open it."
        )
    whole = (
        version in range(READ_SINCE, FORMAT + 1)
        and isinstance(record.get("id"), str)
        and "result" in record
    )
    if not (whole and all(isinstance(record.get(p), dict) for p in ("config", "metadata"))):
        raise DamagedRecord("it is a record, but not a whole one.")
