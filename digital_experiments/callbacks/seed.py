"""Seeds the generators of random numbers before each run, and keeps the seed."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from digital_experiments.callbacks.base import Callback
from digital_experiments.run import current_run
from digital_experiments.views import plain_number

SEEDS = 2**32
"""Seeds are whole numbers from 0 up to this."""


class Seed(Callback):
    """Seeds ``random``, NumPy and, if it is imported, PyTorch before each run.

    The seed is in the run's ``metadata["seed"]``, so that the run can be repeated. A run of a
    :class:`~digital_experiments.Study` gets the seed that the study has planned for it.

    Parameters
    ----------
    seed : int, optional
        The seed of every run. By default a run's parameter ``seed``, if it has one that is a
        seed.
    auto_seed : bool
        Whether a run that has no seed so far gets one of its own, drawn at random. Otherwise
        one is drawn for all.
    seed_fn : callable, optional
        What seeds, given the seed; by default :func:`seed_generators`.

    Raises
    ------
    ValueError
        If the seed is no whole number from 0 to 2**32 - 1.

    Notes
    -----
    The generators belong to the whole process: threads that run side by side disturb each other.

    Examples
    --------
    >>> import random
    >>> from digital_experiments import experiment
    >>> from digital_experiments.callbacks import Seed
    >>> @experiment(callbacks=[Seed(1234)])
    ... def draw():
    ...     return random.random()
    >>> draw() == draw()
    True
    >>> draw.observations()[-1].metadata["seed"]
    1234
    """

    def __init__(
        self,
        seed: int | None = None,
        auto_seed: bool = True,
        seed_fn: Callable[[int], object] | None = None,
    ) -> None:
        self.seed = None if seed is None else checked_seed(seed)
        if not isinstance(auto_seed, bool):
            raise TypeError(f"auto_seed must be True or False, not {auto_seed!r}.")
        if seed_fn is not None and not callable(seed_fn):
            raise TypeError(f"seed_fn must be a function of the seed, not {seed_fn!r}.")
        self.auto_seed = auto_seed
        self.seed_fn = seed_fn or seed_generators
        self._for_all = secrets.randbelow(SEEDS)

    def start(self, id: str, config: dict[str, Any]) -> None:
        """Seed the generators."""
        facts = current_run().facts
        seed = facts.pop("seed", None)
        if seed is None:
            seed = self._own(config)
        self.seed_fn(seed)
        facts["seed"] = seed

    def _own(self, config: dict[str, Any]) -> int:
        """The seed of a run for which nobody has planned one."""
        if self.seed is not None:
            return self.seed
        given = config.get("seed")
        whole = given if type(given) is int else plain_number(given)
        if type(whole) is int and 0 <= whole < SEEDS:
            return whole
        return secrets.randbelow(SEEDS) if self.auto_seed else self._for_all


def seed_generators(seed: int) -> None:
    """Seed ``random``, NumPy's global generator and, if it is imported, PyTorch's.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    """
    seed_random, seed_numpy = _seeders()
    seed_random(seed)
    seed_numpy(seed)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "manual_seed"):  # else it is just being imported
        torch.manual_seed(seed)


@contextmanager
def seeded_aside(seed: int) -> Iterator[None]:
    """Seed the generators for a while; afterwards they are as they were.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    """
    import random

    import numpy

    torch = sys.modules.get("torch")
    states = random.getstate(), numpy.random.get_state()
    torch_state = None if torch is None else torch.get_rng_state()
    seed_generators(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        if torch is not None and torch_state is not None:
            torch.set_rng_state(torch_state)


@cache
def _seeders() -> tuple[Callable[[int], object], ...]:
    """What seeds the generators that are always there."""
    import random

    import numpy

    return random.seed, numpy.random.seed


def checked_seed(seed: object) -> int:
    """A seed, if it is one.

    Raises
    ------
    ValueError
        If it is no whole number from 0 to 2**32 - 1.
    """
    whole = seed if type(seed) is int else plain_number(seed)
    if type(whole) is not int or not 0 <= whole < SEEDS:
        raise ValueError(f"A seed must be a whole number from 0 to 2**32 - 1, not {seed!r}.")
    return whole
