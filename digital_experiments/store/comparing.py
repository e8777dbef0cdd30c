"""Cells of a table that SQLite can't compare or sort: large whole numbers, and times."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from digital_experiments.store.batches import uncell
from digital_experiments.views import short_repr
from digital_experiments.where import COMPARED

_OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


def comparison(sign: str) -> Callable[[Any, Any], bool]:
    """What compares two cells: numbers, or times with times and with texts in ISO 8601."""
    compare = _OPERATORS[sign]

    def compared(one: Any, other: Any) -> bool:
        pair = _alike(uncell(one), uncell(other))
        return pair is not None and bool(compare(*pair))

    return compared


COMPARISONS = {name: comparison(sign) for sign, name in COMPARED.items()}
"""By what they are called in SQL."""


def ordinal(packed: Any, _: Any) -> Any:
    """What a packed cell is sorted by; None, which comes last, for NaN."""
    value = uncell(packed)
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    if isinstance(value, float):
        return None
    moment = _moment(value) if isinstance(value, datetime) else None
    return short_repr(value) if moment is None else moment.isoformat()


def _alike(one: Any, other: Any) -> tuple[Any, Any] | None:
    if _is_number(one) and _is_number(other):
        return one, other
    if isinstance(one, datetime) or isinstance(other, datetime):
        moments = _moment(one), _moment(other)
        return None if None in moments else moments
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _moment(value: Any) -> datetime | None:
    try:
        when = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        return when.astimezone(UTC) if isinstance(when, datetime) else None
    except (ValueError, OverflowError):  # no time; or one at the ends of the calendar
        return None
