"""The steps that a run has made: what its metadata keep of each call. Knows no step."""

from __future__ import annotations

from threading import RLock
from typing import Any

_MOST = 1000
"""Calls of steps that a run keeps one by one; of further ones it keeps count and time."""

StepFacts = dict[str, Any]


class StepLog:
    """What is known of the calls of steps in one run, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[StepFacts] = []
        self._more: dict[str, StepFacts] = {}
        self._lock = RLock()  # a signal may call a step meanwhile

    def begin(self, call: StepFacts) -> int | None:
        """Take note of a call, and give its place; None if there are too many."""
        with self._lock:
            if len(self._calls) >= _MOST:
                return None
            self._calls.append(call)
            return len(self._calls) - 1

    def count(self, call: StepFacts) -> None:
        """Count a call that has no place of its own."""
        with self._lock:
            more = self._more.setdefault(call["name"], {"count": 0, "duration": 0.0})
            more["count"] += 1
            more["duration"] += call["duration"]

    def facts(self) -> dict[str, Any]:
        """Metadata: ``steps``, and ``more_steps`` where there are too many."""
        with self._lock:
            facts: dict[str, Any] = {"steps": [dict(call) for call in self._calls]}
            if self._more:
                facts["more_steps"] = {name: dict(more) for name, more in self._more.items()}
        return facts
