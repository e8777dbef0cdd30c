"""One attempt at a call, and what comes of it: the part of many runs that a worker does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from digital_experiments.assigned import Assignment, assigned
from digital_experiments.callbacks import Callback
from digital_experiments.config import Binder, Config
from digital_experiments.errors import RunPruned
from digital_experiments.many.calls import Call
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.options import call_kind
from digital_experiments.run import Run

if TYPE_CHECKING:
    from digital_experiments.backends import Backend


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
    status : str
        How the run ended.
    """

    id: str
    error: BaseException | None
    observation: Observation | None
    status: str


class Answer(NamedTuple):
    """What a worker says of some attempts.

    Attributes
    ----------
    outcomes : list of Outcome
        Of each attempt.
    seconds : float
        How long it was at them.
    busy : float
        For how many seconds of that its thread was not waiting for anything.
    """

    outcomes: list[Outcome]
    seconds: float
    busy: float


class Runnable(Protocol):
    """What is asked of an experiment."""

    name: str
    function: Callable[..., Any]
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
    def _run(self, config: Config, *, plan: Assignment | None = None) -> Run: ...
    @property
    def _is_plain(self) -> bool: ...


class Worker:
    """Makes attempts, in this process: it is what executors run.

    Parameters
    ----------
    experiment : Experiment
        Whose runs it makes.
    """

    restarts = False
    """Whether the executor may start a task again when the worker that was at it has died."""

    def __init__(self, experiment: Runnable) -> None:
        self.experiment = experiment
        self._gives_value = call_kind(experiment.function) == "value"

    def pack(self, attempts: Sequence[Attempt]) -> Any:
        """Some attempts in the form in which they are handed over."""
        return attempts

    def unpack(self, answer: Any) -> Answer:
        """The answer, of the form in which it was handed back."""
        known: Answer = answer
        return known

    def __call__(self, attempts: Any) -> Any:
        """Make the runs of some attempts, one after another."""
        begun, busy = time.perf_counter(), time.thread_time()
        outcomes = [self.make(attempt) for attempt in attempts]
        return Answer(outcomes, time.perf_counter() - begun, time.thread_time() - busy)

    def make(self, attempt: Attempt) -> Outcome:
        """Make the run of an attempt; its exception is part of the outcome."""
        return self.carry_out(self._plan(attempt), attempt.call)

    def _plan(self, attempt: Attempt) -> Assignment:
        call = attempt.call
        return Assignment(self.experiment, attempt.id, attempt.facts, self.restarts, call.watch)

    def carry_out(self, plan: Assignment, call: Call) -> Outcome:
        """Make the run that is planned; its exception is part of the outcome."""
        work = self._conduct if self.experiment._is_plain else self._assign
        return _outcome(plan, problem_of(work, plan, call))

    def _conduct(self, plan: Assignment, call: Call) -> None:
        asked = self.experiment
        conduct(asked.function, asked._run(config_of(asked, call), plan=plan), call)

    def _assign(self, plan: Assignment, call: Call) -> None:
        """Have the call find its plan, however it comes to its run."""
        token = assigned.set(plan)
        try:
            value = self.experiment(*call.args, **call.kwargs)
            if not self._gives_value:
                _awaited(value)
        finally:
            assigned.reset(token)

    async def awaited(self, attempts: Sequence[Attempt]) -> Answer:
        """The same for a coroutine function, on the loop that runs, of one attempt."""
        begun = time.perf_counter()
        (attempt,) = attempts
        plan = self._plan(attempt)
        assigned.set(plan)  # of this task alone
        error: BaseException | None = None
        try:
            await self.experiment(*attempt.call.args, **attempt.call.kwargs)
        except RunPruned:
            pass
        except (Exception, SystemExit) as problem:
            error = problem
        return Answer([_outcome(plan, error)], time.perf_counter() - begun, 0.0)


def config_of(experiment: Runnable, call: Call) -> Config:
    """What the arguments of a call are bound to."""
    return call.config or experiment._config(call.args, call.kwargs)


def conduct(function: Callable[..., Any], run: Run, call: Call) -> None:
    """Call a plain function within its run."""
    with run:
        run.result = function(*call.args, **call.kwargs)


def problem_of(work: Callable[..., object], *args: Any) -> BaseException | None:
    """What a run raises; nothing if it completes, or is pruned."""
    try:
        work(*args)
    except RunPruned:
        return None
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as problem:  # sys.exit, too, ends this run and no other
        return problem
    return None


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
        id = plan.id if found is None else found.id
        return Outcome(id, error, None, "completed" if error is None else "failed")
    observation = plan.run.observation
    status = "failed" if observation is None else observation.status
    return Outcome(plan.run.id, error, None if plan.run.recorded else observation, status)
