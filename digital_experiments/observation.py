"""The immutable record of a run that ended. Knows plain data; never files or stores."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from digital_experiments.errors import DamagedWarning
from digital_experiments.logged import RunFiles
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


_PARTS = ("config", "result", "metadata")
_NO_BLOBS = NoBlobs()
_NO_NOTES = Notes()
_NOTHING: dict[str, Any] = {}  # shared by all that have decoded no part yet


class Observation(RunFiles):
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
