"""Studies as YAML files: read by the safe loader, with lines in the errors."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digital_experiments.errors import InvalidStudy, did_you_mean
from digital_experiments.executors import checked_name
from digital_experiments.executors.base import checked_workers
from digital_experiments.facts import direction
from digital_experiments.files import save
from digital_experiments.retention import Retention
from digital_experiments.study.hypotheses import BASELINE, Hypothesis, as_hypothesis
from digital_experiments.study.measures import measured
from digital_experiments.study.treatments import Treatment
from digital_experiments.targets import load_target

if TYPE_CHECKING:
    from digital_experiments.study.study import Study

_KEYS = (
    *("experiment", "name", "description", "baseline", "treatments", "replicates", "seed"),
    *("hypotheses", "executor", "workers", "correction", "retention"),
)
_BRIEF = ("replicates", "seed", "executor", "workers", "correction", "name", "description")
_WORD = re.compile(r"[A-Za-z_./][\w./:-]*")  # a text that needs no quotes
_HYPOTHESIS = ("text", "test", "paired", "alpha", "interval", "name")

_TEMPLATE = """\
# What is asked, how often, and what is to be shown.
experiment: {experiment}      # a file or a module, and the function in it
name: {name}
description: Is the new setting better?

baseline: {{}}                  # config values; what is left out has its default
treatments:
  new:
    {field}: {value}

replicates: 10                # of each condition, with common seeds
seed: 1234

hypotheses:                   # of fields of the result, or what was logged
  - {hypothesis}
  # - {{text: "new.loss <= baseline.loss + 0.05", test: welch, alpha: 0.01}}

executor: serial              # serial, thread, process, dask, ray, slurm
"""


def scaffold(experiment: str, folder: Path) -> str:
    """A study's file to begin with.

    Parameters
    ----------
    experiment : str
        Such as ``train.py:train``.
    folder : path
        What its file is relative to. If the experiment can be loaded from there, the treatment
        changes its first number.
    """
    field, value, name, metric = "lr", 0.1, experiment.rpartition(":")[2], "result"
    try:
        found = load_target(experiment, folder)
    except Exception:  # it may not be written yet, and its file may raise anything
        found = None
    if found is not None:
        name = found.name
        signature = found._bind.signature
        numbers = [
            parameter
            for parameter in (signature.parameters.values() if signature else ())
            if isinstance(parameter.default, (int, float))
            and not isinstance(parameter.default, bool)
            and parameter.name != "seed"
        ]
        if numbers:
            field, value = numbers[0].name, 10 * numbers[0].default or 1
        known = (measured(o) for o in found.observations(limit=1))
        metric = next((m for of_one in known for m in of_one if m != "duration"), metric)
    words = {"experiment": experiment, "name": name, "field": field}
    quoted = {
        key: text if _WORD.fullmatch(text) else json.dumps(text) for key, text in words.items()
    }
    return _TEMPLATE.format(**quoted, hypothesis=_first_hypothesis(metric), value=value)


def _first_hypothesis(metric: str) -> str:
    """That a metric is better: of a loss that it is smaller."""
    sign = "<" if direction(metric) == "min" else ">"
    text = f"new.{metric} {sign} baseline.{metric}"
    try:
        Hypothesis(text)
    except InvalidStudy:
        quoted = json.dumps(metric, ensure_ascii=False)
        return json.dumps(f"new.{quoted} {sign} baseline.{quoted}", ensure_ascii=False)
    return text


def read(path: str | os.PathLike[str]) -> Study:
    """See :meth:`Study.from_yaml`."""
    file = Path(path)
    entries = _entries(file, _composed(file), "a study")
    for key, (_, line) in entries.items():
        if key not in _KEYS:
            raise InvalidStudy(f"{_at(file, line)}: no {key!r}. {did_you_mean(key, _KEYS)}")
    if "experiment" not in entries:
        raise InvalidStudy(f"{file}: 'experiment' is missing: such as train.py:train.")
    node, line = entries.pop("experiment")
    study: Study = _checked(file, line, partial(_study_of, file, node))
    for key, (node, line) in entries.items():
        read_part = _PARTS.get(key, _constructed)
        value = _checked(file, line, partial(read_part, file, node))
        study = _checked(file, line, partial(study.with_, **{key: value}))
    _check_conditions(file, study, entries)
    return study


def _study_of(file: Path, node: Any) -> Study:
    """A study of the experiment that a file names, and no more so far."""
    from digital_experiments.study.study import Study

    named = str(_constructed(file, node))
    try:
        found = load_target(named, file.parent)
    except (LookupError, TypeError, ValueError, FileNotFoundError, ModuleNotFoundError):
        raise
    except (Exception, SystemExit) as problem:  # of the user's file
        told = f"{named} can't be loaded: {type(problem).__name__}: {problem}"
        raise InvalidStudy(told) from problem
    return Study(found)


def _check_conditions(file: Path, study: Study, entries: Mapping[str, tuple[Any, int]]) -> None:
    """See that each condition fits, and that hypotheses name conditions, at their lines."""
    node, line = entries.get("baseline", (None, 1))
    _checked(file, line, partial(study.condition, BASELINE))
    node, line = entries.get("treatments", (None, 1))
    for name, (_, there) in _entries(file, node, "treatments").items() if study.treatments else ():
        _checked(file, there, partial(study.condition, name))
    names = [BASELINE, *study.treatments]
    node, line = entries.get("hypotheses", (None, 1))
    for item in _items(node):
        hypothesis = as_hypothesis(_constructed(file, item))
        _checked(file, item.start_mark.line + 1, partial(hypothesis.check, names))


def _baseline(file: Path, node: Any) -> Any:
    value = _constructed(file, node)
    if value is not None and not isinstance(value, Mapping):
        raise InvalidStudy(f"baseline must be a mapping of config values, not {value!r}.")
    return value


def _treatments(file: Path, node: Any) -> dict[str, Treatment]:
    """The treatments, each told with the line that it stands at."""
    if _constructed(file, node) is None:
        return {}
    found = {}
    for name, (values, line) in _entries(file, node, "treatments").items():
        config = _constructed(file, values)
        made = partial(Treatment, name, {} if config is None else config)
        found[name] = _checked(file, line, made)
    return found


def _hypotheses(file: Path, node: Any) -> list[Hypothesis]:
    """The hypotheses, each told with the line that it stands at."""
    found = []
    for item in _items(node):
        value = _constructed(file, item)
        found.append(_checked(file, item.start_mark.line + 1, partial(as_hypothesis, value)))
    return found


def _items(node: Any) -> list[Any]:
    """The nodes of a list; of a single hypothesis that one."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    return [] if node is None or node.tag == "tag:yaml.org,2002:null" else [node]


def _retention(file: Path, node: Any) -> Retention | None:
    value = _constructed(file, node)
    if value is None:
        return None
    if not isinstance(value, Mapping) or not set(value) <= {"keep", "big_file_mb"}:
        raise InvalidStudy(
            f"retention must be such as {{keep: 3, big_file_mb: 10}}, not {value!r}."
        )
    return Retention(**value)


def _workers(file: Path, node: Any) -> int | None:
    value = _constructed(file, node)
    return None if value is None else checked_workers(value)


def _executor(file: Path, node: Any) -> Any:
    value = _constructed(file, node)
    return "serial" if value is None else checked_name(str(value))


def _text(file: Path, node: Any) -> Any:
    """A text, also one that looks like a number."""
    value = _constructed(file, node)
    return node.value if isinstance(value, (bool, int, float)) else value


_PARTS: dict[str, Callable[[Path, Any], Any]] = {
    "baseline": _baseline,
    "treatments": _treatments,
    "hypotheses": _hypotheses,
    "retention": _retention,
    "executor": _executor,
    "workers": _workers,
    "name": _text,
    "description": _text,
}


def _composed(file: Path) -> Any:
    """The file as nodes, which know their lines."""
    import yaml

    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), _loader())
    except UnicodeDecodeError as problem:
        raise InvalidStudy(f"{file} is no text in UTF-8: {problem}.") from None
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise InvalidStudy(f"{_at(file, line)}: {problem.problem}.") from None
    except (yaml.YAMLError, RecursionError) as problem:
        raise InvalidStudy(f"{file} is no YAML that can be read: {problem}") from None
    if not isinstance(node, yaml.MappingNode):
        raise InvalidStudy(f"{file} is no study: it must hold 'experiment: train.py:train'.")
    _refuse_twice(file, node, set())
    return node


def _refuse_twice(file: Path, node: Any, seen: set[int]) -> None:
    """Refuse a key that is in a mapping twice: of its values one would be lost."""
    import yaml

    if id(node) in seen:  # an anchor, which may hold itself
        return
    seen.add(id(node))
    parts: list[Any] = []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        parts = [value for _, value in node.value]
        names: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if (key.tag, key.value) in names:
                line = key.start_mark.line + 1
                raise InvalidStudy(f"{_at(file, line)}: {key.value!r} is there twice.")
            names.add((key.tag, key.value))
    for part in parts:
        _refuse_twice(file, part, seen)


def _entries(file: Path, node: Any, what: str) -> dict[str, tuple[Any, int]]:
    """The entries of a mapping: by their keys the nodes of the values, and the lines."""
    import yaml

    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise InvalidStudy(f"{_at(file, line)}: {what} must be a mapping of names to values.")
    found: dict[str, tuple[Any, int]] = {}
    for key, value in node.value:
        here = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise InvalidStudy(f"{_at(file, here)}: the names in {what} must be texts.")
        if key.value in found:
            raise InvalidStudy(f"{_at(file, here)}: {key.value!r} is there twice.")
        found[key.value] = value, here
    return found


def _constructed(file: Path, node: Any) -> Any:
    """The value of a node, of plain kinds only."""
    import yaml

    loader = _loader()("")
    try:
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        line = mark.line + 1 if mark is not None else node.start_mark.line + 1
        raise InvalidStudy(f"{_at(file, line)}: {problem.problem}.") from None


def _loader() -> Any:
    """The safe loader, for which ``1e-5`` is a number, and ``on``, ``1:30`` and ``010`` texts.

    ``1_000`` and ``0x10`` are numbers.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    tags = [f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float")]
    bools, whole, floats = tags
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag not in tags]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(bools, re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
    integer = re.compile(r"^[-+]?(?:0|[1-9]\d*(?:_\d+)*|0x[\da-fA-F]+(?:_[\da-fA-F]+)*)$")
    Loader.add_implicit_resolver(whole, integer, list("-+0123456789"))
    number = r"^[-+]?(?:\d[\d_]*\.[\d_]*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.\d+(?:[eE][-+]?\d+)?"
    Loader.add_implicit_resolver(
        floats, re.compile(number + r"|\.(?:inf|Inf|INF|nan|NaN|NAN))$"), list("-+0123456789.")
    )
    return Loader


def _checked(file: Path, line: int, make: Callable[[], Any]) -> Any:
    """What a function makes; its errors say the line."""
    try:
        return make()
    except (ValueError, TypeError, LookupError, ImportError, OSError) as problem:
        if isinstance(problem, InvalidStudy) and str(problem).startswith(f"{file}, line "):
            raise
        raise InvalidStudy(f"{_at(file, line)}: {problem}") from problem


def _at(file: Path, line: int) -> str:
    return f"{file}, line {line}"


def write(study: Study, path: str | os.PathLike[str] | None) -> str:
    """See :meth:`Study.to_yaml`."""
    import yaml

    function = study.experiment.function
    code = getattr(function, "__code__", None)
    name = _name_in_file(study.experiment)
    if code is None or name is None or not os.path.isfile(code.co_filename):
        raise InvalidStudy(
            f"{study.experiment.name!r} is no experiment that has a name in the file of its "
            "function, where another process finds it: YAML can't keep other options than it has "
            "there."
        )
    if study.callbacks:
        raise InvalidStudy("The study has callbacks, which YAML can't keep.")
    told: dict[str, Any] = {"experiment": f"{_place(code.co_filename, path)}:{name}"}
    usual = type(study)(study.experiment)
    for key in _BRIEF:
        if getattr(study, key) != getattr(usual, key):
            told[key] = getattr(study, key)
    if study.baseline:
        told["baseline"] = study.baseline
    if study.treatments:
        told["treatments"] = {name: _values(one) for name, one in study.treatments.items()}
    if study.hypotheses:
        told["hypotheses"] = [_hypothesis(one) for one in study.hypotheses]
    if study.retention is not None:
        told["retention"] = {
            "keep": study.retention.keep,
            "big_file_mb": study.retention.big_file_mb,
        }
    try:
        text: str = yaml.dump(told, Dumper=_dumper(), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as problem:
        what = ", ".join(str(part) for part in problem.args)
        raise InvalidStudy(f"The study holds what YAML can't keep: {what}.") from None
    if path is not None:
        save(path, text.encode())
    return text


def _name_in_file(experiment: Any) -> str | None:
    """What an experiment, or one with equal options, is called where its function is."""
    module = sys.modules.get(experiment.function.__module__)
    for name, held in vars(module).items() if module is not None else ():
        same = getattr(held, "function", None) is experiment.function
        if held is experiment or (same and getattr(held, "_options", None) == experiment._options):
            return name
    return None


def _dumper() -> Any:
    """What writes texts so that they are read as texts, and refuses what would be read anew."""
    import yaml

    class Dumper(yaml.SafeDumper):
        yaml_implicit_resolvers = _loader().yaml_implicit_resolvers

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def refuse(dumper: Any, value: Any) -> Any:
        raise yaml.YAMLError(f"a {type(value).__name__}, {value!r:.80}")

    Dumper.add_representer(tuple, refuse)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        Dumper.add_multi_representer(numpy.generic, lambda to, n: to.represent_data(n.item()))
    return Dumper


def _place(filename: str, path: str | os.PathLike[str] | None) -> str:
    """The file of the code, as the study's file may name it."""
    if path is None or not os.path.isabs(filename):
        return filename
    return os.path.relpath(filename, Path(path).absolute().parent)


def _values(treatment: Treatment) -> dict[str, Any]:
    if callable(treatment.apply):
        raise InvalidStudy(
            f"Treatment {treatment.name!r} is a function, which YAML can't keep: write its values."
        )
    return treatment.apply


def _hypothesis(asked: Any) -> Any:
    if asked.ranker is not None:
        raise InvalidStudy(f"The ranker of {asked.name!r} is a function, which YAML can't keep.")
    if asked.verifier is not None:
        raise InvalidStudy(f"Hypothesis {asked.name!r} is a function, which YAML can't keep.")
    usual = type(asked)(asked.text)
    differs = {
        key: getattr(asked, key)
        for key in _HYPOTHESIS
        if getattr(asked, key) != getattr(usual, key)
    }
    return {"text": asked.text, **differs} if differs else asked.text
