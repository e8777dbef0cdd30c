"""From a call to its config: the bound signature, defaults included. Runs no user code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from digital_experiments.digest import Indigestible, digest
from digital_experiments.values import Plain, described, encode
from digital_experiments.views import plain_number

Config = dict[str, Any]

_PLAIN = (bool, int, float, str, type(None))
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Binder:
    """Turns the arguments of a call into a config, by the function's signature.

    The arguments that a :func:`functools.partial` holds are part of the config.

    Examples
    --------
    >>> def fit(lr, epochs=10, *rest, **options): ...
    >>> Binder(fit)((0.1,), {"momentum": 0.9})
    {'lr': 0.1, 'epochs': 10, 'rest': (), 'options': {'momentum': 0.9}}
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._held: tuple[tuple[Any, ...], Mapping[str, Any]] = ((), {})
        if isinstance(function, functools.partial):
            self._held = (function.args, function.keywords)
            function = function.func
        self.signature = _signature(function)
        parameters = list(self.signature.parameters.values()) if self.signature else []
        self._parameters = parameters
        self.names = [p.name for p in parameters]
        self._defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self._known = frozenset(self.names)
        self._needed = self._known - self._defaults.keys() - self._held[1].keys()
        self._positional = sum(p.kind <= p.POSITIONAL_OR_KEYWORD for p in parameters)
        self._simple = bool(self.signature) and all(
            p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters
        )

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Config:
        """The config of a call.

        Raises
        ------
        TypeError
            If the arguments do not fit the signature.
        """
        if self._held[0] or self._held[1]:
            args, kwargs = (*self._held[0], *args), {**self._held[1], **kwargs}
        if self._simple and len(args) <= self._positional:
            config = self._bind_simply(args, kwargs)
            if config is not None:
                return config
        if self.signature is None:
            return {"args": args, "kwargs": dict(kwargs)}
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """See that arguments fit the signature.

        Raises
        ------
        TypeError
            If they do not.
        """
        if not (self._simple and not args and self._needed <= kwargs.keys() <= self._known):
            self(args, kwargs)

    def _bind_simply(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Config | None:
        """What ``Signature.bind`` does, for the plain case, several times as fast."""
        config = dict(zip(self.names, args, strict=False))
        taken = 0
        for name in self.names[len(args) :]:
            if name in kwargs:
                config[name] = kwargs[name]
                taken += 1
            elif name in self._defaults:
                config[name] = self._defaults[name]
            else:
                return None
        return config if taken == len(kwargs) else None

    @property
    def first(self) -> str | None:
        """The name of the first parameter: of a method, its instance."""
        return self.names[0] if self.names else None

    @property
    def defaults(self) -> Config:
        """What the parameters are that a call may name and may leave out."""
        free = self._parameters[len(self._held[0]) :]
        named = [p for p in free if p.kind in _NAMED]
        found = {p.name: p.default for p in named if p.default is not p.empty}
        return {**found, **self._held[1]}

    def accepts(self, name: str) -> bool:
        """Whether a config may have a field of this name."""
        return self.signature is None or name in self.names


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):  # some builtins tell none
        return None


def freeze(config: Config, lost: list[str], describe: str | None = None) -> Plain:
    """The config as plain data that the function can't change any more.

    Parameters
    ----------
    config
        The config of a call.
    lost
        Gets one line for each value that can't be pickled.
    describe
        The parameter of which only a view is kept: a method's instance.
    """
    return {
        name: described(value) if name == describe else encode(value, lost)
        for name, value in config.items()
    }


def config_key(config: object) -> str:
    """The digest that equal configs share: ``1``, ``True`` and ``1.0`` make three of them.

    Raises
    ------
    Indigestible
        If a value in it can't be compared with others.
    """
    return digest(config, _code_digest)


def recorded_key(config: Config) -> str:
    """The key that a config has once it was recorded: of a NumPy number as a number of Python.

    Raises
    ------
    Indigestible
        If a value in it can't be compared with others.
    """
    try:
        plain = {name: _recorded(value) for name, value in config.items()}
    except RecursionError:
        raise Indigestible("a value of the config is nested too deeply to compare") from None
    return config_key(plain)


def _recorded(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in (list, tuple):
        return kind(map(_recorded, value))
    if kind is dict:
        return {key: _recorded(item) for key, item in value.items()}
    number = plain_number(value)
    return value if number is None else number


def _code_digest(function: FunctionType) -> str:
    from digital_experiments.fingerprint import code_digest

    return code_digest(function)


def same_value(one: object, other: object) -> bool:
    """Whether a person would call two values equal: ``1`` and ``1.0``, arrays by content."""
    one, other = (v if (n := plain_number(v)) is None else n for v in (one, other))
    if _is_number(one) and _is_number(other):
        return one == other or (one != one and other != other)
    try:
        return config_key(one) == config_key(other)
    except TypeError:  # Indigestible
        return one is other


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
