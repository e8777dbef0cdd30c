"""How a run shows itself while it lives, and what it used. Knows the store's runs in flight."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from digital_experiments.errors import DigitalExperimentsError
from digital_experiments.heart import Sample, heart
from digital_experiments.recorder import Recorder
from digital_experiments.store import flight
from digital_experiments.store.codecs import dump_json
from digital_experiments.store.formats import FORMAT
from digital_experiments.values import Plain
from digital_experiments.views import short_repr

_LARGE = 4096  # bytes of JSON from which on a value of the config is only described


class Shown:
    """The part of a run that the process's heart calls. Mixed into ``Run``."""

    id: str
    recorder: Recorder
    started: float
    begun: float
    seconds: float
    cpu: float
    _plain_config: Plain
    _metadata: Callable[[BaseException | None], dict[str, Any]]
    _logged_facts: Callable[[], dict[str, Any]]
    _first: Sample | None = None
    _last: Sample | None = None
    _peak = 0
    _is_shown = False
    _config_shown: dict[str, Plain] | None = None

    def sampled(self, sample: Sample) -> None:
        """Take note of what the process uses."""
        self._first = self._first or sample
        self._last = sample
        self._peak = max(self._peak, sample.rss)

    def announce(self) -> None:
        """Show that the run has begun."""
        self.beat(self._sampled_now())

    def beat(self, sample: Sample) -> None:
        """Write down that the run lives, and what is known of it."""
        from digital_experiments.ids import utc_text

        metadata = {
            **self._metadata(None),
            **self._logged_facts(),
            "status": "running",
            "timing": {
                "start": utc_text(self.started),
                "duration": time.perf_counter() - self.begun,
            },
            "resources": self.resources(sample),
            "heartbeat": flight.own_heartbeat(os.getpid()),
        }
        record = {
            "format": FORMAT,
            "id": self.id,
            "config": self._short_config(),
            "result": None,
            "metadata": metadata,
        }
        try:
            flight.beat(self.recorder.root, self.id, record)
            self._is_shown = True
        except (OSError, DigitalExperimentsError):  # it is shown again in two seconds
            pass

    def _short_config(self) -> dict[str, Plain]:
        """The config, of whose large values there are only views."""
        if self._config_shown is None:
            self._config_shown = {
                key: _short(value) for key, value in dict(self._plain_config).items()
            }
        return self._config_shown

    def land(self) -> None:
        """The run is recorded: show it as in flight no more."""
        flight.land(self.recorder.root, self.id)

    def resources(self, sample: Sample | None = None) -> dict[str, Any]:
        """What the process used since the run began.

        Bytes written are counted from the first sample on, half a second after the start.
        """
        last = sample or self._sampled_now()
        assert self._first is not None
        facts: dict[str, Any] = {
            "wall_seconds": time.perf_counter() - self.begun,
            "cpu_seconds": time.process_time() - self.cpu,
            "peak_rss_bytes": self._peak,
        }
        if last.written is not None and self._first.written is not None:
            facts["written_bytes"] = last.written - self._first.written
        if sample is not None:
            facts.update(cpu_percent=sample.cpu, rss_bytes=sample.rss)
        if last.gpus:
            facts["gpus"] = [dict(card) for card in last.gpus]
        return facts

    def _sampled_now(self) -> Sample:
        sample = heart.sample()
        self.sampled(sample)
        return sample


def _short(value: Plain) -> Plain:
    if isinstance(value, dict) and len(value.get("$pickle", b"")) > _LARGE:
        return {"$view": value["view"]}
    if len(dump_json(value)) <= _LARGE:
        return value
    return {"$view": {"repr": short_repr(value)}}
