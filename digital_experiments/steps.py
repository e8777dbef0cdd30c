"""Steps: functions whose calls a run keeps in its provenance, and may find in a cache.

Knows runs and their store; no experiment.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from digital_experiments.callbacks.seed import seeded_aside
from digital_experiments.config import Binder, Config, config_key
from digital_experiments.digest import short_hash
from digital_experiments.faults import status_of, text_of
from digital_experiments.ids import check_name
from digital_experiments.options import call_kind, name_if_found, name_of
from digital_experiments.run import Run, active_run, timing
from digital_experiments.stepcache import StepCache
from digital_experiments.steplog import StepFacts
from digital_experiments.views import type_name

if TYPE_CHECKING:
    from digital_experiments.fingerprint import Fingerprint

P = ParamSpec("P")
R = TypeVar("R")

_GENERATORS = ("Generator", "Random", "RandomState", "SystemRandom")
_PLAIN = (bool, int, float, str, type(None))
_PAUSE = 0.02  # seconds between two tries of a task to have a claim
_LONG = 80  # characters of a text that is shown as it is
_within: ContextVar[tuple[Run, int | None] | None] = ContextVar(
    "digital_experiments_step", default=None
)
_making: ContextVar[frozenset[str]] = ContextVar("digital_experiments_making", default=frozenset())


class StepCall:
    """One call of a step within a run: what callbacks are told of.

    Attributes
    ----------
    name : str
        The step's name.
    run : Run
        The run that it is part of.
    config : dict
        The arguments of the call, defaults included.
    facts : dict
        What the run's metadata keep of it: ``name``, ``status`` (``completed``, ``failed``,
        ``cached``), ``start``, ``duration`` in seconds, ``inputs`` and ``output`` as digests of
        their content, ``values`` of plain inputs, ``within`` (the place of the step that called
        it), ``error``, and ``kept`` (the blob of a cached value).
    """

    def __init__(self, name: str, run: Run, config: Config) -> None:
        self.name = name
        self.run = run
        self.config = config
        self.value: Any = None
        self.facts: StepFacts = {"name": name, "status": "running"}
        self.kept = StepCache(run.recorder.root, run.recorder.backend.trust)

    def find(self, key: str) -> bool:
        """Take the value from the cache, if it is there."""
        found = self.kept.find(key)
        if found is None:
            return False
        self.value, self.facts["kept"] = found
        self.facts["status"] = "cached"
        return True

    def keep(self, key: str) -> None:
        """Put the value into the cache, unless it was drawn from a generator that was given."""
        changed = [
            name for name, was in self.facts["inputs"].items() if self._has_changed(name, was)
        ]
        if changed:
            self.run.fault(
                f"The value of step {self.name!r} is not cached: it changes its {changed[0]!r}, a "
                f"{type_name(type(self.config[changed[0]]))}, and would not where it is found."
            )
            return
        try:
            self.facts["kept"] = self.kept.keep(key, self.value, self.run.id)
        except Exception as problem:  # it can't be pickled, or the store is full
            self.run.fault(f"The value of step {self.name!r} can't be cached: {problem}.")

    def _has_changed(self, name: str, was: str | None) -> bool:
        """Whether a generator of random numbers has been drawn from."""
        value = self.config[name]
        return type(value).__name__ in _GENERATORS and _digest(value) != was

    def drawing(self, key: str) -> AbstractContextManager[None]:
        """Around the making of a value that is kept: in a run with a seed it draws by its key.

        So the value is the same whichever run makes it, and all runs draw the same after it.
        """
        if "seed" not in self.run.facts:
            return nullcontext()
        return seeded_aside(int(key[:8], 16))

    def __repr__(self) -> str:
        return f"StepCall({self.name}, {self.facts['status']})"

    @contextmanager
    def made(self) -> Iterator[None]:
        """Around the call: take note of it, of its time, and of what it comes to."""
        outer = _within.get()
        if outer is not None and outer[0] is self.run and outer[1] is not None:
            self.facts["within"] = outer[1]
        self.facts["inputs"] = {key: _digest(value) for key, value in self.config.items()}
        self.facts["values"] = {k: v for k, v in self.config.items() if _is_plain(v)}
        place = self.run.steps.begin(self.facts)
        token = _within.set((self.run, place))
        began, clock = time.time(), time.perf_counter()
        try:
            self.run.tell_step("step_start", self)
            clock = time.perf_counter()
            yield
            self.facts["output"] = _digest(self.value)
        except BaseException as problem:
            self.facts["status"] = status_of(problem)
            self.facts["error"] = f"{type(problem).__name__}: {text_of(problem)}"
            raise
        finally:
            _within.reset(token)
            seconds = time.perf_counter() - clock
            known = timing(began, seconds)
            self.facts.update(start=known["start"], duration=seconds)
            if self.facts["status"] == "running":
                self.facts["status"] = "completed"
            if place is None:
                self.run.steps.count(self.facts)
            self.run.tell_step("step_end", self, self.value)


class Step(Generic[P, R]):
    """A function that is a step of runs. Made by :func:`step`; called as before.

    Attributes
    ----------
    function : callable
        The function as it was decorated.
    name : str
        The step's name, by default the function's.
    cache : bool
        Whether values are found by code and inputs.
    """

    def __init__(
        self, function: Callable[P, R], *, cache: bool = False, name: str | None = None
    ) -> None:
        if not callable(function):
            raise TypeError(f"@step expects a function, not {function!r}: @step(cache=True).")
        kind = call_kind(function)
        if "generator" in kind:
            raise TypeError(
                f"{name_of(function)!r} is a generator function, which can't be a step: what a "
                "step returns is handed on. Return a list."
            )
        functools.update_wrapper(self, function)
        self.function = function
        self.name = check_name(name or name_of(function), "the name of a step")
        self.cache = cache
        self._bind = Binder(function)
        self._fingerprint: Fingerprint | None = None
        self.is_coroutine = kind == "coroutine"
        mark = getattr(inspect, "markcoroutinefunction", None)  # from Python 3.12
        if self.is_coroutine and mark is not None:
            mark(self)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, as a step of the run that is in flight, if one is."""
        run = active_run()
        if run is None:
            return self.function(*args, **kwargs)
        call = StepCall(self.name, run, self._config(args, kwargs))
        if self.is_coroutine:
            return self._awaited(call, args, kwargs)  # type: ignore[return-value]
        with call.made():
            key = self._key(call)
            if key is None:
                call.value = self.function(*args, **kwargs)
            elif not call.find(key):
                claim = call.kept.claim(key)
                claim.take()
                with claim, making(key):
                    if not call.find(key):
                        with call.drawing(key):
                            call.value = self.function(*args, **kwargs)
                        call.keep(key)
        value: R = call.value
        return value

    async def _awaited(self, call: StepCall, args: Any, kwargs: Any) -> Any:
        import asyncio

        function: Any = self.function
        with call.made():
            key = self._key(call)
            if key is None:
                call.value = await function(*args, **kwargs)
            elif not call.find(key):
                claim = call.kept.claim(key)
                while not claim.take(0):  # another task of this thread may have it
                    await asyncio.sleep(_PAUSE)
                with claim, making(key):
                    if not call.find(key):
                        call.value = await function(*args, **kwargs)
                        call.keep(key)
        return call.value

    def _config(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Config:
        try:
            return self._bind(args, kwargs)
        except TypeError:
            self.function(*args, **kwargs)  # Python says best what is wrong
            raise

    def _key(self, call: StepCall) -> str | None:
        """What the value is kept under; None if the call is to be made without the cache."""
        if not self.cache:
            return None
        for name, content in call.facts["inputs"].items():
            if content is None:
                call.run.fault(
                    f"Step {self.name!r} is not looked up in the cache: its {name!r}, a "
                    f"{type_name(type(call.config[name]))}, can't be compared with others."
                )
                return None
        if key_is_being_made(key := self._key_of(call)):
            return None  # it calls itself: waiting would be for ever
        return key

    def _key_of(self, call: StepCall) -> str:
        from digital_experiments.fingerprint import kind_digest

        kinds = [kind_digest(value) for value in call.config.values()]
        return short_hash(f"step {self.fingerprint} {kinds} {call.facts['inputs']}".encode())

    @property
    def fingerprint(self) -> str:
        """What identifies the code: the function with every helper and constant it reaches."""
        from digital_experiments.fingerprint import Fingerprint

        known = self._fingerprint
        if known is None or not known.is_exact():
            known = self._fingerprint = Fingerprint(self.function)
        return known.value

    def __reduce__(self) -> str | tuple[Any, ...]:
        """By name where it is found under its name."""
        return name_if_found(self) or self.by_value()

    def by_value(self) -> tuple[Any, ...]:
        """How to pickle it for a process that can't find it under its name."""
        return (_rebuilt, (self.function, self.cache, self.name))

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As functions do."""
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"Step({self.name})"


def _rebuilt(function: Callable[P, R], cache: bool, name: str) -> Step[P, R]:
    return Step(function, cache=cache, name=name)


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *, cache: bool = False, name: str | None = None
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(function: Any = None, *, cache: bool = False, name: str | None = None) -> Any:
    """Make a function a step: its calls within a run are part of the run's provenance.

    Each call is kept in ``metadata["steps"]``: its time, its inputs and its value as digests of
    their content, which step called it; :meth:`Observation.tree` shows them. Outside of a run a
    step is an ordinary function.

    Parameters
    ----------
    function : callable
        A function or a coroutine function.
    cache : bool
        Whether a call with the same code and equal inputs gives the value that was made before:
        in any run that records into this store, in any process. Who comes while the value is
        being made waits for it. The value is pickled, so each caller gets one of its own.
    name : str, optional
        The step's name; by default the function's.

    Returns
    -------
    Step
        Callable as the function was.

    Raises
    ------
    TypeError
        For what is no function, and for a generator function.

    Examples
    --------
    >>> from digital_experiments import experiment, step
    >>> @step(cache=True)
    ... def clean(raw):
    ...     print("cleaning")
    ...     return [x for x in raw if x is not None]
    >>> @experiment
    ... def mean(raw):
    ...     values = clean(raw)
    ...     return sum(values) / len(values)
    >>> mean([1, None, 3])
    cleaning
    2.0
    >>> mean([1, None, 3])
    2.0
    >>> [call["status"] for call in mean.observations()[-1].metadata["steps"]]
    ['cached']
    """
    if function is None:
        return functools.partial(step, cache=cache, name=name)
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(Step(function.__func__, cache=cache, name=name))
    return Step(function, cache=cache, name=name)


@contextmanager
def making(key: str) -> Iterator[None]:
    """While the value of a key is made here."""
    token = _making.set(_making.get() | {key})
    try:
        yield
    finally:
        _making.reset(token)


def key_is_being_made(key: str) -> bool:
    """Whether it is this very call, or one that it is part of, that makes the value of a key."""
    return key in _making.get()


def _digest(value: object) -> str | None:
    """A digest of a value's content; None where it can't be told."""
    try:
        return config_key(value)
    except Exception:  # objects of the user's may raise anything
        return None


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) and not (isinstance(value, str) and len(value) > _LONG)
