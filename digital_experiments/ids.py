"""Ids of runs: a UTC time and a random suffix. Knows nothing of what they name."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import lru_cache

from digital_experiments.errors import InvalidName

_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]  # ten bits each
_MICROSECONDS = 1_000_000
_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{6}")
_FIT_NAME = re.compile(r"(?!\.)(?!.*\.\.)[^/\\\x00-\x1f\ud800-\udfff]+")
_NAME_BYTES = 200


class _Clock:
    """Microseconds since the epoch that do not run backwards within a process.

    Ids sort by time; were the system's clock set back between two runs, the later one
    would sort before the earlier, so this clock crawls on from its last value instead.
    It needs no lock: what makes an id unique is its suffix.
    """

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> int:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last


_clock = _Clock()


def _suffix() -> str:
    """Thirty random bits of the operating system's: equal in no two processes, forks included."""
    bits = int.from_bytes(os.urandom(4), "little")
    return _PAIRS[bits & 1023] + _PAIRS[bits >> 10 & 1023] + _PAIRS[bits >> 20 & 1023]


@lru_cache(maxsize=64)
def _second(seconds: int, form: str) -> str:
    return time.strftime(form, time.gmtime(seconds))


def new_id() -> str:
    """An id that sorts by time and that no other process, thread or host will make.

    Returns
    -------
    str
        ``YYYY-MM-DD_HH-MM-SS_ffffff_`` in UTC, and six random characters.

    Examples
    --------
    >>> from digital_experiments.ids import new_id
    >>> first, second = new_id(), new_id()
    >>> first < second
    True
    >>> len(first)
    33
    """
    seconds, micros = divmod(_clock(), _MICROSECONDS)
    return f"{_second(seconds, '%Y-%m-%d_%H-%M-%S')}_{micros:06d}_{_suffix()}"


def id_at(seconds: float, what: str) -> str:
    """The id for what began at a moment: always the same for the same.

    >>> id_at(0.5, "run 7 of another system")
    '1970-01-01_00-00-00_500000_lamtcu'
    """
    from hashlib import blake2b

    whole, micros = divmod(round(seconds * _MICROSECONDS), _MICROSECONDS)
    bits = int.from_bytes(blake2b(what.encode(), digest_size=4).digest(), "little")
    suffix = _PAIRS[bits & 1023] + _PAIRS[bits >> 10 & 1023] + _PAIRS[bits >> 20 & 1023]
    return f"{_second(whole, '%Y-%m-%d_%H-%M-%S')}_{micros:06d}_{suffix}"


def started(id: str) -> float:
    """The moment in an id, in seconds since the epoch.

    >>> started("1970-01-01_00-00-01_500000_lamtcu")
    1.5
    """
    from calendar import timegm

    seconds = timegm(time.strptime(id[:19], "%Y-%m-%d_%H-%M-%S"))
    return seconds + int(id[20:26]) / _MICROSECONDS


FULL_ID = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{6}_[0-9a-v]{6}")
"""What the ids that are made here look like."""


def looks_like_id(text: str) -> bool:
    """Whether a text starts as ids do: with a time.

    >>> looks_like_id("2026-11-21_10-15-00_123456"), looks_like_id("settings")
    (True, False)
    """
    return _TIME.match(text) is not None


def check_id(id: str) -> str:
    """Return ``id`` if it is fit to be the name of a file in the store's own folder.

    Raises
    ------
    InvalidName
        If it is empty, hidden, too long, or holds a separator or ``..``.
    """
    return check_name(id, "an observation's id")


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it can be the name of one file or folder, else say why not."""
    if type(name) is str and len(name) < _NAME_BYTES // 4 and _FIT_NAME.fullmatch(name):
        return name
    for problem in _problems(name):
        raise InvalidName(f"{name!r} can't be {what}: {problem}.")
    return name


def check_path(name: str, what: str) -> str:
    """Return ``name`` if each of its parts between ``/`` can be the name of a file or folder.

    >>> check_path("train/loss", "the name of a metric")
    'train/loss'
    """
    for part in name.split("/") if isinstance(name, str) else (name,):
        try:
            check_name(part, what)
        except InvalidName as problem:
            if part is name:
                raise
            raise InvalidName(f"{name!r} can't be {what}. Of its parts, {problem}") from None
    return name


def _problems(name: str) -> Iterator[str]:
    if not isinstance(name, str):
        yield f"expected a str, got {type(name).__name__}"
    elif not name:
        yield "it is empty"
    elif len(name.encode(errors="surrogatepass")) > _NAME_BYTES:
        yield f"it is longer than {_NAME_BYTES} bytes"
    elif not _FIT_NAME.fullmatch(name):
        yield "it starts with a dot, or holds '..', a separator, or what is no character"


def utc_text(seconds: float) -> str:
    """A moment as ISO 8601 in UTC, to the microsecond.

    >>> utc_text(0.5)
    '1970-01-01T00:00:00.500000+00:00'
    """
    whole, micros = divmod(round(seconds * _MICROSECONDS), _MICROSECONDS)
    return f"{_second(whole, '%Y-%m-%dT%H:%M:%S')}.{micros:06d}+00:00"
