"""Which observations are asked for: what a person says, checked at once. Opens nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, SupportsIndex

from digital_experiments.errors import did_you_mean
from digital_experiments.values import Plain
from digital_experiments.views import plain_number
from digital_experiments.where import Where

Status = str | Iterable[str] | None
Moment = str | date | timedelta | None

ENDED = ("completed", "failed", "interrupted", "timeout", "pruned")
STATUSES = (*ENDED, "running", "lost")
UNDONE = ("failed", "interrupted", "timeout", "lost")
"""What does not count as done where a sweep is resumed."""

_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)[\s,]*")
_UNITS = {
    "weeks": ("w", "wk", "wks", "week"),
    "days": ("d", "day"),
    "hours": ("h", "hr", "hrs", "hour"),
    "minutes": ("m", "min", "mins", "minute"),
    "seconds": ("s", "sec", "secs", "second"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in (unit, *words)}
_NO_TAG = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # lines, controls, halves
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class Selection:
    """What observations have to be like, and in which order they come.

    Attributes
    ----------
    statuses : frozenset of str
        How they ended.
    experiment : str or None
        The experiment they belong to; None for any.
    is_current : callable or None
        Told the facts that many runs share, says whether the current code made them.
    since, until : str or None
        Moments in UTC as ISO 8601: started not before, and before.
    tags : tuple of str
        Tags that they all have.
    where : Where or None
        A condition.
    config : dict
        Values of config fields.
    limit : int or None
        How many at most.
    newest_first : bool
        Whether the newest come first.
    order : tuple of (str, bool), or None
        A column to sort by, and whether its largest values come first.
    """

    statuses: frozenset[str] = frozenset(STATUSES)
    experiment: str | None = None
    is_current: Callable[[Mapping[str, Plain]], bool] | None = None
    since: str | None = None
    until: str | None = None
    tags: tuple[str, ...] = ()
    where: Where | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    newest_first: bool = False
    order: tuple[str, bool] | None = None


def select(
    status: Status = "completed",
    where: str | None = None,
    since: Moment = None,
    until: Moment = None,
    tags: str | Iterable[str] = (),
    limit: int | None = None,
    newest_first: bool = False,
    config: Mapping[str, Any] | None = None,
    **others: Any,
) -> Selection:
    """A selection from what a person says.

    Raises
    ------
    ValueError
        For a status that there is not, a negative limit, a text that is no time.
    InvalidExpression
        For a ``where`` that can't be read.
    TypeError
        For anything of a wrong type.
    """
    condition = None if where is None else Where(where)
    statuses = checked_status(status)
    asks = condition is not None and {"status", "metadata.status"} & condition.columns
    if asks and status == "completed":
        statuses = frozenset(STATUSES)  # the expression says which
    return Selection(
        statuses=statuses,
        where=condition,
        since=moment(since, "since"),
        until=moment(until, "until", whole_day=True),
        tags=tuple(checked_tags(tags)),
        limit=checked_limit(limit),
        newest_first=bool(newest_first),
        config={name: _of_python(value) for name, value in (config or {}).items()},
        **others,
    )


def _of_python(value: Any) -> Any:
    """A value, for a number of NumPy the one that is recorded for it."""
    number = plain_number(value)
    return value if number is None else number


def checked_status(status: Status) -> frozenset[str]:
    """The statuses asked for."""
    if not (status is None or isinstance(status, (str, Iterable))):
        raise TypeError(
            f"status must be one or more of {STATUSES}, or None, not {status!r}. For a config "
            "field of that name, use observations().filter(status=...)."
        )
    if status is None:
        return frozenset(STATUSES)
    wanted = frozenset({status} if isinstance(status, str) else status)
    for name in wanted - set(STATUSES):
        raise ValueError(f"There is no status {name!r}. {did_you_mean(str(name), STATUSES)}")
    return wanted


def checked_tags(tags: str | Iterable[str]) -> list[str]:
    """Tags as a list of texts of one line; a text alone is one tag."""
    if not isinstance(tags, Iterable):
        raise TypeError(f"tags must be a text or a list of texts, not {tags!r}.")
    listed = [tags] if isinstance(tags, str) else list(tags)
    for tag in listed:
        if not isinstance(tag, str):
            raise TypeError(f"tags must be texts, not {tag!r}.")
        if not tag.strip() or _NO_TAG.search(tag):
            raise ValueError(f"{tag!r} can't be a tag: expected a text of one line.")
    return listed


def checked_columns(columns: Iterable[str] | None) -> list[str] | None:
    """Names of columns."""
    if columns is None:
        return None
    listed = [] if isinstance(columns, str) else list(columns)
    if isinstance(columns, str) or not all(isinstance(name, str) for name in listed):
        raise TypeError(f"columns must be a list of names, not {columns!r}.")
    return listed


def checked_limit(limit: int | None, name: str = "limit") -> int | None:
    """A number of observations."""
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, SupportsIndex) or limit.__index__() < 0:
        raise ValueError(f"{name} must be a number of observations, 0 or more, not {limit!r}.")
    return int(limit)


def moment(value: Moment, name: str, whole_day: bool = False) -> str | None:
    """A moment in UTC, as ISO 8601.

    Parameters
    ----------
    value
        A datetime (of the local time zone, where it has none), a date, an ISO 8601 text, or how
        long ago: a timedelta or a text such as ``"7d"``, ``"1h 30m"``, ``"30 minutes"``.
    name
        What it is called, for the message about a wrong one.
    whole_day
        Whether a day without a time stands for its end.

    Examples
    --------
    >>> moment("2026-11-21T10:15:00+01:00", "since")
    '2026-11-21T09:15:00.000000+00:00'
    """
    if value is None:
        return None
    try:
        return _in_utc(_then(value, name), whole_day)
    except OverflowError:
        raise ValueError(f"{name}={value!r} is beyond all calendars.") from None


def _in_utc(then: date, whole_day: bool) -> str:
    if not isinstance(then, datetime):
        day = then + timedelta(days=1) if whole_day else then
        then = datetime(day.year, day.month, day.day)
    elif then.tzinfo is None:  # also one of pandas, which asks for a zone
        then = datetime.combine(then.date(), then.time())
    return then.astimezone(UTC).isoformat(timespec="microseconds")


def _then(value: str | date | timedelta, name: str) -> date:
    if isinstance(value, str):
        value = _read_moment(value, name)
    if isinstance(value, timedelta):
        return datetime.now(UTC) - value
    if isinstance(value, date):
        return value
    raise TypeError(f"{name} must be a time or how long ago, not {value!r}.")


def _read_moment(text: str, name: str) -> date | timedelta:
    ago = _span(text)
    if ago is not None:
        return ago
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{name}={text!r} is no time: expected ISO 8601, such as '2026-11-21' or "
            "'2026-11-21 10:15', or how long ago in weeks, days, hours, minutes and seconds: "
            "'7d', '1h 30m'."
        ) from None


def _span(text: str) -> timedelta | None:
    """How long a text such as ``1 day 12 hours ago`` says; None if it does not."""
    words = text.strip().lower().removesuffix("ago").rstrip()
    parts = _SPAN.findall(words)
    if not parts or _SPAN.sub("", words) or not all(unit in _UNIT_OF for _, unit in parts):
        return None
    return sum((timedelta(**{_UNIT_OF[u]: float(n)}) for n, u in parts), timedelta())


def byte_count(size: int | str, name: str) -> int:
    """A number of bytes, given as such or as a text like ``"10 MB"`` or ``"1 GiB"``.

    >>> byte_count("1.5 kB", "bigger_than"), byte_count("2 KiB", "bigger_than")
    (1500, 2048)
    """
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        raise ValueError(f"{name} must be a size in bytes, or like '10 MB', not {size!r}.")
    unit = 1024.0 if found[3] else 1000.0
    return round(float(found[1]) * unit ** _POWERS[found[2].lower()])
