"""Many runs of one experiment, handed to an executor. Knows experiments; not where they run."""

from __future__ import annotations

import inspect
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from digital_experiments.assigned import Assignment, assigned
from digital_experiments.callbacks import Callback, GitInfo, PipFreeze, SystemInfo
from digital_experiments.callbacks.code import plain_function
from digital_experiments.config import Binder, Config
from digital_experiments.errors import RunEnded, RunLost, RunTimedOut, did_you_mean
from digital_experiments.executors import Executor, SerialExecutor, WorkerDied, executor_of
from digital_experiments.ids import new_id
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.options import call_kind
from digital_experiments.run import Run, active_run
from digital_experiments.selection import ENDED
from digital_experiments.store.flight import read_flight
from digital_experiments.store.progress import run_progress

if TYPE_CHECKING:
    from digital_experiments.backends import Backend

_SHOWN = ("metrics", "params", "features", "resources")  # by a run in flight
ON_ERROR = ("record", "raise")
RETRY = ("failed", "interrupted", "timeout", "lost")
_PAUSE = 0.1  # seconds
_AHEAD = 4  # portions handed over, for each worker
_PORTION = 0.02  # seconds of work
_SHORT = 0.0002  # seconds
_MOST = 100  # calls in a portion


class Call(NamedTuple):
    """The arguments of a run that is to be made."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Numbered = tuple[int, Call]


class Attempt(NamedTuple):
    """One attempt at a call: what its observation is to be called, and which facts it has."""

    id: str
    call: Call
    facts: dict[str, Any]


class Outcome(NamedTuple):
    """What a worker says of an attempt.

    Attributes
    ----------
    id : str
        The observation: of the attempt, or what the cache had.
    error : BaseException or None
        What the function raised.
    observation : Observation or None
        The observation itself, where the store did not take it.
    """

    id: str
    error: BaseException | None
    observation: Observation | None


class Answer(NamedTuple):
    """What a worker says of some attempts, and how many seconds it was at them."""

    outcomes: list[Outcome]
    seconds: float


class Runnable(Protocol):
    """What is asked of an experiment."""

    name: str
    callbacks: list[Callback]

    @property
    def backend(self) -> Backend: ...  # noqa: D102
    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    def observations(self, *, status: Any) -> Observations: ...  # noqa: D102
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102
    @property
    def _bind(self) -> Binder: ...
    def _config(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Config: ...
    def _run(self, config: Config) -> Run: ...


class Worker:
    """Makes attempts, wherever it is: it is what executors run."""

    def __init__(self, experiment: Runnable, travels: bool = False) -> None:
        self.experiment = experiment
        self.travels = travels

    def __call__(self, attempts: Sequence[Attempt]) -> Answer:
        """Make the runs of some attempts, one after another."""
        begun = time.perf_counter()
        outcomes = [self.make(attempt) for attempt in attempts]
        return Answer(outcomes, time.perf_counter() - begun)

    def make(self, attempt: Attempt) -> Outcome:
        """Make the run of an attempt; its exception is part of the outcome."""
        plan = Assignment(self.experiment, attempt.id, attempt.facts)
        token = assigned.set(plan)
        try:
            _awaited(self.experiment(*attempt.call.args, **attempt.call.kwargs))
        except Exception as problem:
            return _outcome(plan, fit_to_travel(problem) if self.travels else problem)
        finally:
            assigned.reset(token)
        return _outcome(plan, None)

    async def awaited(self, attempts: Sequence[Attempt]) -> Answer:
        """The same for a coroutine function, on the loop that runs, of one attempt."""
        begun = time.perf_counter()
        (attempt,) = attempts
        plan = Assignment(self.experiment, attempt.id, attempt.facts)
        assigned.set(plan)  # of this task alone
        error = None
        try:
            await self.experiment(*attempt.call.args, **attempt.call.kwargs)
        except Exception as problem:
            error = problem
        return Answer([_outcome(plan, error)], time.perf_counter() - begun)


def _awaited(value: Any) -> None:
    """See a coroutine or a generator through to its end."""
    if hasattr(value, "__await__"):
        import asyncio

        asyncio.run(_wait_for(value))
    elif hasattr(value, "__anext__"):
        import asyncio

        asyncio.run(_exhaust(value))
    elif hasattr(value, "__next__") and hasattr(value, "throw"):
        for _ in value:
            pass


async def _wait_for(value: Any) -> None:
    await value


async def _exhaust(values: Any) -> None:
    async for _ in values:
        pass


def _outcome(plan: Assignment, error: BaseException | None) -> Outcome:
    if plan.run is None:
        found = plan.found
        return Outcome(plan.id if found is None else found.id, error, None)
    kept = None if plan.run.recorded else plan.run.observation
    return Outcome(plan.run.id, error, kept)


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
    ahead : int, optional
        How many calls are taken for each worker before it has ended the one it is at; by default
        as many as keep it busy.
    on_end : callable
        Told the number of each call that is done, and its outcome.
    """

    def __init__(
        self,
        experiment: Runnable,
        executor: Executor,
        retries: int,
        timeout: float | None,
        raises: bool,
        ahead: int | None = None,
        on_end: Callable[[int, Outcome], None] = lambda number, outcome: None,
    ) -> None:
        self.experiment = experiment
        self.executor = executor
        self.retries = retries
        self.timeout = timeout
        self.raises = raises
        self.ahead = ahead
        self.on_end = on_end
        self._ended: SimpleQueue[tuple[Flight, Future[Answer]]] = SimpleQueue()
        self._flying: dict[int, Flight] = {}
        self._seconds = _PORTION  # that a call takes, at first unknown
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
        worker = Worker(self.experiment, self.executor.travels)
        with ExitStack() as stack:
            stack.callback(self._record_interrupted)
            stack.enter_context(self.executor)
            if self.executor.travels:
                self._look_around()
            self.executor.start(worker.awaited if self.executor.awaits else worker)
            waiting = iter(calls)
            more = True
            while True:
                more = more and self._hand_over(waiting)
                if not (more or self._flying):
                    return
                try:
                    ended = self._ended.get(timeout=_PAUSE if more else None)
                except Empty:  # others may have given something back
                    continue
                yield from self._land(*ended)

    def _look_around(self) -> None:
        """Have facts of git, packages and system at hand before processes are forked.

        Git is asked by a subprocess. Were one started while a worker is forked, the worker would
        hold its pipe, and it would be waited for as long as the worker lives.
        """
        nobody = Observation("", {}, None, {})
        for callback in self.experiment.callbacks:
            if isinstance(callback, (GitInfo, PipFreeze, SystemInfo)):
                with suppress(Exception):  # the runs tell of it
                    callback.end(nobody)

    def _run_here(self, calls: Iterable[Numbered | None]) -> Iterator[tuple[int, Observation]]:
        worker = Worker(self.experiment)
        for numbered in calls:
            if numbered is None:
                time.sleep(_PAUSE)
                continue
            number, call = numbered
            facts, left = self._facts, self.retries
            while True:
                outcome = worker.make(Attempt(new_id(), call, facts))
                if outcome.error is None or not left:
                    break
                facts, left = {**self._facts, "retry_of": outcome.id}, left - 1
            self.on_end(number, outcome)
            if outcome.error is not None and self.raises:
                raise outcome.error
            yield number, self._observation(outcome)

    def _hand_over(self, waiting: Iterator[Numbered | None]) -> bool:
        """Keep the workers busy, with some portions of calls in reserve; whether there are more."""
        while len(self._flying) < self._room():
            portion: list[Errand] = []
            for numbered in waiting:
                if numbered is None:
                    break
                number, call = numbered
                attempt = Attempt(new_id(), call, self._facts)
                portion.append(Errand(number, self.retries, attempt))
                if len(portion) >= self._portion():
                    break
            else:
                self._send(portion)
                return False
            self._send(portion)
            if numbered is None:
                return True
        return True

    def _room(self) -> int:
        """How many portions may be on their way."""
        if self.ahead is not None:
            return (1 + self.ahead) * self.executor.workers
        if self.executor.shares_interpreter and self._seconds < _SHORT:
            return 1  # threads would only wait for each other
        return _AHEAD * self.executor.workers

    def _portion(self) -> int:
        """How many calls to hand over at once: of short ones many, so that it costs little."""
        if self.timeout is not None or self.ahead is not None or self.executor.awaits:
            return 1
        return max(1, min(_MOST, int(_PORTION / self._seconds)))

    def _send(self, errands: list[Errand]) -> None:
        if not errands:
            return
        flight = Flight(errands, time.perf_counter())
        self._flying[id(flight)] = flight
        try:
            future = self.executor.submit([e.attempt for e in errands], self.timeout)
        except BaseException as problem:
            del self._flying[id(flight)]
            if isinstance(problem, (TypeError, AttributeError, pickle.PicklingError)):
                _name_unfit(errands, problem)
            raise
        future.add_done_callback(partial(self._arrived, flight))

    def _arrived(self, flight: Flight, future: Future[Answer]) -> None:
        self._ended.put((flight, future))

    def _land(self, flight: Flight, future: Future[Answer]) -> Iterator[tuple[int, Observation]]:
        """The observations of what has ended; what is to be tried again is sent again."""
        try:
            outcomes, seconds = future.result()
            self._seconds = max(seconds / len(outcomes), 1e-6)
        except (WorkerDied, TimeoutError) as problem:
            outcomes = self._of_dead(flight, problem)
        del self._flying[id(flight)]
        again = flight.errands[len(outcomes) :]
        for errand, outcome in zip(flight.errands, outcomes, strict=False):
            if outcome.error is not None and errand.left:
                facts = {**self._facts, "retry_of": outcome.id}
                attempt = Attempt(new_id(), errand.attempt.call, facts)
                again.append(Errand(errand.number, errand.left - 1, attempt))
                continue
            self.on_end(errand.number, outcome)
            if outcome.error is not None and self.raises:
                raise outcome.error
            yield errand.number, self._observation(outcome)
        for errand in again:
            self._send([errand])

    def _of_dead(self, flight: Flight, problem: Exception) -> list[Outcome]:
        """The outcomes of attempts whose worker did not tell any, up to the one it died of."""
        if isinstance(problem, TimeoutError):
            error: RunEnded = RunTimedOut(f"It took longer than {self.timeout} s.")
        else:
            error = RunLost(f"Its worker is gone: {problem}.")
        outcomes = []
        for errand in flight.errands:
            known = self._recorded(errand.attempt)
            outcomes.append(known or self._end(errand.attempt, flight.since, error))
            if known is None:
                break
        return outcomes

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
        return Outcome(attempt.id, kind(text) if known.error else None, None)

    def _end(self, attempt: Attempt, since: float, error: RunEnded) -> Outcome:
        """Record that an attempt was ended."""
        plan = Assignment(self.experiment, attempt.id, attempt.facts)
        token = assigned.set(plan)
        try:
            run = self.experiment._run(self.experiment._config(*attempt.call))
        finally:
            assigned.reset(token)
        shown = read_flight(str(self.experiment.backend.root), attempt.id) or {"metadata": {}}
        facts = {key: shown["metadata"][key] for key in _SHOWN if key in shown["metadata"]}
        run.end_elsewhere(time.perf_counter() - since, error, facts)
        return Outcome(attempt.id, error, None if run.recorded else run.observation)

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
                if read_flight(str(self.experiment.backend.root), errand.attempt.id):
                    self._end(errand.attempt, flight.since, error)
                return

    def _observation(self, outcome: Outcome) -> Observation:
        if outcome.observation is not None:
            return outcome.observation
        return self.experiment.backend.later(outcome.id)


def many(
    experiment: Runnable,
    configs: Any,
    executor: Any,
    workers: int | None,
    retries: int = 0,
    timeout: float | None = None,
    on_error: str = "record",
    progress: bool = True,
    resume: bool = False,
    retry: str | Sequence[str] = RETRY,
    ahead: int | None = None,
) -> Iterator[tuple[int, Observation]]:
    """Check what is asked, then make the runs; see :meth:`Experiment.map`."""
    chosen = executor_of(executor, workers)
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries must be a number, 0 or more, not {retries!r}.")
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error must be 'record' or 'raise', not {on_error!r}.")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}.")
    if timeout is not None and not chosen.keeps_time:
        raise ValueError(
            f"{executor!r} can't end a run that takes too long: use executor='process' for a "
            "timeout, or 'async' for a coroutine function."
        )
    if chosen.awaits and not is_coroutine(experiment):
        raise ValueError(f"{executor!r} is for coroutine functions; {experiment.name!r} is none.")
    calls = calls_of(configs, experiment._bind)
    if not calls:
        return iter(())
    if chosen.travels:
        check_travels(experiment)
    asked = partial(Many, experiment, chosen, retries, timeout, on_error == "raise", ahead)
    if resume:
        made = _resumed(experiment, calls, checked_retry(retry), asked)
    else:
        made = asked().run(enumerate(calls))
    return shown(made, len(calls) if isinstance(calls, list) else None) if progress else made


async def awaited(made: Iterator[tuple[int, Observation]]) -> dict[int, Observation]:
    """All of it, made in a thread while other coroutines run; if cancelled, up to there."""
    import asyncio

    stopped = Event()
    try:
        return await asyncio.to_thread(_collected, made, stopped)
    finally:
        stopped.set()


def _collected(made: Iterator[tuple[int, Observation]], stopped: Event) -> dict[int, Observation]:
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
        if status not in RETRY:
            raise ValueError(f"retry can't name {status!r}. {did_you_mean(status, RETRY)}")
    return statuses


def _resumed(
    experiment: Runnable,
    calls: Iterable[Call],
    retry: Sequence[str],
    asked: Callable[..., Many],
) -> Iterator[tuple[int, Observation]]:
    """What is done already, and what nobody else is making."""
    from digital_experiments.sharing import Sharing

    sharing = Sharing(experiment, retry)
    try:
        yield from asked(on_end=sharing.ended).run(sharing.pending(calls))
    finally:
        sharing.close()
    for number, id in sharing.known:
        yield number, experiment.backend.later(id)


def check_travels(experiment: Any) -> None:
    """Refuse a function that holds what can't be handed to another process, and name it.

    A fork would hand it over all the same: a connection or a lock that two processes use is
    worse than an error.
    """
    if _can_travel(experiment.function) is None:
        return
    inner = plain_function(experiment.function)
    held = inspect.getclosurevars(inner) if inner is not None else None
    for name, value in {**held.nonlocals, **held.globals}.items() if held else ():
        problem = None if value is experiment else _can_travel(value)
        if problem is not None:
            raise TypeError(
                f"{experiment.name!r} uses {name!r}, which can't be sent to a worker, because "
                f"{problem}. Make it in the function, or hand over what it is made from."
            )
    raise TypeError(
        f"{experiment.name!r} can't be sent to a worker: {_can_travel(experiment.function)}."
    )


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def _can_travel(value: Any) -> Exception | None:
    """Why a value can't be pickled, if it can't; the data of arrays are not copied for that."""
    import cloudpickle

    try:
        cloudpickle.CloudPickler(_Nowhere(), 5, lambda buffer: False).dump(value)
    except Exception as problem:
        return problem
    return None


def is_coroutine(experiment: Any) -> bool:
    """Whether an experiment's function is a coroutine function."""
    return call_kind(experiment.function) == "coroutine"


def shown(
    made: Iterator[tuple[int, Observation]], total: int | None
) -> Iterator[tuple[int, Observation]]:
    """The same, with a line that tells how far it is."""
    failed = 0
    with run_progress(total) as advance:
        for number, observation in made:
            failed += observation.status != "completed" if advance else 0
            if advance is not None:
                advance(failed)
            yield number, observation


def _name_unfit(errands: list[Errand], problem: Exception) -> None:
    """Say which argument can't travel to a worker."""
    for errand in errands:
        args, kwargs = errand.attempt.call
        for name, value in [*enumerate(args), *kwargs.items()]:
            reason = _can_travel(value)
            if reason is not None:
                raise TypeError(
                    f"Argument {name!r} of config {errand.number} can't be sent to a worker, "
                    f"because {reason}. Give what it is made from, and make it in the function."
                ) from problem


def calls_of(configs: Any, complete: Binder) -> list[Call] | Iterator[Call]:
    """Calls for configs; those that are at hand are all checked before one is made.

    Parameters
    ----------
    configs
        Dicts of parameters, tuples of arguments; a list of them, a frame with a column for each
        parameter, or what gives them one after another.
    complete
        What makes configs of arguments.

    Raises
    ------
    TypeError
        For what is no config, or does not fit.
    """
    if hasattr(configs, "to_dict") and hasattr(configs, "columns"):
        configs = configs.to_dict("records")
    if isinstance(configs, (str, bytes, Mapping)) or not isinstance(configs, Iterable):
        raise TypeError(f"map expects configs, such as [{{'lr': 0.1}}], not {configs!r:.80}.")
    at_hand = hasattr(configs, "__len__")
    checked = (_call(n, config, complete) for n, config in enumerate(configs))
    return list(checked) if at_hand else checked


def _call(number: int, config: Any, complete: Binder) -> Call:
    if isinstance(config, Mapping):
        call = Call((), dict(config))
    elif isinstance(config, tuple):
        call = Call(config, {})
    else:
        raise TypeError(
            f"Config {number} must be a dict of parameters or a tuple of arguments, not "
            f"{config!r:.80}."
        )
    try:
        complete(*call)
    except TypeError as problem:
        raise TypeError(f"Config {number}, {config!r:.200}, does not fit: {problem}") from None
    return call


def fit_to_travel(error: BaseException) -> BaseException:
    """The exception, or one that can be pickled in its place."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
