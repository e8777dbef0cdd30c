"""What is known of observations, field by field, and which of it is equal. Shows nothing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from digital_experiments.digest import short_hash
from digital_experiments.errors import DamagedRecord, DamagedWarning
from digital_experiments.rows import row
from digital_experiments.values import BlobReader, Plain
from digital_experiments.views import short_repr

if TYPE_CHECKING:
    from digital_experiments.observation import Observation

Facts = dict[str, dict[str, Any]]
"""Values by section, and by name in each."""

_SMALL = {
    *("loss", "error", "errors", "err", "mse", "rmse", "mae", "mape", "perplexity", "nll"),
    *("regret", "time", "seconds", "duration", "latency", "cost"),
}
_USED = {"memory", "bytes", "ms", "distance"}
_LARGE = {
    *("acc", "accuracy", "score", "f1", "auc", "auroc", "precision", "recall", "r2", "reward"),
    *("throughput", "iou", "bleu", "dice", "gain", "profit", "correct", "solved", "success"),
}
_KNOWN = (
    _SMALL
    | _USED
    | _LARGE
    | {
        *("val", "valid", "validation", "train", "training", "test", "eval", "mean", "avg"),
        *("average", "median", "final", "best", "top", "macro", "micro", "total", "max", "rate"),
    }
)
"""Words that, with others of these alone, say which end of a metric is best."""

_OUTCOME = ("experiment", "variant", "status", "error")
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)\s*(?:==\s*|@\s*)(.+)$")


class Missing:
    """Stands where an observation has no such field."""

    def __repr__(self) -> str:
        return "—"


MISSING = Missing()


class Row(NamedTuple):
    """One field of several observations.

    Attributes
    ----------
    name : str
        The field.
    values : list
        Of each observation its value, or ``MISSING``.
    same : bool
        Whether all have the same.
    best : frozenset of int
        Of a metric, which observations have the best value.
    """

    name: str
    values: list[Any]
    same: bool
    best: frozenset[int] = frozenset()


def facts_of(observation: Observation) -> Facts:
    """All that is known of one observation; nothing is unpickled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedWarning)
        metadata = observation.metadata
    cells = dict(row(observation, told=partial(_with_marks, blobs=observation.blobs)))
    environment = _dict(metadata, "environment")
    git = dict(_dict(environment, "git"))
    run = _run(observation, metadata)
    return {
        "run": run,
        "outcome": {name: run[name] for name in _OUTCOME if name in run},
        "config": _below(cells, "config."),
        "result": _result(observation, cells),
        "metrics": dict(_dict(metadata, "metrics")),
        "params": observation.params,
        "features": dict.fromkeys(observation.features, "✓"),
        "dicts": _dicts(observation),
        "timing": _blocks(_dict(metadata, "timing")),
        "resources": dict(_flat(_dict(metadata, "resources"))),
        "git": {k: git[k] for k in ("branch", "commit", "dirty", "remote") if k in git},
        "packages": dict(_packages(str(environment.get("pip_freeze") or ""))),
        "system": dict(_flat(_dict(environment, "system"))),
        "code": {"code": metadata["code"]} if isinstance(metadata.get("code"), str) else {},
    }


def rows_of(facts: Sequence[Facts], section: str) -> list[Row]:
    """The fields of one section of several observations, in order of their appearance."""
    names = dict.fromkeys(name for of_one in facts for name in of_one[section])
    rows = []
    for name in names:
        values = [of_one[section].get(name, MISSING) for of_one in facts]
        first = _comparable(values[0])
        same = all(_comparable(value) == first for value in values[1:])
        rows.append(Row(name, values, same))
    return rows


def metric_rows(facts: Sequence[Facts], best: Mapping[str, str]) -> list[Row]:
    """The last values of the metrics, the best of each marked.

    Parameters
    ----------
    best
        ``"min"`` or ``"max"`` by the metric's name; of others the name tells, ``loss`` or
        ``error`` being best where it is smallest.
    """
    found = []
    for name, values, _, _ in rows_of(facts, "metrics"):
        last = [v.get("last", MISSING) if isinstance(v, Mapping) else v for v in values]
        numbers = [v for v in last if isinstance(v, (int, float)) and v == v]
        choose = min if best.get(name, direction(name)) == "min" else max
        top = choose(numbers) if len(set(numbers)) > 1 else None
        marked = frozenset(n for n, v in enumerate(last) if top is not None and v == top)
        same = all(_comparable(value) == _comparable(last[0]) for value in last[1:])
        found.append(Row(name, last, same, marked))
    return found


def direction(name: str) -> str:
    """Which end of a metric is best, as far as its name tells.

    >>> direction("val/loss"), direction("accuracy")
    ('min', 'max')
    """
    return "min" if not _SMALL.isdisjoint(_words(name)) else "max"


def told_direction(name: str) -> str | None:
    """The same; None where its name does not tell.

    >>> told_direction("F1-score"), told_direction("x")
    ('max', None)
    """
    words = {word if word in _KNOWN else word.rstrip("0123456789") for word in _words(name)}
    is_small, is_large = bool(words & (_SMALL | _USED)), bool(words & _LARGE)
    if not words <= _KNOWN or is_small == is_large:
        return None
    return "min" if is_small else "max"


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def shown(value: Any) -> str:
    """A value in one line.

    >>> shown(0.1 + 0.2), shown("a"), shown(MISSING)
    ('0.3', 'a', '—')
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else short_repr(value, 200)


def _with_marks(plain: Plain, blobs: BlobReader) -> Plain:
    """Plain data whose views of pickled values tell contents apart, by a part of their hash."""
    if isinstance(plain, (list, tuple, set)):
        return type(plain)(_with_marks(item, blobs) for item in plain)
    if not isinstance(plain, dict):
        return plain
    if not ("$pickle" in plain or "$blob" in plain):
        return {key: _with_marks(item, blobs) for key, item in plain.items()}
    view = plain.get("view") or {}
    mark = None if view.get("fields") else _mark(plain, blobs)
    return {**plain, "view": {**view, "repr": f"{view.get('repr')} #{mark[:6]}"}} if mark else plain


def _mark(tagged: dict[str, Plain], blobs: BlobReader) -> str | None:
    """What tells a pickled value from others; None if it can't be read."""
    data, name = tagged.get("$pickle"), str(tagged.get("$blob", ""))
    if name and name[0] != "[":
        return name
    try:
        data = blobs.read(name) if name else data
    except DamagedRecord:
        return None
    return short_hash(data) if isinstance(data, bytes) else None


def _run(observation: Observation, metadata: Mapping[str, Any]) -> dict[str, Any]:
    timing = _dict(metadata, "timing")
    total = timing.get("total", timing)
    error = observation.error
    seconds = observation.duration
    known = {
        "experiment": metadata.get("experiment"),
        "variant": metadata.get("variant"),
        "status": observation.status,
        "error": f"{error.get('type')}: {error.get('message')}" if error else None,
        "started": str(total.get("start", ""))[:19].replace("T", " ") or None,
        "took": None if seconds is None else duration_text(seconds),
        "tags": " ".join(observation.tags) or None,
        "note": observation.note,
        "code version": str(metadata.get("fingerprint") or "")[:8] or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def duration_text(seconds: float) -> str:
    """Seconds for people.

    >>> [duration_text(s) for s in (0.00002, 0.25, 12.3, 3660)]
    ['20 µs', '250 ms', '12.3 s', '1 h 01 min']
    """
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def _blocks(timing: Mapping[str, Any]) -> dict[str, str]:
    """How long the named parts of a run took."""
    parts = {k: v for k, v in timing.items() if k != "total" and isinstance(v, Mapping)}
    return {
        name: duration_text(part["duration"]) for name, part in parts.items() if "duration" in part
    }


def _dicts(observation: Observation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    held = observation.dicts()
    for name in held:
        try:
            found.update((f"{name}.{key}", value) for key, value in _flat(held[name]))
        except (OSError, ValueError, AttributeError) as problem:  # altered, or no dict
            found[name] = f"it can't be read: {problem}"
    return found


def _result(observation: Observation, cells: Mapping[str, Any]) -> dict[str, Any]:
    if observation.status != "completed" and observation.shown("result") is None:
        return {}
    fields = _below(cells, "result.")
    return {**({"result": cells["result"]} if "result" in cells else {}), **fields}


def _below(cells: Mapping[str, Any], start: str) -> dict[str, Any]:
    return {name[len(start) :]: v for name, v in cells.items() if name.startswith(start)}


def _dict(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = of.get(key)
    return value if isinstance(value, Mapping) else {}


def _flat(value: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{start}{key}.")
        else:
            yield f"{start}{key}", item


def _packages(freeze: str) -> Iterator[tuple[str, str]]:
    for line in freeze.splitlines():
        found = _REQUIREMENT.match(line)
        if found:
            yield found[1], found[2]
        elif line.strip():
            yield line.strip(), "installed"


def _comparable(value: Plain) -> Any:
    """What two values are compared by: 1 and 1.0 are equal, nan and nan; 1 and True are not."""
    if isinstance(value, (int, float, str)) and value == value:
        return (type(value) is bool, value)
    return repr(value)
