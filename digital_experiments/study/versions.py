"""The times that a study was run, and what came of each. Reads; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from digital_experiments.errors import VersionNotFound, did_you_mean
from digital_experiments.followed import shown_name
from digital_experiments.ids import check_path
from digital_experiments.observation import Observation
from digital_experiments.selection import STATUSES
from digital_experiments.study.design import Design, distinct
from digital_experiments.study.hypotheses import BASELINE
from digital_experiments.study.outcome import Outcome, Replicate
from digital_experiments.study.plans import CONFIRMATION, SEARCH, Plan, plain_config, seed_of

if TYPE_CHECKING:
    from digital_experiments.study.study import Study


class Version(NamedTuple):
    """One time that a study was run.

    Attributes
    ----------
    number : int
        From 1.
    made : str
        When its plan was written, in UTC.
    kind : str
        ``study``, ``confirmation`` or ``search``.
    treatments : list of str
        Its conditions besides the baseline.
    replicates : int
        How many of each.
    seed : int
        What their seeds are made from.
    complete : bool
        Whether every run has completed.
    id : str
        Of its plan.
    """

    number: int
    made: str
    kind: str
    treatments: list[str]
    replicates: int
    seed: int
    complete: bool
    id: str


class Versioned(Design):
    """The part of a study that knows its versions; see :class:`Study`."""

    def versions(self) -> list[Version]:
        """Every time that the study was run, the oldest first."""
        plans = self.plans
        found = []
        for number, plan in enumerate(plans.all(), 1):
            ending = plans.ending(plan)
            complete = ending is not None and ending["completed"] >= ending["planned"]
            treatments = [name for name in plan.conditions if name != BASELINE]
            told = (plan.kind, treatments, plan.replicates, plan.seed, complete, plan.id)
            found.append(Version(number, plan.made, *told))
        return found

    def progress(self, version: int | None = None) -> tuple[int, int]:
        """How many runs of a version have completed, and of how many; opens no result.

        Raises
        ------
        VersionNotFound
            If there is no such version.
        """
        plan = self._with_trials(self._plan(version)[1])
        done = sum(o.observation.status == "completed" for o in self.replicates_of(plan))
        return done, plan.size

    def _plan(self, version: int | None) -> tuple[int, Plan]:
        """A version's number and plan; by default of the newest that is no search."""
        if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
            raise TypeError(f"version must be a number, from 1, not {version!r}.")
        plans = self.plans.all()
        if version is None:
            newest = [n for n, plan in enumerate(plans, 1) if plan.kind != SEARCH]
            version = newest[-1] if newest else len(plans)
        if not 1 <= version <= len(plans):
            store = shown_name(self.plans.root)
            asked = f"no version {version}" if plans else f"not been run yet in {store}"
            has = f"It has {len(plans)}." if plans else "It has none there."
            raise VersionNotFound(f"Study {self.name!r} has {asked}. {has}")
        return version, plans[version - 1]

    def load(self, version: int | None = None, hypotheses: Any = None) -> Outcome:
        """What came of a version.

        Parameters
        ----------
        version : int, optional
            By default the newest that is no search.
        hypotheses : optional
            What to test in place of what was planned.

        Raises
        ------
        VersionNotFound
            If there is no such version.
        InvalidHypothesis
            For a hypothesis about what is no condition of the version.

        Notes
        -----
        To look at a confirmation that has not ended is noted in it. A function among the planned
        hypotheses is looked for in this study.
        """
        number, plan = self._plan(version)
        plan = self._with_trials(plan)
        found = self.replicates_of(plan)
        done = sum(one.observation.status == "completed" for one in found)
        if plan.kind == CONFIRMATION and done < plan.size:
            self.plans.look(plan, done)
        asked = None if hypotheses is None else distinct(hypotheses)
        for hypothesis in asked or ():
            hypothesis.check(list(plan.conditions))
        return Outcome(cast("Study", self), plan, number, found, asked)

    def _with_trials(self, plan: Plan) -> Plan:
        """The plan; of a search with the trials that were made as its conditions."""
        if plan.kind != SEARCH:
            return plan
        conditions = dict[str, Any]()
        for run in self.runs_of(plan.id):
            name = run.facts["study"]["treatment"]
            conditions.setdefault(name, plain_config(run.shown("config")))
        return replace(plan, conditions=conditions)

    def replicates_of(
        self, plan: Plan, runs: Mapping[str, Sequence[Observation]] | None = None
    ) -> list[Replicate]:
        """The newest attempt at each replicate of a plan; one that completed before others.

        ``runs`` are those of all plans, where they have been asked for.
        """
        found: dict[tuple[str, int], Observation] = {}
        for part in (*self._continued(plan), plan):
            made = self.runs_of(part.id) if runs is None else runs.get(part.id, ())
            for observation in made:
                told = observation.facts["study"]
                name, number = told["treatment"], told["replicate"]
                known = found.get((name, number))
                same = part is plan or part.keys.get(name) == plan.keys.get(name)
                if same and (known is None or known.status != "completed"):
                    found[name, number] = observation
        return [
            Replicate(name, number, seed_of(plan.seed, number), observation)
            for (name, number), observation in found.items()
            if name in plan.conditions and number < plan.replicates
        ]

    def _continued(self, plan: Plan) -> list[Plan]:
        """The plans that a plan continues, as far as they are there."""
        there = {known.id: known for known in self.plans.all()} if plan.continues else {}
        return [there[id] for id in plan.continues if id in there]

    def runs_of(self, plan: str) -> Iterable[Observation]:
        """The runs that were made for a plan, whatever became of them, the oldest first."""
        return self._runs(f"metadata.study.plan == '{plan}'")

    def runs_by_plan(self) -> dict[str, list[Observation]]:
        """The runs of all plans, by the ids of these."""
        found: dict[str, list[Observation]] = {}
        for run in self._runs("metadata.study.plan > ''"):
            found.setdefault(run.facts["study"]["plan"], []).append(run)
        return found

    def _runs(self, where: str) -> Iterable[Observation]:
        try:
            return self.experiment.observations(
                current_code_only=False, status=list(STATUSES), where=where
            )
        except LookupError:  # no run has begun
            return []

    def load_all(self) -> dict[str, tuple[int, Outcome]]:
        """Per condition the newest version that has completed runs of it, with its number."""
        found: dict[str, tuple[int, Outcome]] = {}
        for number in range(len(self.plans.all()), 0, -1):
            if self._plan(number)[1].kind == SEARCH:
                continue
            outcome = self.load(number)
            for name in outcome.plan.conditions:
                if name not in found and not outcome.metrics(name).empty:
                    found[name] = (number, outcome)
        return found

    def artefacts(
        self,
        name: str,
        treatment: str = BASELINE,
        version: int | None = None,
        require_complete: bool = False,
    ) -> list[Path]:
        """The files of a name that a condition's replicates left, in their order.

        Replicates that left no such file, or did not complete, are passed over: so that those of
        two conditions belong together pair by pair, ask for ``require_complete``.
        Given to another experiment as a parameter, such a path tells what that run came from:
        :attr:`Observation.inputs`.

        Parameters
        ----------
        name : str
            The file, below each run's own folder.
        treatment : str
            The condition.
        version : int, optional
            By default the newest.
        require_complete : bool
            Whether a version some of whose runs have not completed is refused.

        Raises
        ------
        FileNotFoundError
            If no replicate left it; with ``require_complete`` if one did not, or has not
            completed.
        VersionNotFound, UnknownColumn
            For a version or a condition that there is not.
        """
        check_path(name, "the name of an artefact")
        outcome = self.load(version)
        outcome._of(treatment)
        there = (one.observation for one in outcome.replicates if one.treatment == treatment)
        runs = [run for run in there if run.status == "completed"]
        paths = [path for run in runs if (path := run.dir / name).exists()]
        planned = outcome.plan.replicates
        if require_complete and not (outcome.is_complete and len(paths) == planned):
            raise FileNotFoundError(
                f"{outcome.title} is not complete: {len(paths)} of {planned} replicates of "
                f"{treatment!r} have {name!r}, and {len(outcome.errors)} runs failed."
            )
        if not paths:
            left = sorted({name for run in runs for name in _files_of(run)})
            hint = did_you_mean(name, left)
            newer = (
                " Retention may have removed it." if outcome.version < len(self.versions()) else ""
            )
            raise FileNotFoundError(
                f"No replicate of {treatment!r} in {outcome.title} has {name!r}.{newer} {hint}"
            )
        return paths

    artifacts = artefacts


def _files_of(run: Observation) -> Iterator[str]:
    """The names of the files that a run left, below its folder."""
    return (path.relative_to(run.dir).as_posix() for path in run.dir.rglob("*") if path.is_file())
