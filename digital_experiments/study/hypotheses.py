"""What a study is to show: a text that is parsed and never evaluated, or a function."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from digital_experiments.errors import DamagedRecord, InvalidHypothesis, did_you_mean
from digital_experiments.study.statistics import INTERVALS, TESTS

BASELINE = "baseline"
ALL = "*"

Values = Mapping[str, Sequence[float]]
Verifier = Callable[[Values, Values], Mapping[str, Any]]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_METRIC = r"[\w./%@:]+(?:-[^\W\d]\w*(?![\w.]))*"
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<within>\+/?-|±)
    | (?P<compare><=|>=|==|!=|<|>|≤|≥|≠)
    | (?P<sign>[+-])(?=\s)
    | (?P<number>{_NUMBER})(?![\w.])
    | (?P<column>(?:\*|[\w-]+|"[^"]+"|'[^']+')\.(?:"[^"]+"|'[^']+'|{_METRIC}))
    )""",
    re.VERBOSE,
)
_SAME = {"≤": "<=", "≥": ">=", "≠": "!="}
_GIVEN = ("text", "test", "paired", "alpha", "interval", "verifier", "metrics", "ranker", "name")
_EXAMPLE = "'high.accuracy > baseline.accuracy'"


@dataclass(frozen=True)
class Column:
    """A metric of a condition: ``high.accuracy``; ``*`` stands for each treatment."""

    condition: str
    metric: str


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """What a study is to show, and how it is tested.

    Parameters
    ----------
    text : str
        ``"high.accuracy > baseline.accuracy"``: the mean of a metric of a condition, compared by
        ``>``, ``<``, ``>=``, ``<=`` or ``!=`` with that of another, or with a number. With a
        margin, as in ``"new.loss <= old.loss + 0.05"``: not worse by more than that.
        ``"a.latency == b.latency +- 2"``: equal within that. ``"*.accuracy > ..."``: for each
        treatment. Names that are not of letters, digits, ``_`` and ``-`` stand in quotes,
        and so does a metric in which a digit follows a ``-``.
    test : {"permutation", "welch", "mann-whitney", "fisher"}
        Which test; paired, the others are the paired t test, Wilcoxon's and McNemar's.
    paired : bool, optional
        Whether replicates with the same seed are pairs; by default they are.
    alpha : float
        The level: how often what is not so may be found to be so.
    interval : {"t", "bootstrap"}
        How the confidence interval of the difference is found.
    verifier : callable, optional
        In place of a text: given the metrics of the baseline and of a treatment, each a dict of
        lists, returns a dict. ``p_value`` in it takes part in the correction; ``significant`` is
        the verdict where there is no ``p_value``.
    metrics : str or list of str, optional
        Which metrics a verifier is given; by default all. Of a list of lists, it is called for
        each, and gives a list.
    ranker : callable, optional
        Gives a number for what a verifier returned, or for a text's verdict: the treatment with
        the smallest is best.
    name : str, optional
        What it is called; by default the text, or the name of the verifier.

    Raises
    ------
    InvalidHypothesis
        For a text that can't be read; the message points at the place.
    ValueError
        For a test, an interval or a level that there is not.

    Examples
    --------
    >>> Hypothesis("new.loss <= old.loss + 0.05").margin
    0.05
    >>> Hypothesis("high.accuracy ~ 3")
    Traceback (most recent call last):
        ...
    digital_experiments.errors.InvalidHypothesis: Expected >, <, >=, <=, == or != here:
      high.accuracy ~ 3
                    ^
    """

    text: str = ""
    test: str = "permutation"
    paired: bool | None = None
    alpha: float = 0.05
    interval: str = "t"
    verifier: Verifier | None = None
    metrics: Any = None
    ranker: Callable[[Any], float] | None = None
    name: str = ""
    left: Column | None = field(default=None, init=False)
    right: Column | float = field(default=0.0, init=False)
    operator: str = field(default="", init=False)
    margin: float = field(default=0.0, init=False)
    _plain: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        checked_choice("test", self.test, TESTS)
        checked_choice("interval", self.interval, INTERVALS)
        if not (isinstance(self.alpha, float) and 0 < self.alpha < 1):
            raise ValueError(f"alpha must be a number between 0 and 1, not {self.alpha!r}.")
        if self.paired not in (None, True, False):
            raise ValueError(f"paired must be True, False or None, not {self.paired!r}.")
        if self.ranker is not None and not callable(self.ranker):
            raise TypeError(f"ranker must be a function of a verdict, not {self.ranker!r}.")
        if (self.verifier is None) == (not self.text):
            raise InvalidHypothesis(f"A hypothesis is a text, such as {_EXAMPLE}, or a function.")
        if self.verifier is not None:
            if not callable(self.verifier):
                raise InvalidHypothesis(
                    f"verifier must be a function of two dicts, not {self.verifier!r}."
                )
            named = getattr(self.verifier, "__name__", type(self.verifier).__name__)
            object.__setattr__(self, "name", self.name or named)
            return
        object.__setattr__(self, "name", self.name or self.text)
        for key, value in _parsed(self.text).items():
            object.__setattr__(self, key, value)

    @property
    def conditions(self) -> list[str]:
        """The conditions that it names; ``*`` for each treatment."""
        sides = (self.left, self.right)
        return [side.condition for side in sides if isinstance(side, Column)]

    def check(self, conditions: Sequence[str]) -> None:
        """See that the conditions that it names are there.

        Raises
        ------
        InvalidHypothesis
            If one is not.
        """
        for name in self.conditions:
            if name != ALL and name not in conditions:
                raise InvalidHypothesis(
                    f"{self.text!r} names {name!r}, which is no condition of the study. "
                    + did_you_mean(name, conditions)
                )

    def for_each(self, treatments: Sequence[str]) -> list[tuple[str, Column, Column | float]]:
        """The comparisons that it stands for: what each is called, and its two sides."""
        assert self.left is not None
        if ALL not in self.conditions:
            return [(self.name, self.left, self.right)]
        named = [c for c in self.conditions if c != ALL]
        found = []
        for name in treatments:
            if name not in named:
                quoted = name if re.fullmatch(r"[\w-]+", name) else f'"{name}"'
                text = self.text.replace(f"{ALL}.", f"{quoted}.")
                told = text if self.name == self.text else f"{self.name}: {name}"
                found.append((told, _with(self.left, name), _with(self.right, name)))
        return found

    @property
    def is_missing(self) -> bool:
        """Whether it stands for a function that is not here."""
        return self.verifier is _absent

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Hypothesis:
        """The hypothesis that a plan tells of; a function is not in it.

        Raises
        ------
        DamagedRecord
            If it tells of none.
        """
        if "function" in plain:
            made = cls(verifier=_absent, name=str(plain["text"]))
            made._plain.update(plain)
            return made
        try:
            return cls(**plain)
        except (TypeError, ValueError) as problem:
            raise DamagedRecord(f"A plan holds what is no hypothesis: {problem}") from problem

    def to_plain(self) -> dict[str, Any]:
        """What a plan keeps of it."""
        if not self._plain:
            self._plain.update(text=self.text or self.name, name=self.name, test=self.test)
            self._plain.update(paired=self.paired, alpha=self.alpha, interval=self.interval)
            if self.verifier is not None:
                self._plain.update(function=_identity(self.verifier), metrics=self.metrics)
        return dict(self._plain)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hypothesis) and self.to_plain() == other.to_plain()

    def __hash__(self) -> int:
        return hash((self.text, self.name))


def _absent(baseline: Values, treatment: Values) -> Mapping[str, Any]:
    """Stands for a function that a plan names and that is not here."""
    raise LookupError("the function is not here")


def _identity(function: Callable[..., Any]) -> str:
    """What tells a function from others: its name, and a digest of its code."""
    from digital_experiments.fingerprint import Fingerprint

    name = getattr(function, "__qualname__", type(function).__qualname__)
    try:
        return f"{name} {Fingerprint(function).value}"
    except Exception:  # objects that the code reaches may raise anything
        return str(name)


def _with(side: Any, name: str) -> Any:
    if isinstance(side, Column) and side.condition == ALL:
        return Column(name, side.metric)
    return side


def as_hypothesis(given: Any) -> Hypothesis:
    """A hypothesis of a text, a function, a dict of its parameters, or one that is one.

    Raises
    ------
    InvalidHypothesis, TypeError, ValueError
        If it can't be one.
    """
    if isinstance(given, Hypothesis):
        return given
    if isinstance(given, str):
        return Hypothesis(given)
    if isinstance(given, Mapping):
        for key in given:
            if key not in _GIVEN:
                raise InvalidHypothesis(f"A hypothesis has no {key!r}. {did_you_mean(key, _GIVEN)}")
        return Hypothesis(**given)
    if callable(given):
        return Hypothesis(verifier=given)
    raise TypeError(f"A hypothesis is a text, such as {_EXAMPLE}, or a function, not {given!r}.")


def checked_choice(name: str, value: object, known: Sequence[str]) -> None:
    """Raise ValueError unless a value is one of those known."""
    if value not in known:
        raise ValueError(f"No {name} {value!r}. {did_you_mean(str(value), known)}")


def _parsed(text: str) -> dict[str, Any]:
    """The parts of a hypothesis."""
    parts = _Parts(text)
    left = parts.column()
    operator = parts.take("compare", "Expected >, <, >=, <=, == or != here")
    right: Column | float
    if parts.kind == "number":
        right, margin, within = float(parts.take("number", "")), 0.0, False
        if parts.kind == "within":
            parts.take("within", "")
            margin, within = float(parts.take("number", "Expected a number here")), True
    else:
        right = parts.column()
        margin, within = parts.margin()
    parts.end()
    operator = _SAME.get(operator, operator)
    if within != (operator == "=="):
        raise InvalidHypothesis(
            f"{text!r}: a test can show that two means are equal within a margin, and no other "
            "way: write it as 'a.x == b.x +- 2'."
        )
    if within and not margin > 0:
        raise InvalidHypothesis(f"{text!r}: the margin of an equivalence must be above 0.")
    if not math.isfinite(margin) or (isinstance(right, float) and not math.isfinite(right)):
        raise InvalidHypothesis(f"{text!r}: its numbers must be finite.")
    if left == right:
        raise InvalidHypothesis(f"{text!r} compares {left.condition!r} with itself.")
    if operator == "!=" and margin:
        raise InvalidHypothesis(f"{text!r}: != goes without a margin.")
    return {"left": left, "operator": operator, "right": right, "margin": margin}


class _Parts:
    """The parts of a text, one after another."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self._read()

    def _read(self) -> None:
        found = _TOKEN.match(self.text, self.place)
        self.kind = found.lastgroup if found else None
        self.value = found[found.lastgroup] if found and found.lastgroup else ""
        self._next = found.end() if found else self.place

    def take(self, kind: str, expected: str) -> str:
        if self.kind != kind:
            self.fail(expected)
        value, self.place = self.value, self._next
        self._read()
        return value

    def column(self) -> Column:
        value = self.take("column", f"Expected a condition and a metric here, as in {_EXAMPLE}")
        return Column(*map(_bare, _halves(value)))

    def margin(self) -> tuple[float, bool]:
        """What is added to the right side, and whether that goes for both directions."""
        if self.kind == "within":
            self.take("within", "")
            return float(self.take("number", "Expected a number here")), True
        if self.kind == "sign":
            sign = -1.0 if self.take("sign", "") == "-" else 1.0
            return sign * float(self.take("number", "Expected a number here")), False
        if self.kind == "number" and self.value[0] in "+-":
            return float(self.take("number", "")), False
        return 0.0, False

    def end(self) -> None:
        if self.text[self.place :].strip():
            self.fail("Expected nothing more here")

    def fail(self, expected: str) -> None:
        rest = self.text[self.place :]
        place = self.place + len(rest) - len(rest.lstrip())
        raise InvalidHypothesis(f"{expected}:\n  {self.text}\n  {' ' * place}^")


def _bare(name: str) -> str:
    """A name without the quotes that it stands in."""
    return name[1:-1] if name[0] in "\"'" else name


def _halves(column: str) -> tuple[str, str]:
    """The condition and the metric, either of which may be in quotes."""
    if column[0] in "\"'":
        end = column.index(column[0], 1) + 1
        return column[:end], column[end + 1 :]
    condition, _, metric = column.partition(".")
    return condition, metric
