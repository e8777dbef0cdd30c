"""Pipelines: experiments of steps, each of which works on the value of the one before."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from digital_experiments.config import same_value
from digital_experiments.experiment import Experiment
from digital_experiments.steps import Step

_DATA = "data"
_NAMELESS = (
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
    inspect.Parameter.POSITIONAL_ONLY,
)


class Pipeline:
    """Steps one after another, as one function of all their parameters."""

    def __init__(self, steps: Sequence[Step[..., Any]], name: str) -> None:
        self.__parts__ = list(steps)
        self.__name__ = self.__qualname__ = name
        self.__signature__ = _union(steps)
        self._fields = [[p.name for p in _own(step, n)] for n, step in enumerate(steps)]

    def __call__(self, /, **config: Any) -> Any:
        """The value of the last step."""
        value = config.get(_DATA)
        for call in self._calls(config):
            value = call(value)
        return value

    def _calls(self, config: dict[str, Any]) -> list[Callable[[Any], Any]]:
        """The steps that are to be made, each as a function of the value before it."""
        calls: list[Callable[[Any], Any]] = []
        for number, (step, fields) in enumerate(zip(self.__parts__, self._fields, strict=True)):
            given = {name: config[name] for name in fields if name in config}
            if number > 0:
                calls.append(functools.partial(step, **given))
            elif config.get(_DATA) is None:
                calls.append(functools.partial(_without_value, step, given))
        return calls


class AsyncPipeline(Pipeline):
    """The same, some of whose steps are coroutine functions."""

    async def __call__(self, /, **config: Any) -> Any:
        """The value of the last step."""
        value = config.get(_DATA)
        for call in self._calls(config):
            value = call(value)
            if inspect.isawaitable(value):
                value = await value
        return value


def _as_step(function: Any) -> Step[..., Any]:
    if not callable(function):
        raise TypeError(
            f"pipeline expects functions, one after another, not {function!r:.80}: "
            "pipeline(load, clean, fit), or pipeline(*functions)."
        )
    if isinstance(function, Experiment):
        raise TypeError(
            f"{function.name!r} is an experiment, which can't be a step of another: give pipeline "
            "its function, or its steps."
        )
    made = function if isinstance(function, Step) else Step(function)
    try:
        inspect.signature(made.function)
    except ValueError:
        raise TypeError(
            f"{made.name!r} does not tell its parameters: put it into a function of your own."
        ) from None
    return made


def _without_value(step: Step[..., Any], given: dict[str, Any], _: None) -> Any:
    return step(**given)


def _own(step: Step[..., Any], place: int) -> list[inspect.Parameter]:
    """The parameters of a step that are fields of the config: not the value before it."""
    parameters = list(inspect.signature(step.function).parameters.values())
    for parameter in parameters:
        is_value = place > 0 and parameter is parameters[0]
        if parameter.kind in _NAMELESS and not is_value:
            raise TypeError(
                f"Step {step.name!r} takes {parameter}: a pipeline has to know each parameter by "
                "name."
            )
    if place == 0:
        return parameters
    if not parameters or parameters[0].kind > inspect.Parameter.VAR_POSITIONAL:
        raise TypeError(
            f"Step {step.name!r} has no first parameter for the value of the step before it."
        )
    return parameters[1:]


def _union(steps: Sequence[Step[..., Any]]) -> inspect.Signature:
    """The parameters of all steps, each once, and ``data``."""
    known: dict[str, tuple[str, Any]] = {}
    for place, step in enumerate(steps):
        for parameter in _own(step, place):
            other, default = known.setdefault(parameter.name, (step.name, parameter.default))
            if parameter.name == _DATA:
                raise TypeError(
                    f"Step {step.name!r} has a parameter 'data', which in a pipeline stands for "
                    "what replaces its first step: name it otherwise."
                )
            if not same_value(default, parameter.default):
                raise TypeError(
                    f"Steps {other!r} and {step.name!r} have different defaults for "
                    f"{parameter.name!r}, which is one field of the config: give them one default, "
                    "or two names."
                )
    fields = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, (_, default) in known.items()
    ]
    data = inspect.Parameter(_DATA, inspect.Parameter.KEYWORD_ONLY, default=None)
    return inspect.Signature([*fields, data])


def pipeline(*functions: Callable[..., Any], name: str | None = None, **options: Any) -> Any:
    """Make an experiment of steps, of which each works on the value of the one before.

    The first step is the source of the data. Each further one takes the value before it as its
    first parameter. The config of the experiment is the union of all other parameters; one that
    several steps have is one field, with one value. ``data=`` replaces what the first step gives.

    Parameters
    ----------
    *functions : callable
        Functions, or what :func:`step` made of them. ``@step(cache=True)`` is found by code and
        inputs, so a run that changes only a late parameter begins there.
    name : str, optional
        The experiment's name; by default those of the steps, joined by ``_``.
    **options
        Those of :func:`experiment`.

    Returns
    -------
    Experiment

    Raises
    ------
    TypeError
        If the steps do not fit together; it says why.

    Examples
    --------
    >>> from digital_experiments import pipeline
    >>> def load(n=4):
    ...     return list(range(n))
    >>> def scale(values, by=1):
    ...     return [by * value for value in values]
    >>> def total(values):
    ...     return sum(values)
    >>> study = pipeline(load, scale, total, name="scaled_total")
    >>> study(by=10)
    60
    >>> study(by=10, data=[1, 2])
    30
    >>> study.observations()[0].config
    {'n': 4, 'by': 10, 'data': None}
    """
    if not functions:
        raise TypeError("pipeline needs functions: pipeline(load, clean, fit).")
    steps = [_as_step(function) for function in functions]
    kind = AsyncPipeline if any(step.is_coroutine for step in steps) else Pipeline
    return Experiment(kind(steps, name or "_".join(step.name for step in steps)), **options)
