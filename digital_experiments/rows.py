"""An observation as a row of a table. Reads no values that are not plain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from digital_experiments.columns import cells_of
from digital_experiments.values import Plain, encode

if TYPE_CHECKING:
    from digital_experiments.observation import Observation


def row(
    observation: Observation,
    include_metadata: bool = False,
    sep: str = ".",
    told: Callable[[Plain], Plain] = lambda plain: plain,
) -> Iterator[tuple[str, Any]]:
    """The columns of an observation and its values there, without loading any.

    ``told`` may add to what views tell.
    """
    yield "id", observation.id
    metadata = observation.metadata if include_metadata else {"metrics": observation.summary}
    record = {
        "config": told(observation.plain("config")),
        "result": told(observation.plain("result")),
        "metadata": encode(dict(metadata)),
    }
    try:
        yield from cells_of(record, include_metadata, sep)
    except Exception as problem:  # a record that was altered: tags without their content
        yield "result", f"<damaged: {type(problem).__name__}>"


def number(observation: Observation, column: str) -> float | None:
    """The number of an observation in a column; None where there is none, or NaN."""
    value = dict(row(observation, column.startswith("metadata"))).get(column)
    if isinstance(value, (int, float)) and value == value:
        return value
    return None
