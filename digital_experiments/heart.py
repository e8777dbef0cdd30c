"""One thread a process that shows that runs live, and writes out what they log.

It is there only while there are runs, and steps aside when the process forks. Knows of a run
only what it calls.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

TICK = 0.5
"""Seconds between two looks at the runs: what is logged is in its file after that time."""

AGE = 1.0
"""Seconds that a run has to live to be shown."""

_RECENT = 0.05  # seconds

BEAT = 2.0
"""Seconds between two writings of what is known of a run."""


class Sample(NamedTuple):
    """What the process uses at a moment.

    Attributes
    ----------
    cpu : float
        Percent of one core since the sample before.
    rss : int
        Bytes in memory.
    written : int or None
        Bytes written to storage since the process began, where the system tells.
    gpus : tuple of dict
        Of each graphics card ``utilisation`` in percent and ``memory`` in bytes.
    """

    cpu: float
    rss: int
    written: int | None
    gpus: tuple[dict[str, int], ...]


class Logging(Protocol):
    """What is asked of a run that logs."""

    id: str

    def flush_log(self) -> None: ...  # noqa: D102


class Beating(Logging, Protocol):
    """What is asked of a run that is shown."""

    begun: float
    cpu: float

    def sampled(self, sample: Sample) -> None: ...  # noqa: D102
    def beat(self, sample: Sample) -> None: ...  # noqa: D102
    def adopt(self) -> None: ...  # noqa: D102


class Heart:
    """Watches the runs of this process."""

    def __init__(self) -> None:
        self._runs: dict[str, Beating] = {}
        self._adopted: dict[str, Logging] = {}
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._step_aside, after_in_parent=self._resume, after_in_child=self._in_child
            )

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a signal may make a run meanwhile
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: Any = None
        self._asked, self._cpu = -1.0, 0.0

    def watch(self, run: Beating) -> None:
        """Look after a run from now on, and tell it the CPU time that the process has used."""
        if run.begun - self._asked > _RECENT:  # the system takes a while to tell
            self._asked, self._cpu = run.begun, time.process_time()
        run.cpu = self._cpu
        self._runs[run.id] = run
        if self._thread is None:
            self._start()

    def leave(self, run: Beating) -> None:
        """Look after it no more: when this returns, nothing is written for it."""
        if self._runs.pop(run.id, None) and time.perf_counter() - run.begun > AGE - TICK:
            with self._lock:  # it may be its turn just now
                pass

    def adopt(self, run: Logging) -> None:
        """In a forked process: write out what is logged to the parent's run."""
        self._adopted[run.id] = run
        if self._thread is None:
            self._start()

    def sample(self) -> Sample:
        """What the process uses now."""
        import psutil

        if self._process is None:
            self._process = psutil.Process()
        process: psutil.Process = self._process
        with process.oneshot():
            cpu, rss = process.cpu_percent(), process.memory_info().rss
            written = None
            with suppress(psutil.Error, AttributeError, NotImplementedError):  # not on macOS
                written = process.io_counters().write_bytes
        return Sample(cpu, rss, written, _gpus())

    def _start(self) -> None:
        from digital_experiments.store.halves import STEPS_ASIDE

        with self._lock:
            if self._thread is not None:
                return
            self._stop.clear()
            name = "digital_experiments heart"
            self._thread = threading.Thread(target=self._beat, name=name, daemon=True)
            setattr(self._thread, STEPS_ASIDE, True)
            with suppress(RuntimeError):  # the interpreter is ending
                self._thread.start()

    def _beat(self) -> None:
        shown: dict[str, float] = {}
        stop = self._stop
        while not stop.wait(TICK):
            with self._lock:
                this, self._thread = self._thread, None  # a run that comes now starts another,
                if not (self._runs or self._adopted):
                    return
                self._thread = this  # or finds this one, once it has the lock
            for run in (*list(self._runs.values()), *list(self._adopted.values())):
                with suppress(Exception):  # the run meets it again at its end, and tells of it
                    run.flush_log()
            with suppress(Exception):
                self._show(shown)

    def _show(self, shown: dict[str, float]) -> None:
        """Show the runs that are old enough, each every two seconds."""
        now = time.perf_counter()
        old = [run for run in list(self._runs.values()) if now - run.begun > AGE - TICK]
        sample = self.sample() if old else None
        for run in old:
            assert sample is not None
            with self._lock:
                if run.id not in self._runs:
                    continue
                run.sampled(sample)
                if now - run.begun >= AGE and now - shown.get(run.id, 0) >= BEAT:
                    shown[run.id] = now
                    run.beat(sample)
        for id in shown.keys() - self._runs.keys():
            del shown[id]

    def _step_aside(self) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._stop.set()
            with suppress(RuntimeError):
                thread.join(1)

    def _resume(self) -> None:
        if self._stop.is_set():
            self._stop = threading.Event()
            self._thread = None
            if self._runs or self._adopted:
                self._start()

    def _in_child(self) -> None:
        inherited = list(self._runs.values())
        self._runs, self._adopted = {}, {}
        self._reset()
        for run in inherited:
            run.adopt()


def _gpus() -> tuple[dict[str, int], ...]:
    """Of each graphics card of NVIDIA what it does, where their library is installed."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return ()
    try:
        pynvml.nvmlInit()
        cards = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        return tuple(
            {
                "utilisation": int(pynvml.nvmlDeviceGetUtilizationRates(card).gpu),
                "memory": int(pynvml.nvmlDeviceGetMemoryInfo(card).used),
            }
            for card in cards
        )
    except pynvml.NVMLError:
        return ()


heart = Heart()
