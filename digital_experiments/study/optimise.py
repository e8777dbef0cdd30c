"""The best config that a controller finds: what is looked for, and what tells searches apart."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Mapping
from threading import Event
from typing import TYPE_CHECKING, Any

from digital_experiments.config import config_key
from digital_experiments.digest import digest
from digital_experiments.errors import (
    InvalidStudy,
    RunsFailedWarning,
    UnknownColumn,
    did_you_mean,
)
from digital_experiments.facts import direction as usual_direction
from digital_experiments.faults import warn_user
from digital_experiments.many.driver import checked_tally
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.study.design import checked_number
from digital_experiments.study.measures import measured, value_of
from digital_experiments.study.search import OBJECTIVE, Objective, Search
from digital_experiments.study.session import checked_how, remove_old_files
from digital_experiments.study.treatments import Treatment
from digital_experiments.views import short_repr, type_name

if TYPE_CHECKING:
    from digital_experiments.study.study import Study

_BEST = "best"
_DIRECTIONS = {"maximize": "max", "minimize": "min"}


def best_of(
    study: Study,
    controller: Any,
    trials: int,
    replicates: int,
    objective: Objective,
    direction: str | None,
    how: Mapping[str, Any],
    stopped: Event | None = None,
) -> Treatment:
    """See :meth:`Study.optimise`."""
    trials = checked_number("trials", trials)
    replicates = checked_number("replicates_per_trial", replicates)
    if direction not in (None, "max", "min"):
        raise ValueError(f"direction must be 'max' or 'min', not {direction!r}.")
    if isinstance(controller, type) or not callable(getattr(controller, "control", None)):
        raise TypeError(
            f"optimise expects a controller, such as OptunaSearch(...), not {controller!r}."
        )
    if not (objective is None or isinstance(objective, str) or callable(objective)):
        raise TypeError(f"objective must be a metric or a function, not {objective!r}.")
    options = {"executor": study.executor, "workers": study.workers, **how}
    asked = study.asked(executor=options.pop("executor"), workers=options.pop("workers"))
    checked_tally(progress := options.pop("progress", True))
    checked_how(asked, options, "search")
    search = Search(asked, replicates, objective, _identity(controller), options, progress, stopped)
    search.finish(asked.executor, asked.workers)
    missing = trials - len(search.tried)
    if missing > 0:
        controller.control(search, missing, executor=asked.executor, workers=asked.workers)
    search.end()
    if search.is_written:
        remove_old_files(study)
    return _best(search, controller, objective, direction)


def _best(
    search: Search, controller: Any, objective: Objective, direction: str | None
) -> Treatment:
    """The best of the trials that were made, as a treatment."""
    found = search.made()
    goal, end = _goal(controller, objective, direction, found)
    scored = [(o, value) for o in found if (value := _score(o, goal)) is not None]
    if not scored:
        _explain(search, found, goal)
    if len(scored) < len(found):
        worse = [o for o in found if _score(o, goal) is None][-1]
        warn_user(
            f"{len(found) - len(scored)} of {len(found)} trials gave no finite number in "
            f"{goal!r}, so none of them can be the best: the last, {short_repr(worse.config)}, "
            f"came to {worse.outcome()}.",
            RunsFailedWarning,
        )
    choose = min if end == "min" else max
    best, score = choose(scored, key=lambda pair: pair[1])
    treatment = Treatment(_BEST, search.differences(best.config))
    treatment.score = score
    return treatment


_identities: dict[int, tuple[Any, str]] = {}


def _identity(controller: Any) -> str:
    """What tells a controller from others: its kind, and what it was when it was first used."""
    known = _identities.get(id(controller))
    if known is None:
        known = _identities[id(controller)] = (controller, _identity_now(controller))
    return known[1]


def _identity_now(controller: Any) -> str:
    made_with = getattr(controller, "_made_with", None)
    if made_with is None or _has_iterator(*made_with[0], *made_with[1].values()):
        slots = getattr(type(controller), "__slots__", ())
        names = [slots] if isinstance(slots, str) else slots
        made_with = {n: getattr(controller, n) for n in names if hasattr(controller, n)}
        made_with |= getattr(controller, "__dict__", {})
        made_with.pop("_made_with", None)
    return f"{short_repr(controller, 200)} {digest(_content(made_with))}"


def _has_iterator(*values: object) -> bool:
    """Whether some values are given one after another, and only once."""
    return any(isinstance(value, Iterator) for value in values)


def _content(value: Any) -> Any:
    """What tells a value from others; of an object that may change with its use, its kind."""
    kind = type(value)
    if kind in (list, tuple, range):
        return [_content(item) for item in value]
    if kind is dict:
        return [[_content(key), _content(item)] for key, item in value.items()]
    if hasattr(value, "rvs"):  # a distribution, which may hold a generator too
        if hasattr(value, "dist"):
            return [value.dist.name, _content(value.args), _content(value.kwds)]
        return [type_name(kind), _content(getattr(value, "__dict__", {}))]
    if any(base.__module__.partition(".")[0] == "optuna" for base in kind.__mro__):
        return type_name(kind)  # a sampler, which goes on drawing
    try:
        return config_key(value)
    except TypeError:  # it can't be compared with others: so it is none of them
        return secrets.token_hex()


def _goal(
    controller: Any, objective: Objective, direction: str | None, trials: Observations
) -> tuple[str, str]:
    """The column that is looked at, and which end of it is best."""
    goals = getattr(controller, "goals", None) or {}
    wanted = {_plain_name(name): _DIRECTIONS[told] for name, told in goals.items()}
    if callable(objective):
        column = OBJECTIVE
        usual = next(iter(wanted.values())) if len(wanted) == 1 else "max"
    else:
        column = objective or next(iter(goals), None) or _first_number(trials)
        usual = usual_direction(_plain_name(column))
    return column, direction or wanted.get(_plain_name(column), usual)


def _first_number(trials: Observations) -> str:
    """The first metric of which a trial has a number."""
    every = (measured(trial) for trial in trials if trial.status == "completed")
    named = ((name, value_of(cells, name)) for cells in every for name in cells)
    return next((name for name, value in named if value is not None), "result")


def _plain_name(column: str) -> str:
    """A metric without what says where it is from."""
    return column.removeprefix("metrics.").removeprefix("result.")


def _score(trial: Observation, goal: str) -> float | None:
    """The finite number that a trial came to."""
    value = value_of(measured(trial), goal) if trial.status == "completed" else None
    return value if value is not None and math.isfinite(value) else None


def _explain(search: Search, trials: Observations, goal: str) -> None:
    """Say why there is nothing to choose from."""
    failed = search.failed or next((t for t in trials if t.status != "completed"), None)
    if not trials and failed is None:
        pruned = len(search.observations(status="pruned"))
        raise InvalidStudy(
            f"All {pruned} trials were pruned: there is none to choose."
            if pruned
            else "The controller has suggested nothing to try."
        )
    if all(trial.status != "completed" for trial in trials):
        assert failed is not None
        raise InvalidStudy(
            f"No trial has come to a number; their runs are kept. The last {failed.outcome()}"
        )
    if any(value_of(measured(trial), goal) is not None for trial in trials):
        raise InvalidStudy(f"{goal!r} is not finite in any of {len(trials)} trials.")
    known = dict.fromkeys(name for trial in trials for name in measured(trial))
    raise UnknownColumn(f"No trial has a number in {goal!r}. {did_you_mean(goal, known)}")
