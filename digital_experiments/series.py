"""Series of numbers that a run logs: one text file, a JSON list a point. Knows no run.

A line is ``["loss", step, value, time]``; the time is in seconds since the epoch. NaN and the
infinities, which JSON has not, are the texts ``nan``, ``inf`` and ``-inf``.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import count
from operator import itemgetter
from threading import RLock
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

from digital_experiments.errors import UnknownColumn, did_you_mean
from digital_experiments.files import append, read_bytes
from digital_experiments.ids import check_path
from digital_experiments.memory import paused_collection
from digital_experiments.views import short_repr

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")

FILE = "metrics.jsonl"
Point = tuple[str, int | float, int | float | str, float]
"""Key, step, value, time."""

_FULL = 4096  # points in memory at most
_LARGEST = 2**63
_NUMBERS = (int, float)
_ODD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class SeriesWriter:
    """Takes points from any thread, and appends them to a file many at a time.

    Parameters
    ----------
    path : callable
        Gives the file's path, once it is needed.
    fail : callable
        Told what the system said where points can't be written; gives another path, or None.
    """

    def __init__(self, path: Callable[[], str], fail: Callable[[OSError], str | None]) -> None:
        self._path = path
        self._fail = fail
        self._steps: dict[str, count[int]] = {}
        self._points: list[Point] = []
        self._lock = RLock()
        self._flushing = False
        self._written = 0
        self._summary: dict[str, dict[str, Any]] = {}

    def add(self, key: str, value: Any, step: Any = None) -> None:
        """Take one point."""
        if type(value) is not float or value - value != 0.0:
            value = as_number(value, key)
        try:
            steps = self._steps[key]
        except (KeyError, TypeError):  # a new key, or none that can be one
            steps = self._steps[check_path(key, "the name of a metric")] = count()
        if step is None:
            step = next(steps)
        elif type(step) is not int or not -_LARGEST <= step < _LARGEST:
            step = _as_step(step, key)
        points = self._points
        points.append((key, step, value, time()))
        if len(points) >= _FULL:
            self.flush()

    def flush(self) -> None:
        """Append what was taken to the file."""
        if not self._points:
            return
        with self._lock:
            if self._flushing:  # by this thread: a signal has come meanwhile
                return
            self._flushing = True
            try:
                self._flush()
            finally:
                self._flushing = False

    def _flush(self) -> None:
        points = self._points[:]
        if not points:  # another thread was quicker
            return
        self._append(lines_of(points))
        del self._points[: len(points)]  # others may have come meanwhile
        _summarise(points, self._summary)

    def _append(self, data: bytes) -> None:
        try:
            self._written += append(self._path(), data)
        except OSError as problem:
            other = self._fail(problem)
            if other is not None:
                before = self._written_before()
                self._path = lambda: other
                self._written = append(other, before + data)

    def _written_before(self) -> bytes:
        """The whole lines that a file took before it took no more."""
        with suppress(OSError):
            return read_bytes(self._path())[: self._written]
        return b""

    def summary(self) -> dict[str, dict[str, Any]]:
        """Of each series the ``last`` value, ``min``, ``max`` and ``count``."""
        self.flush()
        if self._written and os.path.getsize(self._path()) != self._written:
            return summary_of(read_points(self._path()))  # a forked process has logged too
        return {key: dict(facts) for key, facts in self._summary.items()}


class WatchedSeries(SeriesWriter):
    """The same, with somebody who is told of each point: its series, value and step."""

    def __init__(
        self,
        path: Callable[[], str],
        fail: Callable[[OSError], str | None],
        watch: Callable[[str, float, float], None],
    ) -> None:
        super().__init__(path, fail)
        self._watch = watch

    def add(self, key: str, value: Any, step: Any = None) -> None:
        """Take one point, and tell of it."""
        if step is None:
            step = next(self._steps.setdefault(check_path(key, "the name of a metric"), count()))
        super().add(key, value, step)
        self._watch(key, float(as_number(value, key)), step)


def lines_of(points: list[Point]) -> bytes:
    """Points as the lines of a file."""
    from orjson import dumps

    return dumps(points)[1:-1].replace(b'],["', b']\n["') + b"\n"


def summary_of(points: Iterable[Point]) -> dict[str, dict[str, Any]]:
    """Of each series the ``last`` value, ``min``, ``max`` and ``count``."""

    def summarised(some: list[Point]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        _summarise(some, found)
        return found

    return _of_whole(summarised, list(points))


def as_number(value: Any, key: str) -> int | float | str:
    """A value as it stands in the file.

    Raises
    ------
    TypeError
        If it is no real number.
    OverflowError
        If it is beyond all floats.
    """
    number = _plain_number(value)
    if number is None:
        raise TypeError(
            f"The value of metric {key!r} must be a number, not {type(value).__name__} "
            f"{short_repr(value, 80)}. For texts there is log_param, for dicts log_dict."
        )
    return number if math.isfinite(number) else str(number)


def _plain_number(value: Any) -> int | float | None:
    """A Python number from one of NumPy's, Torch's and the like; None for what is no number."""
    if isinstance(value, (str, bytes, bytearray, complex)):
        return None
    with suppress(TypeError):
        whole = int(operator.index(value))
        return whole if -_LARGEST <= whole < _LARGEST else _as_float(whole)
    with suppress(TypeError, ValueError):
        return _as_float(value)
    return None


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        text = "A number to log must be less than 1.8e308: this one is larger."
        raise OverflowError(text) from None


def _as_step(step: Any, key: str) -> int | float:
    number = _plain_number(step)
    if number is None or not math.isfinite(number):
        error = TypeError if number is None else ValueError
        raise error(
            f"The step of metric {key!r} must be a finite number, not {short_repr(step, 80)}."
        )
    return number


def _summarise(points: Iterable[Point], found: dict[str, dict[str, Any]]) -> None:
    """Take more points into account."""
    values: dict[str, list[Any]] = {}
    for key, _, value, _ in points:
        try:
            values[key].append(value)
        except KeyError:
            values[key] = [value]
    for key, some in values.items():
        facts = found.setdefault(key, {"last": None, "min": None, "max": None, "count": 0})
        facts["last"] = _ODD.get(some[-1], some[-1])
        facts["count"] += len(some)
        if str in set(map(type, some)):
            some = [v for v in (_ODD.get(v, v) for v in some) if v == v]
        known = [v for v in (facts["min"], facts["max"]) if v is not None]
        facts["min"] = min([*some, *known], default=None)
        facts["max"] = max([*some, *known], default=None)


def read_points(path: str) -> list[Point]:
    """The points in a file; lines that were torn are left out.

    None there are where the file is missing.
    """
    from orjson import JSONDecodeError, loads

    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return []
    try:
        with paused_collection():
            points: list[Any] = loads(b"[%b]" % data.rstrip(b"\n").replace(b"\n", b","))
    except JSONDecodeError:
        points = [_loaded(line) for line in data.split(b"\n")]
    if not ({list}.issuperset(map(type, points)) and {4}.issuperset(map(len, points))):
        points = whole_points(points)
    return points


def _loaded(line: bytes) -> Any:
    from orjson import JSONDecodeError, loads

    try:
        return loads(line)
    except JSONDecodeError:
        return None


def whole_points(points: Iterable[Any]) -> list[Point]:
    """Those that are points indeed: anybody may have written into the file."""
    return [point for point in points if _is_point(point)]


def _is_point(point: Any) -> bool:
    if not (type(point) is list and len(point) == 4):
        return False
    key, step, value, time = point
    number = type(value) in _NUMBERS or (type(value) is str and value in _ODD)
    return type(key) is str and type(step) in _NUMBERS and number and type(time) in _NUMBERS


def _of_whole(work: Callable[[list[Point]], T], points: list[Point]) -> T:
    """What some work makes of points; of the whole ones alone if it fails for the others."""
    try:
        return work(points)
    except UnknownColumn:
        raise
    except (TypeError, ValueError, LookupError):
        return work(whole_points(points))


def series_of(path: str) -> dict[str, tuple[Any, Any]]:
    """Steps and values of each series in a file, by name, as arrays of floats."""
    with paused_collection():  # until the points, which are many, are gone again
        return _of_whole(_series_of, read_points(path))


def _series_of(points: list[Point]) -> dict[str, tuple[Any, Any]]:
    return {key: _arrays(some) for key, some in _by_key(points).items()}


def _arrays(points: list[Point]) -> tuple[Any, Any]:
    import numpy

    _, steps, values, _ = zip(*points, strict=True)
    return numpy.array(steps, dtype=float), numpy.array(_numbers(values), dtype=float)


def _by_key(points: list[Point]) -> dict[str, list[Point]]:
    keys = dict.fromkeys(map(itemgetter(0), points))
    if len(keys) == 1:
        return dict.fromkeys(keys, points)
    found: dict[str, list[Point]] = {key: [] for key in keys}
    for point in points:
        found[point[0]].append(point)
    return found


def _numbers(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Values as numbers, those too that stand as texts."""
    return tuple(_ODD.get(v, v) for v in values) if str in set(map(type, values)) else values


def frame_of(points: list[Point], key: str | None) -> pandas.DataFrame:
    """Points as a frame: of one series ``step``, ``value``, ``time``; of all a ``key`` before.

    Raises
    ------
    UnknownColumn
        If there is no such series.
    """
    if key is not None and not isinstance(key, str):
        raise TypeError(f"metrics expects the name of one series, not {key!r}.")
    with paused_collection():
        return _of_whole(partial(_frame_of, key=key), points)


def _frame_of(points: list[Point], key: str | None) -> pandas.DataFrame:
    import numpy
    import pandas

    if key is not None:
        known = _by_key(points)
        if key not in known:
            raise UnknownColumn(f"No metric {key!r} was logged. {did_you_mean(key, known)}")
        points = known[key]
    keys, steps, values, times = zip(*points, strict=True) if points else ((), (), (), ())
    values = _numbers(values)
    moments = (numpy.array(times, dtype=float) * 1e6).round().astype("datetime64[us]")
    columns: dict[str, Any] = {} if key is not None else {"key": pandas.Series(keys, dtype=str)}
    return pandas.DataFrame(
        {
            **columns,
            "step": _steps_of(steps),
            "value": numpy.array(values, dtype=float),
            "time": pandas.Series(moments).dt.tz_localize("UTC"),
        }
    )


def _steps_of(steps: tuple[Any, ...]) -> Any:
    import numpy

    found = numpy.array(steps, dtype=None if steps else int)
    if found.dtype.kind not in "if":
        raise TypeError(f"steps of {found.dtype}")
    return found
