"""Treatments: what is done otherwise than in the baseline. Knows configs only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from digital_experiments.errors import InvalidStudy
from digital_experiments.study.hypotheses import ALL, BASELINE
from digital_experiments.views import PLAIN_SCALARS, short_repr

Apply = Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any] | None]


_UNFIT = re.compile(r"[\"'\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTAINERS = (dict, list, set, bytearray)


class Treatment:
    """What a condition of a study does otherwise than the baseline.

    Parameters
    ----------
    name : str
        What it is called.
    apply : dict or callable
        Values of config fields; or a function that is given the config of the baseline and
        returns such values, or changes it in place.

    Attributes
    ----------
    score : float or None
        What :meth:`Study.optimise` found it to be worth.

    Examples
    --------
    >>> Treatment("high", {"lr": 0.1}).config({"lr": 0.01, "epochs": 3})
    {'lr': 0.1, 'epochs': 3}
    >>> Treatment("twice", lambda config: {"epochs": 2 * config["epochs"]}).config({"epochs": 3})
    {'epochs': 6}
    """

    score: float | None = None

    def __init__(self, name: str, apply: Apply) -> None:
        if not isinstance(name, str) or not name.strip():
            raise InvalidStudy(f"A treatment's name must be a text, not {name!r}.")
        if name in (BASELINE, ALL) or name != name.strip() or _UNFIT.search(name):
            raise InvalidStudy(
                f"{name!r} can't be the name of a treatment: 'baseline', '*', and what holds "
                "quotes or lines, have a meaning of their own, and spaces around it can't be seen."
            )
        if not callable(apply) and not isinstance(apply, Mapping):
            raise InvalidStudy(
                f"Treatment {name!r} must be a dict of config values, or a function of the config, "
                f"not {apply!r}."
            )
        self.name = name
        self.apply = apply if callable(apply) else with_own_containers(apply)

    def config(self, baseline: Mapping[str, Any]) -> dict[str, Any]:
        """The config of the condition.

        Parameters
        ----------
        baseline : dict
            The config of the baseline, which is not changed.

        Raises
        ------
        InvalidStudy
            If the function gives something else than a dict.
        """
        if not callable(self.apply):
            return {**baseline, **self.apply}
        config = copied(baseline)
        given = self.apply(config)
        if given is not None and not isinstance(given, Mapping):
            raise InvalidStudy(
                f"The function of treatment {self.name!r} must return a dict of config values, or "
                f"None after changing the config, not {given!r}."
            )
        return config | dict(given or {})

    def __repr__(self) -> str:
        how = getattr(self.apply, "__name__", None) or short_repr(self.apply)
        score = "" if self.score is None else f", score={self.score:g}"
        return f"Treatment({self.name!r}, {how}{score})"


def is_plain(config: Mapping[str, Any]) -> bool:
    """Whether nothing in a config can be changed in place."""
    return PLAIN_SCALARS.issuperset(map(type, config.values()))


def copied(config: Mapping[str, Any], shared: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A config that may be changed in place; what can't be copied is shared.

    So are values that are those in ``shared``, but for containers: a function may know its
    defaults by identity.
    """
    if is_plain(config):
        return dict(config)
    kept = (value for value in (shared or {}).values() if not isinstance(value, _CONTAINERS))
    memo = {id(value): value for value in kept}
    return {name: _copy_of(value, memo, _own) for name, value in config.items()}


def with_own_containers(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose dicts, lists and sets nobody else changes; what else is in it is shared."""
    memo: dict[int, Any] = {}
    return {name: _copy_of(value, memo, _own_set) for name, value in config.items()}


def _copy_of(value: Any, memo: dict[int, Any], leaf: Callable[[Any, dict[int, Any]], Any]) -> Any:
    """A value with dicts, lists and tuples of its own; one that stands in two places stays one."""
    if id(value) in memo:
        return memo[id(value)]
    kind = type(value)
    if kind is dict:
        made: dict[Any, Any] = {}
        memo[id(value)] = made
        made.update((key, _copy_of(item, memo, leaf)) for key, item in value.items())
        return made
    if kind is list:
        items: list[Any] = []
        memo[id(value)] = items
        items.extend(_copy_of(item, memo, leaf) for item in value)
        return items
    if kind is tuple:
        return tuple([_copy_of(item, memo, leaf) for item in value])
    return leaf(value, memo)


def _own_set(value: Any, memo: dict[int, Any]) -> Any:
    return set(value) if type(value) is set else value


def _own(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of a value; the value itself if it can't be copied, or there is nothing to copy."""
    from copy import deepcopy

    try:
        return value if _is_empty(value) else deepcopy(value, memo)
    except Exception:  # objects of the user's may raise anything
        return value


def _is_empty(value: Any) -> bool:
    """Whether an object holds nothing that could change: it may be known by identity."""
    made = value.__reduce_ex__(2)
    return isinstance(made, tuple) and made[1] == (type(value),) and not any(made[2:])


def as_treatments(given: object) -> dict[str, Treatment]:
    """Treatments by name, of a dict of what they do, or of a list of them.

    Raises
    ------
    InvalidStudy
        If it is neither, or a name comes twice.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {
            name: apply
            if isinstance(apply, Treatment) and apply.name == name
            else Treatment(name, apply.apply if isinstance(apply, Treatment) else apply)
            for name, apply in given.items()
        }
    if isinstance(given, Treatment):
        return {given.name: given}
    found: dict[str, Treatment] = {}
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InvalidStudy(
            f"treatments must be a dict such as {{'high': {{'lr': 0.1}}}}, not {given!r}."
        )
    for one in given:
        if not isinstance(one, Treatment):
            raise InvalidStudy(f"A list of treatments holds Treatment objects, not {one!r}.")
        if one.name in found:
            raise InvalidStudy(f"Two treatments are called {one.name!r}.")
        found[one.name] = one
    return found
