"""The decorator: a function that records each of its calls, and finds them again.

Knows runs, backends and callbacks; never who suggests configs or where calls are executed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Generator,
    Mapping,
    Sequence,
)
from dataclasses import replace
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from digital_experiments.assigned import Assignment, open_assignment
from digital_experiments.backends import Backend, UnusableBackend, backend_class
from digital_experiments.caching import ResultCache, cache_key, hit_line, is_within
from digital_experiments.callbacks import Callback
from digital_experiments.callbacks.code import plain_function
from digital_experiments.config import Binder, Config, freeze
from digital_experiments.errors import RecordingWarning, did_you_mean
from digital_experiments.faults import warn_user
from digital_experiments.generators import drive, drive_async
from digital_experiments.ids import check_name
from digital_experiments.many.mapped import Mapped
from digital_experiments.observation import Observation
from digital_experiments.options import (
    OPTIONS,
    all_callbacks,
    call_kind,
    checked_callbacks,
    checked_root,
    listens,
    make_backend,
    name_if_found,
    name_of,
)
from digital_experiments.recorder import Recorder
from digital_experiments.remote import Root
from digital_experiments.retention import Retention, checked_retention
from digital_experiments.run import Run, active_run
from digital_experiments.selection import Selection, checked_tags
from digital_experiments.stored import SELECTING, StoredExperiment

if TYPE_CHECKING:
    from concurrent.futures import Future

    from digital_experiments.fingerprint import Fingerprint

P = ParamSpec("P")
R = TypeVar("R")
_owners: dict[tuple[str, str], str] = {}  # which function records under a name in a root


class Experiment(Mapped, StoredExperiment, Generic[P, R]):
    """A function whose calls are recorded. Made by :func:`experiment`; called as before.

    Attributes
    ----------
    function : callable
        The function as it was decorated.
    name : str
        The experiment's name, by default the function's.
    """

    function: Callable[P, R]
    name: str

    def __init__(
        self,
        function: Callable[P, R],
        *,
        root: Root | None = None,
        name: str | None = None,
        backend: str | type[Backend] = "pickle",
        cache: bool = False,
        callbacks: Sequence[Callback] | None = None,
        tags: Sequence[str] = (),
        verbose: bool = False,
        strict: bool = False,
        retention: Retention | None = None,
        storage_options: Mapping[str, Any] | None = None,
        trust: bool = False,
    ) -> None:
        if not callable(function):
            raise TypeError(
                f"@experiment expects a function, not {function!r}. Options go by name: "
                "@experiment(root=..., name=..., cache=True)."
            )
        self.name = check_name(name or name_of(function), "the name of an experiment")
        self.cache = cache
        self.verbose = verbose
        self._options: dict[str, Any] = {
            "root": checked_root(root, storage_options, backend_class(backend)),
            "name": name,
            "backend": backend_class(backend),
            "cache": cache,
            "callbacks": checked_callbacks(callbacks or ()),
            "tags": checked_tags(tags),
            "verbose": verbose,
            "strict": strict,
            "retention": checked_retention(retention),
            "trust": trust,
        }
        self._bind = Binder(function)
        self._described: str | None = None
        self._recorder: Recorder | None = None
        self._results: ResultCache | None = None
        self._fingerprint: Fingerprint | None = None
        self.callbacks = all_callbacks(function, verbose, self._options["callbacks"])
        functools.update_wrapper(self, function)
        self.function = function
        self._special = self._special_call()

    def _special_call(self) -> Callable[[Any, Any], Any] | None:
        """How calls go that are more than a plain call: None for a plain function."""
        kind = call_kind(self.function)
        if self.cache and kind in ("generator", "async generator"):
            raise TypeError(
                f"{self.name!r} is a generator function, which cache=True is not for: a generator "
                "is consumed as it runs. Cache a function that returns a list instead."
            )
        if kind == "coroutine":
            mark = getattr(inspect, "markcoroutinefunction", None)  # from Python 3.12
            if mark is not None:
                mark(self)
            return self._cached_async if self.cache else self._call_async
        special = {"generator": self._generate, "async generator": self._generate_async}
        return special.get(kind) or (self._cached if self.cache else None)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, and record what comes of it."""
        if self._special is not None:
            result: R = self._special(args, kwargs)
            return result
        with self._run(self._config(args, kwargs)) as run:
            run.result = result = self.function(*args, **kwargs)
        return result

    @property
    def _is_plain(self) -> bool:
        """Whether a call is a run of a plain function, and nothing else."""
        return self._special is None

    def _config(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Config:
        try:
            return self._bind(args, kwargs)
        except TypeError:
            if type(self.function) is FunctionType and not hasattr(self.function, "__wrapped__"):
                self.function(*args, **kwargs)  # Python says best what is wrong
                raise
            if hasattr(self.function, "__parts__"):
                raise
            return {"args": args, "kwargs": kwargs}  # a wrapper may take what it does not declare

    def _run(self, config: Config, key: str | None = None, plan: Assignment | None = None) -> Run:
        lost: list[str] = []
        plain = freeze(config, lost, self._described)
        recorder = self._recorder or self._recorder_now()
        plan = plan or open_assignment(self)
        if plan is None:
            run = Run(recorder, config, plain, lost, {"fingerprint": self.fingerprint})
        else:
            facts = dict(plan.facts)
            run = plan.run = Run(recorder, config, plain, lost, facts, plan.id)
            if plan.announced or plan.watch:
                run.announced, run.watch = plan.announced, plan.watch
        run.cache_key = key
        return run

    def _call(self, config: Config, args: Any, kwargs: Any, key: str | None = None) -> Any:
        with self._run(config, key) as run:
            run.result = result = self.function(*args, **kwargs)
        self._keep(key, run)
        return result

    def _call_async(self, args: Any, kwargs: Any) -> Coroutine[Any, Any, Any]:
        return self._awaited(self._config(args, kwargs), args, kwargs)

    async def _awaited(self, config: Config, args: Any, kwargs: Any, key: str | None = None) -> Any:
        with self._run(config, key) as run:
            run.result = result = await self.function(*args, **kwargs)  # type: ignore[misc]
        self._keep(key, run)
        return result

    def _generate(self, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
        run = self._run(self._config(args, kwargs))
        return drive(run, self.function(*args, **kwargs))  # type: ignore[arg-type]

    def _generate_async(self, args: Any, kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = self._run(self._config(args, kwargs))
        return drive_async(run, self.function(*args, **kwargs))  # type: ignore[arg-type]

    def _cached(self, args: Any, kwargs: Any) -> Any:
        config = self._config(args, kwargs)
        key = self._key(config)
        if key is None:
            return self._call(config, args, kwargs)
        while (state := self._found_or_flight(key)) is not None:
            if isinstance(state, Observation):
                return state.result
            state.result()
        try:
            return self._call(config, args, kwargs, key)
        finally:
            self._cache_now().land(key)

    def _cached_async(self, args: Any, kwargs: Any) -> Coroutine[Any, Any, Any]:
        return self._awaited_cached(self._config(args, kwargs), args, kwargs)

    async def _awaited_cached(self, config: Config, args: Any, kwargs: Any) -> Any:
        import asyncio

        key = self._key(config)
        if key is None:
            return await self._awaited(config, args, kwargs)
        while (state := self._found_or_flight(key)) is not None:
            if isinstance(state, Observation):
                return state.result
            await asyncio.shield(asyncio.wrap_future(state))
        try:
            return await self._awaited(config, args, kwargs, key)
        finally:
            self._cache_now().land(key)

    def _found_or_flight(self, key: str) -> Observation | Future[None] | None:
        """What was recorded, or whom to wait for; None if the key is now claimed for this call."""
        results = self._cache_now()
        found = self._hit(results, key)
        if found is not None:
            return found
        flight = results.take_off(key)
        if flight is not None:
            return flight
        found = self._hit(results, key)  # somebody may have landed since we looked
        if found is not None:
            results.land(key)
        return found

    def _keep(self, key: str | None, run: Run) -> None:
        if key is not None:
            self._cache_now().keep(key, run)

    def _hit(self, results: ResultCache, key: str) -> Observation | None:
        try:
            found = results.find(key)
        except Exception as problem:  # whatever is wrong with the store, the call is made
            warn_user(f"The cache of {self.name!r} can't be read: {problem}", RecordingWarning)
            return None
        if found is not None and self.verbose:
            print(hit_line(found))
        plan = open_assignment(self)
        if plan is not None:
            plan.found = found
        return found

    def _key(self, config: Config) -> str | None:
        """The key of a config; None if the call is to be made without the cache."""
        try:
            if self._fingerprint is not None and not self._fingerprint.is_exact():
                self._fingerprint = None
            key = cache_key(self.fingerprint, config)
        except Exception as problem:  # values of the user's classes take part in it
            text = f"A call of {self.name!r} is not looked up in the cache: {problem}."
            warn_user(text, RecordingWarning)
            return None
        return None if is_within(key, active_run()) else key

    @property
    def fingerprint(self) -> str:
        """What identifies the code: the function with every helper and constant it reaches."""
        known = self._fingerprint
        if known is None or not known.is_current():
            known = self._fingerprint = self._new_fingerprint()
        return known.value

    def _new_fingerprint(self) -> Fingerprint:
        from digital_experiments.fingerprint import Fingerprint

        try:
            return Fingerprint(self.function)
        except Exception as problem:  # objects that the code reaches may raise anything
            warn_user(
                f"The code of {self.name!r} can't be told from other code by more than its own "
                f"statements: {type(problem).__name__}: {problem}.",
                RecordingWarning,
            )
            return Fingerprint(self.function, deep=False)

    @property
    def backend(self) -> Backend:
        """What keeps the observations."""
        return (self._recorder or self._recorder_now()).backend

    def _recorder_now(self) -> Recorder:
        told = self._options
        backend = make_backend(told["backend"], told["root"], self.name, told["trust"])
        recorder = Recorder(
            self.name,
            backend,
            starters=[c for c in self.callbacks if listens(c, "start")],
            enders=[c for c in self.callbacks if listens(c, "end")],
            steppers=[
                c for c in self.callbacks if listens(c, "step_start") or listens(c, "step_end")
            ],
            tags=self._options["tags"],
            strict=self._options["strict"],
            retention=self._options["retention"],
        )
        if not isinstance(backend, UnusableBackend):
            self._recorder = recorder
            self._claim_name(recorder.root)
        return recorder

    def _claim_name(self, root: str) -> None:
        """Warn where two functions record under one name in one folder."""
        inner = plain_function(self.function) or self.function
        me = f"{getattr(inner, '__module__', '?')}.{getattr(inner, '__qualname__', self.name)}"
        other = _owners.setdefault((root, self.name), me)
        if other != me:
            warn_user(
                f"{other} and {me} both record as {self.name!r} in {root}. Their observations are "
                "told apart by their code only: give one of them another name= or root=.",
                RecordingWarning,
            )

    def _cache_now(self) -> ResultCache:
        if self._results is None:
            self._results = ResultCache(self.name, self.backend)
        return self._results

    def _of_code(self, chosen: Selection, current_code_only: bool | None) -> Selection:
        if current_code_only is False:
            return chosen
        return replace(chosen, is_current=self._has_this_code)

    def _has_this_code(self, facts: Mapping[str, Any]) -> bool:
        """Whether the current code made the runs that have some metadata in common."""
        made_by = facts.get("fingerprint")
        if made_by is not None:
            return str(made_by) == self.fingerprint
        from digital_experiments.fingerprint import same_statements

        inner = plain_function(self.function)  # digital-experiments 2.x kept only the text
        text = facts.get("code")
        return inner is not None and isinstance(text, str) and same_statements(text, inner)

    def _check_field(self, field: str) -> None:
        if not self._bind.accepts(field) and field not in self.config_fields():
            known = [*self._bind.names, "current_code_only", "status", *sorted(SELECTING)]
            raise TypeError(
                f"{self.name!r} has no parameter {field!r}, nor has any observation of it. "
                + did_you_mean(field, known)
            )

    def complete(self, config: Config) -> Config:
        """A config with the defaults that a call ``experiment(**config)`` would add.

        Raises
        ------
        TypeError
            If such a call would not fit the function's signature.
        """
        return self._bind((), config)

    def with_(self, **options: Any) -> Experiment[P, R]:
        """The same function with other options; this experiment stays as it is.

        Parameters
        ----------
        **options
            Those of :func:`experiment`.

        Raises
        ------
        TypeError
            For an option that there is not.

        Examples
        --------
        >>> from digital_experiments import experiment
        >>> @experiment(cache=True)
        ... def square(x):
        ...     return x * x
        >>> square.with_(cache=False)(3)
        9
        """
        for option in options:
            if option not in OPTIONS:
                raise TypeError(f"No option {option!r}. {did_you_mean(option, OPTIONS)}")
        derived = Experiment(self.function, **{**self._options, **options})
        derived._described, derived._fingerprint = self._described, self._fingerprint
        return derived

    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., R]:
        """As functions do: a method, whose instance the config only describes."""
        self._described = self._bind.first
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """By name, as a function is pickled, where it is found under its name."""
        return name_if_found(self) or self.by_value()

    def by_value(self) -> tuple[Any, ...]:
        """How to pickle it for a process that can't find it under its name."""
        return (_rebuilt, (self.function, self._options))

    def __repr__(self) -> str:
        return f"Experiment({self.name})"


def _rebuilt(function: Callable[P, R], options: dict[str, Any]) -> Experiment[P, R]:
    return Experiment(function, **options)


@overload
def experiment(function: Callable[P, R], /) -> Experiment[P, R]: ...
@overload
def experiment(
    *,
    root: Root | None = None,
    name: str | None = None,
    backend: str | type[Backend] = "pickle",
    cache: bool = False,
    callbacks: Sequence[Callback] | None = None,
    tags: Sequence[str] = (),
    verbose: bool = False,
    strict: bool = False,
    retention: Retention | None = None,
    storage_options: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Callable[[Callable[P, R]], Experiment[P, R]]: ...
def experiment(function: Any = None, **options: Any) -> Any:
    """Record every call of a function: its config, result, timing, code and surroundings.

    The function is called as before, and returns and raises what it did before.

    Parameters
    ----------
    function : callable
        What to decorate: a function, a coroutine function, a generator function (recorded
        when it is exhausted or closed), a method, a lambda, a partial.
    root : path, URI or file system, optional
        The store's folder, or a place on a bucket: ``s3://team/experiments/train``, any URI or file
        system of fsspec. By default ``$DE_ROOT``, or else ``./experiments/<name>``.
    name : str, optional
        The experiment's name; by default the function's.
    backend : str
        ``pickle``, ``json``, ``yaml``, or one made known by :func:`register_backend`.
    cache : bool
        Whether a call with the same code and an equal config returns the recorded result.
    callbacks : list of Callback, optional
        Who else listens to the runs.
    tags : list of str
        Tags of every run, in its metadata.
    verbose : bool
        Whether to print a line when a run starts, ends, or is found in the cache.
    strict : bool
        Whether a fault of recording raises RecordingError rather than warn; so does the
        environment variable ``DE_STRICT=1``.
    retention : Retention, optional
        Which files of older runs are kept; by default all.
    storage_options : dict, optional
        What the file system of a URI is opened with. It is used, and never recorded.
    trust : bool
        Whether values that others pickled into the bucket may be loaded: that can run any code.

    Returns
    -------
    Experiment
        Callable as the function was, with :meth:`~Experiment.observations` and
        :meth:`~Experiment.to_dataframe`.

    Raises
    ------
    UnknownBackend, RootError, InvalidName, TypeError, ValueError
        For an option that is wrong, at once.

    Examples
    --------
    >>> from digital_experiments import experiment
    >>> @experiment
    ... def square(x):
    ...     return x * x
    >>> [square(i) for i in range(5)]
    [0, 1, 4, 9, 16]
    >>> square.observations()[-1].result
    16
    """
    for option in options:
        if option not in OPTIONS:
            raise TypeError(f"No option {option!r}. {did_you_mean(option, OPTIONS)}")
    if function is None:
        return functools.partial(experiment, **options)
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(experiment(function.__func__, **options))
    return Experiment(function, **options)
