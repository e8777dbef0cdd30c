"""One run in flight: who it is, where its files go, how it ends as an observation.

The only way from a call to a record. Knows backends and duck-typed callbacks; never
experiments, controllers or executors.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

from digital_experiments.config import Config
from digital_experiments.errors import (
    CallbackWarning,
    DigitalExperimentsWarning,
    NoActiveRun,
    OfflineWarning,
    RecordingError,
    RecordingWarning,
)
from digital_experiments.faults import error_facts, status_of, warn_user
from digital_experiments.files import make_folder
from digital_experiments.followed import follower_of, followers
from digital_experiments.heart import AGE, heart
from digital_experiments.ids import new_id, utc_text
from digital_experiments.log import RunLog
from digital_experiments.observation import Observation, thawed
from digital_experiments.recorder import Listener, Recorder
from digital_experiments.retention import Retention
from digital_experiments.shown import Shown
from digital_experiments.steplog import StepLog
from digital_experiments.store.layout import STORAGE, storage_folder
from digital_experiments.values import Plain
from digital_experiments.views import short_repr

_current: ContextVar[Run | None] = ContextVar("digital_experiments_run", default=None)


class Run(RunLog, Shown):
    """One execution in flight. Use it as a context manager around the work.

    Attributes
    ----------
    id : str
        Its unique name, which is also the observation's.
    config : dict
        The arguments of the call, as the caller passed them.
    result : Any
        What the work came to; set it before the block ends.
    parent : Run or None
        The run within which this one was started.
    observation : Observation or None
        The record, once the run has ended.
    plain_result : list or None
        A result that was encoded piece by piece, in place of ``result``.
    lost : list of str
        A line for each value that can't be pickled.
    facts : dict
        Metadata that are known before it ends; callbacks may add to them.
    announced : bool
        Whether it is shown as in flight from its beginning on, however short it is.
    """

    result: Any = None
    observation: Observation | None = None
    plain_result: list[Plain] | None = None
    cache_key: str | None = None
    recorded = False
    announced = False
    seconds = 0.0
    started = 0.0
    _folder: str | None = None
    _is_elsewhere = False
    _steps: StepLog | None = None

    def __init__(
        self,
        recorder: Recorder,
        config: Config,
        plain_config: Plain,
        lost: list[str],
        facts: dict[str, Any],
        id: str | None = None,
    ) -> None:
        self.recorder = recorder
        self.id = id or new_id()
        self.config = config
        self.parent = _current.get()
        self.lost = lost
        self.blocks: dict[str, dict[str, Any]] = {}
        self.facts = facts
        self._plain_config = plain_config
        self._faults: list[tuple[str, type[DigitalExperimentsWarning]]] = []
        self._deaf: list[Listener] = []  # callbacks whose start failed
        self._late: list[tuple[Run, BaseException | None]] = []

    def __repr__(self) -> str:
        return f"Run({self.id}, {short_repr(self.config)})"

    @property
    def dir(self) -> Path:
        """The folder for this run's files, made when it is first asked for."""
        folder = self._folder or storage_folder(self.recorder.root, self.id)
        try:
            make_folder(folder)
        except OSError as problem:
            folder = str(self.rescue_dir())
            self.fault(f"The files of run {self.id} go to {folder}, because {problem}.")
        self._folder = folder
        return Path(folder)

    def rescue_dir(self) -> Path:
        """A folder for what the store does not take, made if it is missing."""
        folder = storage_folder(self.recorder.rescue_folder(), self.id)
        make_folder(folder)
        return Path(folder)

    def __enter__(self) -> Run:
        self._token = _current.set(self)
        try:
            self.begin()
        except BaseException:
            _current.reset(self._token)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.finish(error)
        finally:
            _current.reset(self._token)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the current run for a while."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def begin(self) -> None:
        """Tell the callbacks that the run starts, then start its clock.

        Raises
        ------
        RuntimeError
            If it has been started before.
        """
        if self.started:
            raise RuntimeError(f"Run {self.id} has been used already: start another.")
        for callback in self.recorder.starters:
            try:
                callback.start(self.id, dict(self.config))
            except Exception as problem:
                self._callback_fault(callback, "start", problem)
                self._deaf.append(callback)
        self._open_log()
        self.started = time.time()
        self.begun = time.perf_counter()
        heart.watch(self)
        if self.announced:
            self.announce()

    def finish(self, error: BaseException | None = None) -> None:
        """Stop the clock and record what happened, whatever happens on the way.

        Near the recursion limit there may be no room for that: then the run that this one
        was started by does it, once the stack has unwound.
        """
        self.seconds = time.perf_counter() - self.begun
        heart.leave(self)
        for run, its_error in ((self, error), *self._late):
            try:
                run.conclude(its_error)
            except RecursionError:
                if self.parent is None:
                    raise
                self.parent._late.append((run, its_error))

    def conclude(self, error: BaseException | None) -> None:
        """Make the observation, show it to the callbacks, record it, tell of faults."""
        metadata = self._metadata(error)
        self._tell_facts(metadata)
        observation = Observation.of_run(
            self.id,
            self._plain_config,
            None if error is not None else self.result,
            metadata,
            os.path.dirname(self._folder) if self._folder else f"{self.recorder.root}/{STORAGE}",
            self.lost,
        )
        if self.plain_result is not None and error is None:
            observation.with_plain_result(self.plain_result)
        interrupt = self._tell_end(observation)
        observation.freeze_result()
        self._close_log()
        self._tell_facts(metadata)  # callbacks may have logged too
        self._record(observation)
        if self._folder is not None and self.recorder.retention is not None:
            self._retain(self.recorder.retention)
        if self._is_shown:
            self.land()
        self.observation = observation
        if self._faults or self.lost:
            self._report(error)
        if interrupt is not None and error is None:
            raise interrupt

    def end_elsewhere(self, seconds: float, error: BaseException, known: dict[str, Any]) -> None:
        """Record a run that was ended in another process.

        Parameters
        ----------
        seconds
            How long ago it began.
        error
            Why it did not end by itself.
        known
            Facts that it has shown of itself while it lived.
        """
        self.seconds = seconds
        self.started = time.time() - seconds
        self.facts.update(known)
        self._is_elsewhere = self._is_shown = True
        with self.active():
            self.conclude(error)

    def _metadata(self, error: BaseException | None) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "experiment": self.recorder.name,
            "status": status_of(error),
            **self.facts,
        }
        if self.recorder.tags:
            metadata["tags"] = list(self.recorder.tags)
        if self.parent is not None:
            metadata["parents"] = [self.parent.id]
        if error is not None:
            metadata["error"] = error_facts(error)
        return metadata

    def _tell_facts(self, metadata: dict[str, Any]) -> None:
        """What was logged and what was used; whatever is wrong with it, the record is made."""
        try:
            if self._has_logged:
                metadata.update(self._logged_facts())
            if self._steps is not None:
                metadata.update(self._steps.facts())
            if self.seconds >= AGE and not self._is_elsewhere:
                metadata["resources"] = self.resources()
        except RecursionError:
            raise
        except Exception as problem:
            self.fault(f"Run {self.id} lacks what it logged or used: {problem!r}.")

    def _tell_end(self, observation: Observation) -> BaseException | None:
        """Call each callback's end; return an interrupt that came meanwhile."""
        for callback in self.recorder.enders:
            if callback in self._deaf:
                continue
            try:
                callback.end(observation)
            except RecursionError:
                raise
            except Exception as problem:
                self._callback_fault(callback, "end", problem)
            except BaseException as interrupt:
                return interrupt
        return None

    def _record(self, observation: Observation) -> None:
        if not self.recorder.backend.takes_proxies:
            observation.metadata.update(thawed(observation.metadata))
        try:
            self.recorder.backend.record(observation)
            self.recorded = True
            if followers:
                self._tell_trouble()
        except RecursionError:
            raise
        except Exception as problem:
            self.fault(self.recorder.rescue(observation, problem))

    def _tell_trouble(self) -> None:
        """Take note where the record has not gone up to the store's bucket."""
        follower = follower_of(self.recorder.root)
        told = follower.trouble() if follower is not None else None
        if told is not None:
            self.fault(told, OfflineWarning)

    def _retain(self, retention: Retention) -> None:
        try:
            retention.apply_to_runs(self.recorder.backend, self.recorder.name)
        except Exception as problem:
            self.fault(f"Files of older runs could not be removed: {problem!r}.")

    @property
    def steps(self) -> StepLog:
        """The calls of steps so far."""
        if self._steps is None:
            self._steps = StepLog()
        return self._steps

    def tree(self) -> None:
        """As :meth:`Observation.tree`, with the steps so far."""
        from digital_experiments.provenance import print_tree, tree_of

        if self.observation is not None:
            self.observation.tree()
        else:
            print_tree(tree_of(self.id, "running", self.steps.facts()))

    def tell_step(self, hook: str, *what: Any) -> None:
        """Tell the callbacks of a step."""
        for callback in self.recorder.steppers:
            try:
                getattr(callback, hook)(*what)
            except Exception as problem:
                self._callback_fault(callback, hook, problem)

    def fault(
        self, text: str, category: type[DigitalExperimentsWarning] = RecordingWarning
    ) -> None:
        """Take note of what is wrong with recording; it is told once the run has ended."""
        self._faults.append((text, category))

    def _callback_fault(self, callback: Listener, hook: str, problem: Exception) -> None:
        self.fault(
            f"Callback {type(callback).__name__}.{hook} raised {type(problem).__name__}: "
            f"{problem}. Run {self.id} of {self.recorder.name!r} goes on without it.",
            CallbackWarning,
        )

    def _report(self, error: BaseException | None) -> None:
        """One warning for each fault, or under ``strict`` one error for them all."""
        for value in self.lost:
            self.fault(
                f"In run {self.id} of {self.recorder.name!r} {value}. Its repr is kept; return "
                "or pass something that can be pickled to keep the value itself."
            )
        if self.recorder.strict or os.environ.get("DE_STRICT", "0") not in ("", "0"):
            self._report_strictly(error)
            return
        for text, category in self._faults:
            warn_user(text, category)

    def _report_strictly(self, error: BaseException | None) -> None:
        text = "\n".join(text for text, _ in self._faults)
        if error is None:
            raise RecordingError(text)
        error.add_note(text)

    @contextmanager
    def time_block(self, name: str) -> Iterator[None]:
        """As :func:`time_block`, for this run."""
        if name == "total":
            raise ValueError("A block can't be named 'total': that is the time of the whole run.")
        start, clock = time.time(), time.perf_counter()
        try:
            yield
        finally:
            self._add_block(name, start, time.perf_counter() - clock)

    def _add_block(self, name: str, start: float, seconds: float) -> None:
        block = timing(start, seconds)
        before = self.blocks.get(name)
        if before is not None:
            count = before.get("count", 1) + 1
            total = before["duration"] + block["duration"]
            block = {
                "start": before["start"],
                "end": block["end"],
                "duration": total,
                "count": count,
            }
        self.blocks[name] = block


def timing(start: float, seconds: float) -> dict[str, Any]:
    """Start and end as ISO 8601 in UTC, and the seconds between by a clock that can't be set.

    >>> timing(0, 1.5)["end"]
    '1970-01-01T00:00:01.500000+00:00'
    """
    return {"start": utc_text(start), "end": utc_text(start + seconds), "duration": seconds}


def active_run() -> Run | None:
    """The run that is in flight here, or None."""
    return _current.get()


def current_run() -> Run:
    """The run that is in flight here: in this thread, this task, this nested call.

    Raises
    ------
    NoActiveRun
        Outside of a run; it is a RuntimeError.

    Notes
    -----
    A thread that a run starts does not belong to it by itself; run its work in a copy of the
    run's context: ``Thread(target=contextvars.copy_context().run, args=(work,))``.
    """
    run = _current.get()
    if run is None:
        raise NoActiveRun(
            "No run is in flight here. This works inside a function decorated with @experiment "
            "while it is called; in a thread that such a function starts, run the work with "
            "contextvars.copy_context().run(...), or hand it the run: run = current_run() has "
            "log_metric and the others as methods."
        )
    return run
