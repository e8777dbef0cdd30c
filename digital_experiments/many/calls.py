"""What is to be called with which arguments, checked before anything is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from digital_experiments.config import Binder

Watch = Callable[[str, float, float], None]


class Call(NamedTuple):
    """The arguments of a run that is to be made.

    Attributes
    ----------
    args, kwargs
        As they are given to the function.
    watch, facts
        As of :class:`Planned`.
    config : dict or None
        What they are bound to, if that has been seen already.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    watch: Watch | None = None
    facts: dict[str, Any] | None = None
    config: dict[str, Any] | None = None


class Planned(dict[str, Any]):
    """A config of which somebody has planned more than its values.

    Attributes
    ----------
    watch : callable or None
        Told the series, the value and the step of each point that the run logs; it may end the
        run by raising RunEnded.
    facts : dict or None
        Metadata for the run.
    """

    __slots__ = ("facts", "watch")

    def __init__(
        self,
        config: Mapping[str, Any],
        watch: Watch | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(config)
        self.watch = watch
        self.facts = facts


class Counted:
    """What gives configs one after another, and how many there will be at most."""

    def __init__(self, configs: Iterator[Any], count: int) -> None:
        self._configs = configs
        self._count = count

    def __iter__(self) -> Iterator[Any]:
        return self._configs

    def __length_hint__(self) -> int:
        return self._count


Numbered = tuple[int, Call]


def calls_of(configs: Any, binder: Binder, binds: bool = False) -> list[Call] | Iterator[Call]:
    """Calls for configs; those that are at hand are all checked before one is made.

    Parameters
    ----------
    configs
        Dicts of parameters, tuples of arguments; a list of them, a frame with a column for each
        parameter, or what gives them one after another. A Call is taken as it is.
    binder
        What knows the parameters.
    binds
        Whether the calls are to have what their arguments are bound to.

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
    fit = binder if binds else binder.check
    checked = (_call(n, config, fit) for n, config in enumerate(configs))
    return list(checked) if at_hand else checked


def _call(number: int, config: Any, fit: Callable[..., dict[str, Any] | None]) -> Call:
    if type(config) is Call:
        return config
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(config, (dict, Mapping)):
        kwargs = dict(config)
    elif isinstance(config, tuple):
        args = config
    else:
        raise TypeError(
            f"Config {number} must be a dict of parameters or a tuple of arguments, not "
            f"{config!r:.80}."
        )
    try:
        bound = fit(args, kwargs)
    except TypeError as problem:
        raise TypeError(f"Config {number}, {config!r:.200}, does not fit: {problem}") from None
    if type(config) is Planned:
        return Call(args, kwargs, config.watch, config.facts, bound)
    return Call(args, kwargs, None, None, bound)
