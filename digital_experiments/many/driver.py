"""Many runs of one experiment, handed to an executor. Knows experiments; not where they run."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from contextvars import copy_context
from functools import partial
from operator import length_hint
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, NamedTuple

from digital_experiments.assigned import Assignment, assigned
from digital_experiments.callbacks import GitInfo, PipFreeze, SystemInfo
from digital_experiments.errors import RunEnded, RunLost, RunTimedOut, did_you_mean
from digital_experiments.executors import Executor, SerialExecutor, WorkerDied, executor_of
from digital_experiments.faults import warn_of_trouble
from digital_experiments.followed import Follower, follower_of
from digital_experiments.ids import new_id
from digital_experiments.many.attempts import (
    Answer,
    Attempt,
    Outcome,
    Runnable,
    Worker,
    conduct,
    config_of,
    problem_of,
)
from digital_experiments.many.calls import Call, Numbered, calls_of
from digital_experiments.many.pace import Pace
from digital_experiments.many.tally import Tally, told
from digital_experiments.many.travel import check_travels, name_unfit
from digital_experiments.observation import Observation
from digital_experiments.options import call_kind
from digital_experiments.run import active_run
from digital_experiments.selection import ENDED, UNDONE
from digital_experiments.store.flight import read_flight

_SHOWN = ("metrics", "params", "features", "resources")  # by a run in flight
ON_ERROR = ("record", "raise")
_PAUSE = 0.1  # seconds
_SOON = 0.01  # seconds
_THERE, _NONE_NOW, _ALL = "there", "none now", "all"  # what is known of further calls


Made = tuple[Observation, BaseException | None]
"""What came of a call, and what it raised."""


class Errand(NamedTuple):
    """A call that is to be made: its number, how many attempts are left, the next of them."""

    number: int
    left: int
    attempt: Attempt


class Flight(NamedTuple):
    """Some errands on their way to one worker, and since when."""

    errands: list[Errand]
    since: float


class Many:
    """Runs of an experiment, made by an executor.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    executor : Executor
        Where to.
    retries : int
        How often a run that did not complete is made again.
    timeout : float, optional
        Seconds after which a run is ended.
    raises : bool
        Whether the first run that does not complete ends them all.
    total : int, optional
        How many calls there are at most.
    ahead : int, optional
        How many calls are taken for each worker before it has ended the one it is at; by default
        as many as keep it busy.
    on_end : callable, optional
        Told the number of each call that is done, the observation's id and its status.
    """

    def __init__(
        self,
        experiment: Runnable,
        executor: Executor,
        retries: int,
        timeout: float | None,
        raises: bool,
        total: int | None = None,
        ahead: int | None = None,
        on_end: Callable[[int, str, str], None] | None = None,
    ) -> None:
        self.experiment = experiment
        self.executor = executor
        self.retries = retries
        self.timeout = timeout
        self.raises = raises
        self.on_end = on_end
        self._ended: SimpleQueue[tuple[Flight, Future[Answer]]] = SimpleQueue()
        self._flying: dict[int, Flight] = {}
        self._again: deque[Errand] = deque()
        self._pace = Pace(executor, timeout is not None, ahead, total)
        within = active_run()
        self._facts: dict[str, Any] = {"fingerprint": experiment.fingerprint}
        if within is not None:
            self._facts["parents"] = [within.id]

    def run(self, calls: Iterable[Numbered | None]) -> Iterator[tuple[int, Observation]]:
        """The numbers of the calls and their observations, in the order in which they end.

        None among the calls means that there are none now, but there may be later.
        """
        if isinstance(self.executor, SerialExecutor):
            yield from self._run_here(calls)
            return
        self._worker = self._chosen_worker()
        with ExitStack() as stack:
            stack.callback(self._record_interrupted)
            stack.enter_context(self.executor)
            if self.executor.travels:
                self._look_around()
            self.executor.start(self._worker.awaited if self.executor.awaits else self._worker)
            waiting = iter(calls)
            while True:
                more = self._hand_over(waiting)
                if not (more or self._flying):
                    return
                try:
                    ended = self._ended.get(timeout=self._patience(more))
                except Empty:  # others may have given something back
                    continue
                yield from self._land(*ended)

    def _patience(self, more: bool) -> float | None:
        """How long to wait for an answer before there may be something else to do."""
        if not more:
            return None
        return _PAUSE if self._pace.is_known else _SOON

    def _chosen_worker(self) -> Worker:
        if not self.executor.travels:
            return Worker(self.experiment)
        from digital_experiments.many.remote import RemoteWorker

        return RemoteWorker(self.experiment, self.executor.restarts)

    def _look_around(self) -> None:
        """Have facts of git, packages and system at hand, for all workers that are forked."""
        nobody = Observation("", {}, None, {})
        for callback in self.experiment.callbacks:
            if isinstance(callback, (GitInfo, PipFreeze, SystemInfo)):
                with suppress(Exception):  # the runs tell of it
                    callback.end(nobody)

    def _run_here(self, calls: Iterable[Numbered | None]) -> Iterator[tuple[int, Observation]]:
        self._worker = Worker(self.experiment)
        make = self._make_plainly if self.experiment._is_plain else self._make_specially
        for numbered in calls:
            if numbered is None:
                time.sleep(_PAUSE)
                continue
            number, call = numbered
            made, error = make(call, call.facts)
            for _ in range(self.retries if error is not None else 0):
                made, error = make(call, {**(call.facts or {}), "retry_of": made.id})
                if error is None:
                    break
            if self.on_end is not None:
                self.on_end(number, made.id, made.status)
            if error is not None and self.raises:
                raise error
            yield number, made

    def _make_plainly(self, call: Call, facts: dict[str, Any] | None) -> Made:
        """Make the run of a plain function, in this thread."""
        asked = self.experiment
        run = asked._run(config_of(asked, call))
        if facts is not None:
            run.facts.update(facts)
        if call.watch is not None:
            run.watch = call.watch
        error = problem_of(conduct, asked.function, run, call)
        made = run.observation
        if made is not None and not run.recorded:
            return made, error
        return asked.backend.later(run.id, "failed" if made is None else made.status), error

    def _make_specially(self, call: Call, facts: dict[str, Any] | None) -> Made:
        """Make the run of any other, in this thread."""
        told = self._facts if facts is None else {**self._facts, **facts}
        plan = Assignment(self.experiment, new_id(), told, False, call.watch)
        outcome = self._worker.carry_out(plan, call)
        return self._observation(outcome), outcome.error

    def _facts_of(self, call: Call) -> dict[str, Any]:
        return self._facts if call.facts is None else {**self._facts, **call.facts}

    def _hand_over(self, waiting: Iterator[Numbered | None]) -> bool:
        """Keep the workers busy, with some portions of calls in reserve; whether there are more."""
        state = _THERE
        while state == _THERE and len(self._flying) < self._pace.room():
            portion, state = self._take(waiting)
            self._send(portion)
        return state != _ALL

    def _take(self, waiting: Iterator[Numbered | None]) -> tuple[list[Errand], str]:
        """The next portion, and whether that is all, all for now, or there are more."""
        portion: list[Errand] = []
        most = self._pace.portion()
        while len(portion) < most:
            if self._again:
                portion.append(self._again.popleft())
                continue
            try:
                numbered = next(waiting)
            except StopIteration:
                return portion, _ALL
            if numbered is None:
                return portion, _NONE_NOW
            number, call = numbered
            attempt = Attempt(new_id(), call, self._facts_of(call))
            portion.append(Errand(number, self.retries, attempt))
            self._pace.take()
        return portion, _THERE

    def _send(self, errands: list[Errand]) -> None:
        if not errands:
            return
        flight = Flight(errands, time.perf_counter())
        self._flying[id(flight)] = flight
        try:
            attempts = self._worker.pack([e.attempt for e in errands])
            future = self.executor.submit(attempts, self.timeout)
        except BaseException as problem:
            del self._flying[id(flight)]
            if isinstance(problem, (TypeError, AttributeError, pickle.PicklingError)):
                name_unfit([(e.number, e.attempt.call) for e in errands], problem)
            raise
        future.add_done_callback(partial(self._arrived, flight))

    def _arrived(self, flight: Flight, future: Future[Answer]) -> None:
        self._ended.put((flight, future))

    def _land(self, flight: Flight, future: Future[Answer]) -> Iterator[tuple[int, Observation]]:
        """The observations of what has ended; what is to be tried again is sent again."""
        try:
            answer = self._worker.unpack(future.result())
            self._pace.learn(answer)
            outcomes = answer.outcomes
        except (WorkerDied, TimeoutError) as problem:
            outcomes = self._of_dead(flight, problem)
        del self._flying[id(flight)]
        self._again.extend(flight.errands[len(outcomes) :])
        for errand, outcome in zip(flight.errands, outcomes, strict=False):
            if outcome.error is not None and errand.left:
                facts = {**self._facts_of(errand.attempt.call), "retry_of": outcome.id}
                attempt = Attempt(new_id(), errand.attempt.call, facts)
                self._again.append(Errand(errand.number, errand.left - 1, attempt))
                continue
            if self.on_end is not None:
                self.on_end(errand.number, outcome.id, outcome.status)
            if outcome.error is not None and self.raises:
                raise outcome.error
            yield errand.number, self._observation(outcome)

    def _of_dead(self, flight: Flight, problem: Exception) -> list[Outcome]:
        """The outcomes of attempts whose worker did not tell any, up to the one it died of."""
        if isinstance(problem, TimeoutError):
            error: RunEnded = RunTimedOut(f"It took longer than {self.timeout} s.")
        else:
            error = RunLost(f"Its worker is gone: {problem}.")
        outcomes: list[Outcome] = []
        for errand in flight.errands:
            known = self._recorded(errand.attempt)
            if known is None and outcomes and self._is_unbegun(errand.attempt):
                break
            outcomes.append(known or self._end(errand.attempt, flight.since, error))
            if known is None:
                break
        return outcomes

    def _is_unbegun(self, attempt: Attempt) -> bool:
        """Whether it is known that nobody has begun an attempt."""
        root = str(self.experiment.backend.root)
        return self.executor.restarts and read_flight(root, attempt.id) is None

    def _recorded(self, attempt: Attempt) -> Outcome | None:
        """The outcome of an attempt that was recorded before its worker died."""
        try:
            known = self.experiment.backend.load(attempt.id)
        except KeyError:
            return None
        if known.status not in ENDED:
            return None
        kind = RunTimedOut if known.status == "timeout" else RuntimeError
        text = f"Run {attempt.id} ended as {known.outcome()}."
        ended_well = known.status in ("completed", "pruned")
        return Outcome(attempt.id, None if ended_well else kind(text), None, known.status)

    def _end(self, attempt: Attempt, since: float, error: RunEnded) -> Outcome:
        """Record that an attempt was ended."""
        plan = Assignment(self.experiment, attempt.id, attempt.facts)
        token = assigned.set(plan)
        try:
            run = self.experiment._run(
                self.experiment._config(attempt.call.args, attempt.call.kwargs)
            )
        finally:
            assigned.reset(token)
        shown = read_flight(str(self.experiment.backend.root), attempt.id) or {"metadata": {}}
        facts = {key: shown["metadata"][key] for key in _SHOWN if key in shown["metadata"]}
        run.end_elsewhere(time.perf_counter() - since, error, facts)
        kept = None if run.recorded else run.observation
        return Outcome(attempt.id, error, kept, error.status)

    def _record_interrupted(self) -> None:
        """Record what was on its way when all were ended."""
        error = RunEnded("It was ended with all others of its map.")
        for flight in list(self._flying.values()):
            with suppress(Exception):
                self._interrupt(flight, error)

    def _interrupt(self, flight: Flight, error: RunEnded) -> None:
        """Record the one of some attempts that has begun and has not been recorded."""
        for errand in flight.errands:
            if self._recorded(errand.attempt) is None:
                shown = read_flight(str(self.experiment.backend.root), errand.attempt.id)
                goes_on = shown is not None and self.executor.leaves
                if shown is not None and not goes_on:
                    self._end(errand.attempt, flight.since, error)
                return

    def _observation(self, outcome: Outcome) -> Observation:
        if outcome.observation is not None:
            return outcome.observation
        return self.experiment.backend.later(outcome.id, outcome.status)


def many(
    experiment: Runnable,
    configs: Any,
    executor: Any,
    workers: int | None = None,
    retries: int = 0,
    timeout: float | None = None,
    on_error: str = "record",
    progress: bool | str | tuple[str, str] = True,
    resume: bool = False,
    retry: str | Sequence[str] = UNDONE,
    ahead: int | None = None,
) -> Iterator[tuple[int, Observation]]:
    """Check what is asked, then make the runs; see :meth:`Experiment.map`."""
    chosen = chosen_executor(experiment, executor, workers, retries, timeout)
    tally = checked_tally(progress)
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error must be 'record' or 'raise', not {on_error!r}.")
    calls = calls_of(configs, experiment._bind, binds=not chosen.travels)
    if not calls:
        return iter(())
    if chosen.travels:
        check_travels(experiment)
    total = len(calls) if isinstance(calls, list) else length_hint(configs) or None
    asked = partial(Many, experiment, chosen, retries, timeout, on_error == "raise", total, ahead)
    if resume:
        made = _resumed(experiment, calls, checked_retry(retry), asked)
    else:
        made = asked().run(enumerate(calls))
    follower = follower_of(str(experiment.backend.root))
    if follower is not None:
        made = _settled(made, follower)
    return told(made, total, tally) if progress else made


def chosen_executor(
    experiment: Runnable,
    executor: Any,
    workers: int | None = None,
    retries: int = 0,
    timeout: float | None = None,
) -> Executor:
    """Where runs of an experiment are made, if they can be made so.

    Raises
    ------
    ValueError, TypeError, ModuleNotFoundError
        If they can't.
    """
    chosen = executor_of(executor, workers)
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries must be a number, 0 or more, not {retries!r}.")
    if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}.")
    if timeout is not None and not chosen.keeps_time:
        raise ValueError(
            f"{executor!r} can't end a run that takes too long: use executor='process' for a "
            "timeout, or 'async' for a coroutine function."
        )
    if chosen.awaits and not is_coroutine(experiment):
        raise ValueError(f"{executor!r} is for coroutine functions; {experiment.name!r} is none.")
    return chosen


def _settled(
    made: Iterator[tuple[int, Observation]], follower: Follower
) -> Iterator[tuple[int, Observation]]:
    """At the end what could not go up to a bucket is tried again."""
    try:
        yield from made
    finally:
        follower.flush()
        warn_of_trouble(follower)


def checked_tally(progress: bool | str | tuple[str, str]) -> Tally:
    """What is told of runs while they are made.

    Raises
    ------
    TypeError
        If ``progress`` is none of what it may be.
    """
    if isinstance(progress, bool):
        return Tally(None)
    if isinstance(progress, str):
        return Tally(progress)
    if isinstance(progress, tuple) and len(progress) == 2 and progress[1] in ("max", "min"):
        return Tally(*progress)
    raise TypeError(
        "progress must be True, False, a column such as 'result.accuracy', or a column with 'max' "
        f"or 'min', not {progress!r}."
    )


def collected(made: Iterator[tuple[int, Observation]], stopped: Event) -> dict[int, Observation]:
    """All of it; once ``stopped`` is set, up to there."""
    found: dict[int, Observation] = {}
    for number, observation in made:
        found[number] = observation
        if stopped.is_set():
            break
    return found


def beside(made: Iterator[tuple[int, Observation]]) -> Future[Observation]:
    """The only one of it, made in a thread of its own."""
    pool = ThreadPoolExecutor(1, "digital_experiments submit")
    future = pool.submit(copy_context().run, lambda: next(made)[1])
    pool.shutdown(wait=False)
    return future


def checked_retry(retry: str | Sequence[str]) -> list[str]:
    """The statuses that do not count as done."""
    named = retry.split(",") if isinstance(retry, str) else list(retry)
    statuses = [status.strip() for status in named if status.strip()]
    for status in statuses:
        if status not in UNDONE:
            raise ValueError(f"retry can't name {status!r}. {did_you_mean(status, UNDONE)}")
    return statuses


def _resumed(
    experiment: Runnable,
    calls: Iterable[Call],
    retry: Sequence[str],
    asked: Callable[..., Many],
) -> Iterator[tuple[int, Observation]]:
    """What is done already, and what nobody else is making."""
    from digital_experiments.many.sharing import Sharing

    sharing = Sharing(experiment, retry)
    try:
        yield from asked(on_end=sharing.ended).run(sharing.pending(calls))
    finally:
        sharing.close()
    for number, id in sharing.known:
        yield number, experiment.backend.later(id)


def is_coroutine(experiment: Any) -> bool:
    """Whether an experiment's function is a coroutine function."""
    return call_kind(experiment.function) == "coroutine"
