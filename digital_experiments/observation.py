"""The immutable record of a run that ended. Knows plain data; never files or stores."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from digital_experiments.errors import DamagedRecord, DamagedWarning, NewerFormat
from digital_experiments.files import fetch_folder
from digital_experiments.logged import (
    DICTS,
    FIGURES,
    IMAGES,
    TABLES,
    TEXTS,
    Images,
    Logged,
    files_of,
    first_of,
    read_dict,
    read_text,
)
from digital_experiments.series import FILE as SERIES
from digital_experiments.series import Point, frame_of, read_points, whole_points
from digital_experiments.tables import read_table
from digital_experiments.values import (
    BlobReader,
    NoBlobs,
    Plain,
    ValuesOf,
    decode,
    decode_whole,
    encode,
    peek,
)
from digital_experiments.views import ValueView, printable, short_repr

if TYPE_CHECKING:
    import pandas

_NO_TAGS: Mapping[str, bool] = {}


class Notes(NamedTuple):
    """What a person has added to an observation.

    Attributes
    ----------
    tags : dict
        Tags given (True) and taken away (False).
    text : str or None
        The last note.
    """

    tags: Mapping[str, bool] = _NO_TAGS
    text: str | None = None

    def tags_with(self, own: list[str]) -> list[str]:
        """The tags of an observation that had some of its own."""
        kept = [tag for tag in own if self.tags.get(tag, True)]
        return kept + [tag for tag, given in self.tags.items() if given and tag not in kept]


FORMAT = 4
"""The version of the records written; those of digital-experiments 2.x carry none."""

_READ = (3, FORMAT)

_PARTS = ("config", "result", "metadata")
_NO_BLOBS = NoBlobs()
_NO_NOTES = Notes()
_NOTHING: dict[str, Any] = {}  # shared by all that have decoded no part yet


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

    __slots__ = ("_blobs", "_id", "_live", "_notes", "_place", "_plain", "_status", "lost")
    _fields = ("id", *_PARTS)

    def __init__(
        self, id: str, config: dict[str, Any], result: Any, metadata: dict[str, Any]
    ) -> None:
        self._id = id
        self._live: dict[str, Any] = {"config": config, "result": result, "metadata": metadata}
        self._plain: dict[str, Plain] | Callable[[str], Plain] = {}
        self._blobs: BlobReader = _NO_BLOBS
        self._place: str | None = None
        self._status: str | None = None
        self._notes: Notes | Callable[[str], Notes] = _NO_NOTES
        self.lost: list[str] | None = None

    @classmethod
    def of_run(
        cls,
        id: str,
        plain_config: Plain,
        result: Any,
        metadata: dict[str, Any],
        place: str,
        lost: list[str],
    ) -> Observation:
        """The observation of a run that has just ended, its config frozen since its start.

        Its own folder is in the folder ``place``. ``lost`` gets a line for each value that can't
        be kept.
        """
        made = cls.__new__(cls)
        made._id = id
        made._live = {"result": result, "metadata": metadata}
        made._plain = {"config": plain_config}
        made._blobs = _NO_BLOBS
        made._place = place
        made._notes = _NO_NOTES
        made._status = None
        made.lost = lost
        return made

    def with_plain_result(self, plain: Plain) -> Observation:
        """The same, with a result that was frozen piece by piece while the run went on."""
        self._parts()["result"] = plain
        del self._live["result"]
        return self

    @classmethod
    def of_store(
        cls,
        id: str,
        record: Callable[[str], Plain],
        blobs: BlobReader,
        place: str,
        notes: Notes | Callable[[str], Notes],
        status: str | None = None,
    ) -> Observation:
        """The observation of a record in a store, read by its id when it is first asked for.

        Nothing in it is unpickled before that is asked for. Its own folder is in the folder
        ``place``. ``status`` is what is known without reading it.
        """
        made = cls.__new__(cls)
        made._id = id
        made._live = _NOTHING
        made._plain = record
        made._blobs = blobs
        made._place = place
        made._notes = notes
        made._status = status
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
        UntrustedValue
            If it was pickled elsewhere, and ``trust=True`` was not given.
        """
        if "result" not in self._live:
            self._decode("result", decode_whole(self._parts()["result"], self.values))
        return self._live["result"]

    @property
    def metadata(self) -> dict[str, Any]:
        """Timing, environment, code, status and whatever callbacks added."""
        live: dict[str, Any] | None = self._live.get("metadata")
        return self._decoded("metadata") if live is None else live

    def _decoded(self, part: str) -> dict[str, Any]:
        if part not in self._live:
            decoded = decode(self._parts()[part], self.values)
            self._decode(part, decoded)
            for key, value in decoded.items():
                if isinstance(value, ValueView) and (value.reason or "").startswith("Damaged"):
                    text = f"Observation {self._id} has lost {part}[{key!r}]: {value.reason}"
                    warnings.warn(text, DamagedWarning, stacklevel=3)
        live: dict[str, Any] = self._live[part]
        return live

    def _decode(self, part: str, value: Any) -> None:
        if self._live is _NOTHING:
            self._live = {}
        self._live[part] = value

    @property
    def facts(self) -> dict[str, Any]:
        """The metadata as far as it stands in the record itself: cheap, and opens no blob."""
        live: dict[str, Any] | None = self._live.get("metadata")
        facts: dict[str, Any] = self._parts()["metadata"] if live is None else live
        return facts

    @property
    def tags(self) -> list[str]:
        """The tags of its run, and those that :meth:`Experiment.annotate` gave it since."""
        own = self.facts.get("tags")
        return self._noted().tags_with(own if isinstance(own, list) else [])

    @property
    def note(self) -> str | None:
        """What was noted on it by :meth:`Experiment.annotate`."""
        return self._noted().text

    def _parts(self) -> dict[str, Plain]:
        """The parts that are plain data, read from the store when the first is asked for."""
        parts = self._plain
        if not isinstance(parts, dict):
            record = parts(self._id)
            parts = self._plain = {name: record[name] for name in _PARTS}
        return parts

    def _noted(self) -> Notes:
        notes = self._notes
        return notes if isinstance(notes, Notes) else notes(self._id)

    @property
    def status(self) -> str:
        """How it ended, or that it has not.

        ``completed``, ``failed``, ``interrupted``, ``timeout``, ``pruned``, ``lost``, ``running``.
        """
        return self._status or str(self.facts.get("status", "completed"))

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
        if self._place is None:
            raise DamagedRecord(f"observation {self._id} is in no store, so it has no folder.")
        return Path(self._folder())

    def _folder(self) -> str:
        """The folder, with what is in it at hand."""
        folder = f"{self._place}/{self._id}"
        fetch_folder(folder)
        return folder

    @property
    def store_folder(self) -> str | None:
        """The folder of the store that it is in; None for one that is in none."""
        return os.path.dirname(self._place) if self._place is not None else None

    @property
    def params(self) -> dict[str, Any]:
        """The settings noted by :func:`log_param`."""
        params = self.metadata.get("params")
        return dict(params) if isinstance(params, dict) else {}

    @property
    def features(self) -> list[str]:
        """The names noted by :func:`log_features`."""
        features = self.facts.get("features")
        return list(features) if isinstance(features, list) else []

    @property
    def summary(self) -> dict[str, dict[str, Any]]:
        """Of each series the ``last`` value, ``min``, ``max`` and ``count``; opens no file."""
        live: dict[str, Any] | None = self._live.get("metadata")
        metrics = self.facts.get("metrics") if live else peek(self.facts.get("metrics"))
        return metrics if isinstance(metrics, dict) else {}

    @property
    def inputs(self) -> dict[str, list[str]]:
        """Files of other runs that were given as parameters: by field, ``<id>/<file>`` of each."""
        from digital_experiments.provenance import inputs_of

        return inputs_of(self.shown("config"))

    def tree(self) -> None:
        """Print the steps of the run, each below the one that called it, with what it came from.

        Examples
        --------
        >>> from digital_experiments import experiment, step
        >>> @step
        ... def load(n):
        ...     return list(range(n))
        >>> @experiment
        ... def total(n):
        ...     return sum(load(n))
        >>> total(4)
        6
        >>> total.observations()[-1].tree()  # doctest: +ELLIPSIS
        2... · completed · ...s
        └── load(n=4) · ...s → ...
        """
        from digital_experiments.provenance import print_tree, tree_of

        print_tree(tree_of(self._id, self.status, self.metadata, self.inputs))

    def metrics(self, key: str | None = None) -> pandas.DataFrame:
        """The points of the series that the run logged, in the order in which they came.

        Parameters
        ----------
        key : str, optional
            The name of one series; by default all.

        Returns
        -------
        pandas.DataFrame
            Columns ``step``, ``value`` (float) and ``time`` (UTC); for all series ``key`` before.

        Raises
        ------
        UnknownColumn
            If no series of that name was logged.
        """
        return frame_of(read_points(self.series_path()), key)

    def points(self) -> list[Point]:
        """The points of all series: name, step, value and time in seconds since the epoch."""
        return whole_points(read_points(self.series_path()))

    def series_path(self) -> str:
        """The file of the series; it is there if any were logged."""
        return f"{self._folder()}/{SERIES}"

    def dicts(self) -> Mapping[str, dict[str, Any]]:
        """The dicts kept by :func:`log_dict`, by name, each read when it is asked for."""
        return Logged(first_of(self._files(DICTS)), read_dict)

    def texts(self) -> Mapping[str, str]:
        """The texts kept by :func:`log_text`, by name, each read when it is asked for."""
        return Logged(first_of(self._files(TEXTS)), read_text)

    def tables(self) -> Mapping[str, pandas.DataFrame]:
        """The tables kept by :func:`log_table`, by name, each read when it is asked for."""
        return Logged(first_of(self._files(TABLES)), read_table)

    def images(self) -> dict[str, Path]:
        """The files of the images kept by :func:`log_image`, by name."""
        return Images(first_of(self._files(IMAGES)))

    def figures(self) -> dict[str, list[Path]]:
        """The files of each figure kept by :func:`log_figure`, by name."""
        return self._files(FIGURES)

    def _files(self, kind: str) -> dict[str, list[Path]]:
        return {} if self._place is None else files_of(str(self.dir), kind)

    def artefacts(self) -> list[Path]:
        """What the run left in its folder: files and folders, sorted by name."""
        there = self._place is not None and os.path.isdir(self.dir)
        return sorted(self.dir.iterdir()) if there else []

    artifacts = artefacts

    def shown(self, part: str) -> Any:
        """A part as a list shows it: plain values, and views in place of all others."""
        parts = self._parts()
        if part not in parts:
            return self._live[part]
        try:
            return peek(parts[part])
        except Exception as problem:  # a record that was altered: tags without their content
            damaged = ValueView({"repr": f"<damaged: {type(problem).__name__}>"}, str(problem))
            return damaged if part == "result" else {}

    def plain(self, part: str) -> Plain:
        """A part as plain data with its tags."""
        parts = self._parts()
        return parts[part] if part in parts else encode(self._live[part])

    @property
    def values(self) -> ValuesOf:
        """What reads the values that are not plain data, if they may be."""
        return ValuesOf(self._blobs, self._id)

    @property
    def blobs(self) -> BlobReader:
        """What reads the blobs that the plain data names."""
        return self._blobs

    def freeze_result(self) -> None:
        """Encode the result as it is now."""
        parts = self._parts()
        if "result" not in parts:
            parts["result"] = encode(self._live["result"], self.lost)

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

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is; what is still to be read of its record is read now."""
        live = {part: thawed(value) for part, value in self._live.items()}
        state = (self._id, live, self._parts(), self._blobs, self._place, self._noted(), self.lost)
        return _unpickled, state

    def __eq__(self, other: object) -> bool:
        """Ids are unique over all stores, so they alone decide."""
        return isinstance(other, Observation) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        marks = "".join(f", {tag}" for tag in self.tags)
        config = short_repr(self.shown("config"), 500)
        return f"Observation({self._id}, {config} → {self.outcome()}{marks})"

    def _repr_html_(self) -> str:
        from digital_experiments.card import card

        return card(self)

    def outcome(self) -> str:
        """The result in one line, or what went wrong instead."""
        if self.error is None:
            in_flight = self.status in ("running", "lost")
            return self.status if in_flight else short_repr(self.shown("result"))
        first = printable(str(self.error.get("message", "")).partition("\n")[0])
        kind = self.error.get("type", "")
        return f"{self.status}: {kind}: {short_text(first)}" if first else f"{self.status}: {kind}"


def thawed(part: Any) -> Any:
    """A part with dicts in place of the read-only mappings that runs share."""
    environment = part.get("environment") if isinstance(part, dict) else None
    if not isinstance(environment, dict):
        return part
    plain = {k: dict(v) if isinstance(v, MappingProxyType) else v for k, v in environment.items()}
    return {**part, "environment": plain}


def _unpickled(id: str, *state: Any) -> Observation:
    made = Observation.__new__(Observation)
    made._id = id
    made._live, made._plain, made._blobs, made._place, made._notes, made.lost = state
    made._status = None
    return made


def short_text(text: str, length: int = 120) -> str:
    """The start of a text.

    >>> short_text("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


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
