"""What came of a study: its runs, what they measured, and what that says. Runs nothing itself."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from digital_experiments.charts import Chart, Strip, strips
from digital_experiments.errors import UnknownColumn, VersionNotFound, did_you_mean
from digital_experiments.facts import told_direction
from digital_experiments.files import save
from digital_experiments.many.awaiting import awaited
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.study.design import distinct
from digital_experiments.study.hypotheses import BASELINE, Column, Hypothesis
from digital_experiments.study.integrity import (
    Integrity,
    judged,
    plans_gone,
    runs_deleted,
    seeds_used,
)
from digital_experiments.study.measures import DURATION, measured, spread, summary_of, value_of
from digital_experiments.study.plans import CONFIRMATION, Plan, all_plans
from digital_experiments.study.power import replicates_needed
from digital_experiments.study.seen import Before
from digital_experiments.study.statistics import ASYMMETRIC
from digital_experiments.study.verdicts import Verdict, ranked, verdicts
from digital_experiments.views import for_json, plain_number

if TYPE_CHECKING:
    import pandas

    from digital_experiments.study.study import Study

_ALPHA = 0.05


class Replicate(NamedTuple):
    """One run of a study.

    Attributes
    ----------
    treatment : str
        The condition: a treatment, or ``baseline``.
    number : int
        Which replicate of it, from 0.
    seed : int
        Its seed.
    observation : Observation
        The run.
    """

    treatment: str
    number: int
    seed: int
    observation: Observation


class Outcome:
    """What came of a study. It shows itself as a table in a terminal and in a notebook.

    Outcomes come from :meth:`Study.run` and :meth:`Study.load`.

    Attributes
    ----------
    plan : Plan
        What was to be done.
    version : int
        The version of the study.
    """

    def __init__(
        self,
        study: Study,
        plan: Plan,
        version: int,
        replicates: Sequence[Replicate],
        hypotheses: Sequence[Hypothesis] | None = None,
    ) -> None:
        self.study = study
        self.plan = plan
        self.version = version
        self._replicates = replicates
        self.planned = planned_hypotheses(plan, study.hypotheses)
        self.hypotheses = self.planned if hypotheses is None else list(hypotheses)

    @cached_property
    def replicates(self) -> list[Replicate]:
        """Its runs, by condition and number."""
        order = {name: n for n, name in enumerate(self.plan.conditions)}
        return sorted(self._replicates, key=lambda one: (order[one.treatment], one.number))

    @property
    def observations(self) -> Observations:
        """All runs, the failed ones included."""
        return Observations(one.observation for one in self.replicates)

    @property
    def errors(self) -> Observations:
        """The runs that did not complete."""
        return Observations(o for o in self.observations if o.status != "completed")

    @cached_property
    def _cells(self) -> dict[str, dict[int, dict[str, Any]]]:
        """The metrics of the runs that completed, by condition and number."""
        found: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in self.plan.conditions}
        for one in self.replicates:
            if one.observation.status == "completed":
                found[one.treatment][one.number] = measured(one.observation)
        return found

    def metrics(self, treatment: str = BASELINE) -> pandas.DataFrame:
        """What the replicates of a condition measured.

        Parameters
        ----------
        treatment : str
            A treatment, or ``baseline``.

        Returns
        -------
        pandas.DataFrame
            A row for each replicate that completed, by its number; a column for each metric:
            fields of the result, the last values of what was logged, and the ``duration`` in
            seconds.

        Raises
        ------
        UnknownColumn
            If there is no such condition.
        """
        import pandas

        cells = self._of(treatment)
        frame = pandas.DataFrame(list(cells.values()), index=list(cells))
        return frame.rename_axis("replicate")

    def _of(self, treatment: str) -> dict[int, dict[str, Any]]:
        if not isinstance(treatment, str) or treatment not in self._cells:
            hint = did_you_mean(str(treatment), self._cells)
            raise UnknownColumn(f"There is no condition {treatment!r}. {hint}")
        return self._cells[treatment]

    def to_dataframe(self) -> pandas.DataFrame:
        """A row for each replicate: condition, number, seed, status, id, and all metrics.

        A metric that is called as one of the first five has ``result.`` before its name.
        """
        import pandas

        rows = []
        for one in self.replicates:
            cells = self._cells[one.treatment].get(one.number, {})
            told = {"treatment": one.treatment, "replicate": one.number, "seed": one.seed}
            told |= {"status": one.observation.status, "id": one.observation.id}
            named = {f"result.{k}" if k in told else k: v for k, v in cells.items()}
            rows.append({**told, **named})
        columns = ["treatment", "replicate", "seed", "status", "id"]
        return pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=columns)

    def summary(self, alpha: float = _ALPHA) -> pandas.DataFrame:
        """A row for each condition and metric.

        Parameters
        ----------
        alpha : float
            One less the level of the confidence interval of the mean, by Student's t.

        Returns
        -------
        pandas.DataFrame
            ``treatment``, ``metric``, ``count``, ``mean``, ``std``, ``low``, ``high``, ``min``,
            ``max``; values that are not finite are left out.
        """
        import pandas

        if not isinstance(alpha, (int, float)) or not 0 < alpha < 1:
            raise ValueError(f"alpha must be a number between 0 and 1, not {alpha!r}.")
        rows = [
            {"treatment": name, "metric": metric, **summary_of(self._numbers(name, metric), alpha)}
            for name in self._cells
            for metric in self.metric_names
        ]
        return pandas.DataFrame(rows)

    @cached_property
    def metric_names(self) -> list[str]:
        """The metrics that are numbers, those of the hypotheses first."""
        sides = [side for h in self.hypotheses for side in (h.left, h.right)]
        asked = [side.metric for side in sides if isinstance(side, Column)]
        names = dict.fromkeys(
            name
            for of_one in self._cells.values()
            for cells in of_one.values()
            for name in cells
            if value_of(cells, name) is not None
        )
        first = [n for n in dict.fromkeys(a.removeprefix("result.") for a in asked) if n in names]
        rest = [n for n in names if n not in first and n != DURATION]
        return [*first, *rest, *([DURATION] if DURATION in names else [])]

    def _numbers(self, treatment: str, metric: str) -> list[float]:
        return list(self._by_number(Column(treatment, metric)).values())

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What was found for each hypothesis, and each treatment that it is about.

        P-values are corrected for the number of all hypotheses of the plan; those of hypotheses
        that came later for the number of both.
        """
        asked = [v for h in self.hypotheses for v in self._together(h) if v.hypothesis == h]
        return judged(asked, self.integrity, self.planned, self._before())

    def _before(self) -> Before | None:
        """What earlier runs with the same seeds have shown; None where there can be none."""
        plan, others = self.plan, all_plans(self.study.plans.root, self.plan.experiment)
        if plan.kind != "study" or all(
            other.id >= plan.id or set(other.seeds).isdisjoint(plan.seeds) for other in others
        ):
            return None
        return Before(plan, others, self.study.runs_by_plan())

    def _together(self, hypothesis: Hypothesis) -> list[Verdict]:
        """The verdicts whose number a hypothesis is corrected for, its own among them."""
        return self._of_plan if hypothesis in self.planned else self._of_both

    @cached_property
    def _of_plan(self) -> list[Verdict]:
        return self._found(self.planned)

    @cached_property
    def _of_both(self) -> list[Verdict]:
        later = [h for h in self.hypotheses if h not in self.planned]
        return self._found([*self.planned, *later])

    def _found(self, hypotheses: Sequence[Hypothesis]) -> list[Verdict]:
        plan = self.plan
        return verdicts(hypotheses, self._cells, plan.replicates, plan.correction)

    @cached_property
    def integrity(self) -> Integrity:
        """Whether the runs are what the plan said before the first of them."""
        plan, plans = self.plan, self.study.plans
        if plan.kind != CONFIRMATION:
            return Integrity.of(plans, plan, self.replicates)
        seen = seeds_used(self.study.experiment, {plan.id, *plan.continues}, plan.id)
        gone = plans_gone(self.study.experiment, plans.root)
        deleted = runs_deleted(plans.root, plan)
        return Integrity.of(plans, plan, self.replicates, seen, gone, deleted)

    @property
    def is_complete(self) -> bool:
        """Whether every planned run has completed."""
        return len(self.replicates) - len(self.errors) >= self.plan.size

    @cached_property
    def ranking(self) -> list[tuple[str, float]]:
        """Conditions with their scores, the best first.

        By the first hypothesis with a ``ranker``, the smallest first; or else by the mean of the
        first one's metric, or without hypotheses of the first metric: of a loss, an error or a time
        the smallest first, and where its name does not tell, as the hypothesis does.
        """
        means = {name: self._means(name) for name in self._cells}
        return ranked(self.hypotheses, self.verdicts, means, _smaller_is_better)

    def _means(self, treatment: str) -> dict[str, float]:
        """The mean of each metric in a condition, infinite where one of its numbers is."""
        found = {}
        for metric in self.metric_names:
            told = [value_of(cells, metric) for cells in self._cells[treatment].values()]
            numbers = [value for value in told if value is not None and value == value]
            if numbers:
                found[metric] = sum(value / len(numbers) for value in numbers)
        return found

    @property
    def best(self) -> str:
        """The best condition of the :attr:`ranking`.

        Raises
        ------
        VersionNotFound
            If there is nothing to rank.
        """
        if not self.ranking:
            raise VersionNotFound(f"{self.title} has no runs that completed with a number.")
        return self.ranking[0][0]

    def power(self, effect: float, power: float = 0.8, hypothesis: int | str = 0) -> int:
        """How many replicates would be needed to show a hypothesis.

        By the spread that was seen and a t test, at the level that is left when it is divided by
        the number of hypotheses. Of normal values, tests of ranks need about a
        twentieth more.

        Parameters
        ----------
        effect : float
            How far the left side's mean truly is from the right one's, in the units of the metric:
            for ``<`` below it, else above it. Where there is a margin it may be 0, or negative.
        power : float
            With which probability it is to be found.
        hypothesis : int or str
            Which of the verdicts, by its place or name.

        Returns
        -------
        int
            Replicates of each condition.

        Raises
        ------
        ValueError
            If there is no spread to go by, or the hypothesis does not hold with that effect.
        """
        verdict = self._verdict(hypothesis)
        asked, sides = verdict.hypothesis, verdict.sides
        if sides is None:
            raise ValueError(f"{verdict.name!r} is a function: it has no two sides.")
        if ASYMMETRIC in verdict.reason:
            raise ValueError(f"{verdict.name!r} would stay undecided: {ASYMMETRIC}.")
        left, right = sides
        one = self._by_number(left)
        other = dict.fromkeys(one, right) if isinstance(right, float) else self._by_number(right)
        paired = asked.paired is not False or isinstance(right, float)
        given: Any = plain_number(effect)
        true = effect if given is None else given
        if isinstance(true, bool) or not isinstance(true, (int, float)):
            raise ValueError(
                f"effect must be a number, in the units of the metric, not {effect!r}."
            )
        together = self._together(asked) if self.plan.correction else [verdict]
        tested = sum(
            v.p is not None or v.sides is not None or v.supported is None for v in together
        )
        return replicates_needed(
            -true if asked.operator.startswith("<") else true,
            spread(one, other, paired, verdict.name),
            power=power,
            alpha=asked.alpha / max(1, tested),
            operator=asked.operator,
            margin=asked.margin,
            paired=paired,
            test=asked.test,
            number=right if isinstance(right, float) else None,
        )

    def _verdict(self, which: int | str) -> Verdict:
        if isinstance(which, int):
            if not -len(self.verdicts) <= which < len(self.verdicts):
                raise ValueError(f"There are {len(self.verdicts)} hypotheses, so none {which}.")
            return self.verdicts[which]
        for verdict in self.verdicts:
            if verdict.name == which:
                return verdict
        raise ValueError(
            f"No hypothesis {which!r}. {did_you_mean(which, [v.name for v in self.verdicts])}"
        )

    def has_numbers(self, metric: str) -> bool:
        """Whether any run has a finite number in a metric."""
        return any(self._numbers(name, metric) for name in self._cells)

    def _by_number(self, column: Column) -> dict[int, float]:
        """The finite values of a metric, by replicate."""
        cells = self._cells[column.condition]
        told = {n: value_of(of_one, column.metric) for n, of_one in cells.items()}
        return {n: v for n, v in told.items() if v is not None and math.isfinite(v)}

    def plot(self, metric: str | None = None) -> Chart:
        """Each condition's replicates as points, their mean, and its interval at 95 %.

        Parameters
        ----------
        metric : str, optional
            Which; by default that of the first hypothesis.

        Raises
        ------
        UnknownColumn
            If no run has a finite number of that name.
        """
        names = [name for name in self.metric_names if self.has_numbers(name)]
        if metric is not None and not isinstance(metric, str):
            raise TypeError(f"metric must be the name of one, not {metric!r}.")
        if not names:
            raise UnknownColumn("No run has completed with a finite number: nothing can be drawn.")
        metric = metric.removeprefix("result.") if metric else names[0]
        if metric not in names:
            hint = did_you_mean(metric, names)
            raise UnknownColumn(f"No run has a finite number in {metric!r}. {hint}")
        drawn = []
        for name in self._cells:
            values = self._numbers(name, metric)
            told = summary_of(values, _ALPHA)
            drawn.append(Strip(name, values, told["mean"], told["low"], told["high"]))
        text = f"Chart of {metric} of {len(drawn)} conditions"
        return Chart(strips(drawn, metric), text)

    def tree(self, levels: str = "treatment > replicate > step") -> None:
        """Print the runs as a tree.

        Parameters
        ----------
        levels : str
            What stands below what: ``treatment``, ``replicate`` and ``step``, in any order of
            the first two, fewer if that is enough.

        Raises
        ------
        ValueError
            For levels that there are not.
        """
        from digital_experiments.provenance import print_tree
        from digital_experiments.study.tree import tree

        print_tree(tree(self, levels))

    def confirm(
        self,
        hypotheses: Any,
        replicates: int,
        *,
        seed: int | None = None,
        name: str | None = None,
        **how: Any,
    ) -> Outcome:
        """Test what was found here on fresh runs, planned before the first of them.

        Parameters
        ----------
        hypotheses : str, Hypothesis, or a list of them
            What is to be confirmed.
        replicates : int
            How many of each condition that they name, with seeds that were not used here.
        seed : int, optional
            What the fresh seeds are made from; by default drawn.
        name : str, optional
            The study's name; by default this one's, with ``-confirmation``.
        **how
            As for :meth:`Study.run`.

        Returns
        -------
        Outcome
            Its :attr:`integrity` says whether it is what was planned.

        Raises
        ------
        InvalidStudy
            If a seed that is given leads to one that was used here, and all that
            :meth:`Study.validate` says.
        """
        from digital_experiments.study.confirm import confirmed

        return confirmed(self, distinct(hypotheses), replicates, seed, name, how)

    async def aconfirm(
        self,
        hypotheses: Any,
        replicates: int,
        *,
        seed: int | None = None,
        name: str | None = None,
        **how: Any,
    ) -> Outcome:
        """As :meth:`confirm`, to be awaited: other coroutines run meanwhile.

        If it is cancelled, no further run is begun; ``strategy="resume"`` goes on from there.
        """
        from digital_experiments.study.confirm import confirmed

        asked = (self, distinct(hypotheses), replicates, seed, name, how)
        return await awaited(partial(confirmed, *asked))

    def report(self, path: str | os.PathLike[str] | None = None) -> str:
        """The outcome as a text; with a path also as a page in a file.

        Parameters
        ----------
        path : path, optional
            A file to write, ``.html``, that needs nothing else.

        Returns
        -------
        str
            The text.

        Raises
        ------
        ValueError
            For a file of another kind.
        """
        from digital_experiments.study.report import page, text

        if path is not None:
            if not str(path).lower().endswith((".html", ".htm")):
                raise ValueError(f"report writes a page, so its file ends in .html, not {path!r}.")
            save(path, page(self).encode())
        return text(self)

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write the replicates, as of :meth:`to_dataframe`, to a JSON file.

        Numbers keep all their digits; NaN is null, infinities are the texts ``inf`` and ``-inf``.
        """
        import json

        rows = self.to_dataframe().to_dict("records")
        cells = [
            {k: None if v is None or v != v else for_json(v) for k, v in r.items()} for r in rows
        ]
        return save(path, json.dumps(cells, indent=2).encode())

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write the replicates, as of :meth:`to_dataframe`, to a Parquet file.

        Raises
        ------
        ModuleNotFoundError
            If pyarrow is not installed.
        ValueError
            For values that Parquet has no place for.
        """
        try:
            data: bytes = self.to_dataframe().to_parquet()
        except OverflowError as problem:
            raise ValueError(f"Parquet has no numbers of that size: {problem}.") from problem
        except ImportError as problem:
            raise ModuleNotFoundError("Parquet needs pyarrow: pip install pyarrow.") from problem
        except (TypeError, ValueError) as problem:  # those of pyarrow
            raise ValueError(
                f"A column of Parquet holds values of one kind: {problem}. to_json keeps them."
            ) from problem
        return save(path, data)

    def __iter__(self) -> Iterator[Replicate]:
        return iter(self.replicates)

    @property
    def title(self) -> str:
        """Which study and version it is of."""
        return f"study {self.plan.study!r}, version {self.version}"

    def __repr__(self) -> str:
        from digital_experiments.study.report import text

        return text(self)

    def _repr_html_(self) -> str:
        from digital_experiments.study.report import fragment

        return fragment(self)


def planned_hypotheses(plan: Plan, given: Sequence[Hypothesis]) -> list[Hypothesis]:
    """The hypotheses of a plan; functions are found among those given, or stand in as missing."""
    found = []
    for told in plan.hypotheses:
        mine = next((h for h in given if h.to_plain() == told), None)
        found.append(mine or Hypothesis.of_plain(told))
    return found


def _smaller_is_better(metric: str) -> bool | None:
    """Whether small values are good, as far as a metric's name tells."""
    told = told_direction(metric)
    return None if told is None else told == "min"
