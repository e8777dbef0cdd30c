"""What a study is going to do, written down before its first run. Knows files; runs nothing."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from digital_experiments.callbacks.seed import SEEDS
from digital_experiments.config import recorded_key
from digital_experiments.digest import short_hash
from digital_experiments.errors import DamagedRecord
from digital_experiments.files import write_atomic
from digital_experiments.ids import (
    FULL_ID,
    check_name,
    looks_like_id,
    new_id,
    started,
    utc_text,
)
from digital_experiments.store.codecs import readable_json
from digital_experiments.store.layout import STUDIES
from digital_experiments.store.studies import ENDING, read_study_file, study_files, study_names
from digital_experiments.values import Plain, encode
from digital_experiments.views import PLAIN_SCALARS, type_name

STEP = 31337
"""How far the seeds of two replicates are apart, as in crystallize-ml."""

SEARCH = "search"
"""The kind of a plan that looks for the best config."""

CONFIRMATION = "confirmation"
"""The kind of a plan that is to confirm what another found."""

_DONE = ".done.json"
_LOOK = ".look-"
_DIGITS = 12  # of a digest


def seed_of(seed: int, replicate: int) -> int:
    """The seed of a replicate, the same in every condition.

    >>> seed_of(1234, 2)
    63908
    """
    return (seed + replicate * STEP) % SEEDS


@dataclass(frozen=True)
class Plan:
    """What a version of a study is going to do.

    Attributes
    ----------
    id : str
        Tells when it was made.
    study : str
        The study's name.
    experiment : str
        The experiment's name.
    kind : str
        ``study``, ``confirmation`` or ``search``.
    conditions : dict
        The config of each condition as far as it is plain, the baseline first.
    keys : dict
        What tells each condition's config from others.
    replicates : int
        How often each condition is run.
    seed : int
        What the seeds of the replicates are made from.
    hypotheses : list of dict
        What is to be shown.
    correction : str or None
        How the p-values are corrected for their number.
    fingerprint : str
        Of the code that is to run.
    description : str
        What the study is for.
    git : dict
        The state of the repository.
    continues : list of str
        Earlier plans whose runs of equal conditions are part of this one.
    explored : list of str
        Of a confirmation, the plans whose seeds it does not use, as ``<study>/<id>``; the first
        is the one that it confirms.
    search : str
        Of a search, what looked for what.
    """

    id: str
    study: str
    experiment: str
    kind: str
    conditions: dict[str, Plain]
    keys: dict[str, str]
    replicates: int
    seed: int
    hypotheses: list[dict[str, Any]]
    correction: str | None
    fingerprint: str
    description: str = ""
    git: dict[str, Any] = field(default_factory=dict)
    continues: list[str] = field(default_factory=list)
    explored: list[str] = field(default_factory=list)
    search: str = ""

    @cached_property
    def digest(self) -> str:
        """What tells this plan from one that was changed."""
        return short_hash(self.data)[:_DIGITS]

    @cached_property
    def data(self) -> bytes:
        """The file's bytes."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return readable_json(encode({"format": 1, **plain}))

    @property
    def seeds(self) -> list[int]:
        """The seed of each replicate."""
        return [seed_of(self.seed, replicate) for replicate in range(self.replicates)]

    @property
    def made(self) -> str:
        """When it was made, in UTC."""
        return utc_text(started(self.id))

    @property
    def size(self) -> int:
        """How many runs it asks for."""
        return len(self.conditions) * self.replicates


def plain_config(config: Mapping[str, Any]) -> Plain:
    """A config as a plan shows it: of what is not plain its repr."""
    return {
        name: value if _is_shown(value) else repr(value)[:200] for name, value in config.items()
    }


def _is_shown(value: object) -> bool:
    try:
        return _is_plain(value)
    except RecursionError:  # it holds itself
        return False


def _is_plain(value: object) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))  # type: ignore[call-overload] # a list or a tuple
    if type(value) is dict:
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    return type(value) in PLAIN_SCALARS


def config_mark(config: Mapping[str, Any]) -> str:
    """What tells a config from others; a value that can't be compared is like itself alone."""
    try:
        return recorded_key(dict(config))
    except TypeError:
        pass
    try:
        return recorded_key({name: _marked(value) for name, value in config.items()})
    except RecursionError:  # it holds itself: then its look has to do
        return short_hash(repr(plain_config(config)).encode())


def _marked(value: Any) -> Any:
    """A value, or what stands for it in this process, if it can't be compared."""
    if type(value) in (list, tuple):
        return [type_name(type(value)), *map(_marked, value)]
    if type(value) is dict:
        return {key: _marked(item) for key, item in value.items()}
    if type(value) in (set, frozenset):
        return ["set", *sorted(recorded_key({"": _marked(item)}) for item in value)]
    try:
        recorded_key({"": value})
    except TypeError:
        _, mark = _marks.setdefault(id(value), (value, secrets.token_hex()))
        return mark
    return value


_marks: dict[int, tuple[Any, str]] = {}  # of values that can't be compared, kept so that ids stay


_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "study", "experiment", "kind", "fingerprint", "search"), str),
    **dict.fromkeys(("conditions", "keys", "git"), dict),
    **dict.fromkeys(("hypotheses", "continues", "explored"), list),
    **dict.fromkeys(("replicates", "seed"), int),
    "description": str,
    "correction": (str, type(None)),
}


def _check(plan: Plan) -> None:
    """Raise DamagedRecord unless each part of a plan is of its kind."""
    for name, kind in _KINDS.items():
        value = getattr(plan, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DamagedRecord(f"its {name} is {value!r:.80}")
    for id in (plan.id, *plan.continues):
        if not isinstance(id, str) or not FULL_ID.fullmatch(id):
            raise DamagedRecord(f"{id!r:.80} is no id of a plan")
    for told in plan.hypotheses:
        if not isinstance(told, dict) or not {"text", "test", "alpha"} <= told.keys():
            raise DamagedRecord(f"{told!r:.80} is no hypothesis")
    if not all(isinstance(config, dict) for config in plan.conditions.values()):
        raise DamagedRecord("a condition is no config")


class Plans:
    """The plans of one study in a store.

    Parameters
    ----------
    root : str
        The store's folder.
    study : str
        The study's name.
    experiment : str
        The experiment's name: another experiment's study of that name is not this one.
    """

    def __init__(self, root: str, study: str, experiment: str) -> None:
        self.root = root
        self.experiment = experiment
        self.study = check_name(study, "the name of a study")
        self._folder = f"{root}/{STUDIES}/{study}"

    def all(self) -> list[Plan]:
        """All plans, the oldest first.

        Raises
        ------
        DamagedRecord
            If one can't be read.
        """
        ids = [name.removesuffix(ENDING) for name in study_files(self.root, self.study)]
        plans = [self.read(id) for id in ids if looks_like_id(id) and "." not in id]
        return [plan for plan in plans if plan.experiment == self.experiment]

    def number(self, plan: Plan) -> int:
        """Which of all plans one is, from 1; it is written again if somebody has removed it."""
        ids = [known.id for known in self.all()]
        if plan.id not in ids:
            self.write(plan)
            ids = [known.id for known in self.all()]
        return ids.index(plan.id) + 1

    def read(self, id: str) -> Plan:
        """The plan of that id.

        Raises
        ------
        DamagedRecord
            If its file is none.
        """
        path = f"{STUDIES}/{self.study}/{id}{ENDING}"
        try:
            told = read_study_file(self.root, path)
            plan = Plan(**{name: told[name] for name in Plan.__dataclass_fields__})
            _check(plan)
            return plan
        except (DamagedRecord, KeyError) as problem:
            raise DamagedRecord(
                f"{self.root}/{path} is no plan of a study ({str(problem).rstrip('.')}). "
                "repair() puts it aside: `digital-experiments repair`."
            ) from problem

    def write(self, plan: Plan) -> None:
        """Keep a plan."""
        write_atomic(self._folder, plan.id + ENDING, plan.data)

    def end(self, plan: Plan, completed: int, planned: int | None = None, last: str = "") -> None:
        """Note that all runs of a plan have ended, of which so many have completed.

        When all had completed for the first time is kept.
        """
        known = self.ending(plan)
        if known is not None and known["completed"] >= known["planned"] == (planned or plan.size):
            return
        size = plan.size if planned is None else planned
        self._note(plan.id + _DONE, completed, size, last=last)

    def ending(self, plan: Plan) -> dict[str, Any] | None:
        """What was noted at the end of a plan; None if it has not been reached."""
        return self._told(plan.id + _DONE)

    def look(self, plan: Plan, completed: int) -> None:
        """Note that somebody has looked at a plan whose runs have not all completed."""
        self._note(f"{plan.id}{_LOOK}{new_id()}{ENDING}", completed, plan.size)

    def looks(self, plan: Plan) -> list[dict[str, Any]]:
        """When somebody has looked at a plan before its end, and what there was."""
        names = [n for n in study_files(self.root, self.study) if n.startswith(plan.id + _LOOK)]
        return [told for name in names if (told := self._told(name)) is not None]

    def _note(self, name: str, completed: int, planned: int, **more: str) -> None:
        told = {"time": started(new_id()), "completed": completed, "planned": planned, **more}
        write_atomic(self._folder, name, readable_json(encode(told)))

    def _told(self, name: str) -> dict[str, Any] | None:
        try:
            return read_study_file(self.root, f"{STUDIES}/{self.study}/{name}")
        except (OSError, DamagedRecord):
            return None


def all_plans(root: str, experiment: str) -> list[Plan]:
    """The plans of all studies of an experiment in a store."""
    return [plan for study in study_names(root) for plan in Plans(root, study, experiment).all()]
