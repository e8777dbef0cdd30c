"""What went wrong, as it is told: warnings at the user's line, exceptions as facts."""

from __future__ import annotations

import os
import warnings

from digital_experiments.errors import TIMED_OUT, OfflineWarning, RunEnded
from digital_experiments.followed import Follower
from digital_experiments.views import type_name

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn_user(text: str, category: type[Warning]) -> None:
    """Warn where the user's code called, so that the warning names a line of theirs."""
    import sys

    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def warn_of_trouble(follower: Follower) -> None:
    """Warn of what went wrong with a bucket and was not told yet."""
    told = follower.trouble()
    if told is not None:
        warn_user(told, OfflineWarning)


def status_of(error: BaseException | None) -> str:
    """How a run ended; an exception may say that itself."""
    if error is None:
        return "completed"
    if isinstance(error, RunEnded):
        return error.status
    if isinstance(error, Exception):
        return "failed"
    return "timeout" if is_timeout(error) else "interrupted"


def is_timeout(error: BaseException) -> bool:
    """Whether a coroutine was cancelled because its time was over."""
    return any(told is TIMED_OUT for told in error.args)  # others may be of any type


def error_facts(error: BaseException) -> dict[str, str]:
    """An exception as text; the frames of this package are left out of its traceback."""
    import traceback

    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace, limit=-100)
    return {
        "type": type_name(type(error)),
        "message": text_of(error),
        "traceback": "".join(lines),
    }


def text_of(error: BaseException) -> str:
    """What an exception says, whatever its own code does."""
    try:
        return str(error)
    except Exception as problem:
        return f"<{type(problem).__name__} in its text>"
