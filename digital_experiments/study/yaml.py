"""Studies as YAML files: read by the safe loader, with lines in the errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digital_experiments.errors import InvalidStudy, did_you_mean
from digital_experiments.files import save
from digital_experiments.retention import Retention
from digital_experiments.study.hypotheses import as_hypothesis
from digital_experiments.study.treatments import Treatment
from digital_experiments.targets import load_target

if TYPE_CHECKING:
    from digital_experiments.study.study import Study

_KEYS = (
    *("experiment", "name", "description", "baseline", "treatments", "replicates", "seed"),
    *("hypotheses", "executor", "workers", "correction", "retention"),
)
_BRIEF = ("replicates", "seed", "executor", "workers", "correction", "name", "description")
_HYPOTHESIS = ("text", "test", "paired", "alpha", "interval", "name")

TEMPLATE = """\
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

hypotheses:
  - new.result > baseline.result
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
    field, value, name = "lr", 0.1, experiment.rpartition(":")[2]
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
    return TEMPLATE.format(experiment=experiment, name=name, field=field, value=value)


def read(path: str | os.PathLike[str]) -> Study:
    """See :meth:`Study.from_yaml`."""
    from digital_experiments.study.study import Study

    file = Path(path)
    node = _composed(file)
    values = {key: (value, line) for key, value, line in _entries(file, node, "a study")}
    for key, (_, line) in values.items():
        if key not in _KEYS:
            raise InvalidStudy(f"{_at(file, line)}: no {key!r}. {did_you_mean(key, _KEYS)}")
    if "experiment" not in values:
        raise InvalidStudy(f"{file}: 'experiment' is missing: such as train.py:train.")
    experiment, line = values.pop("experiment")
    found = _checked(file, line, partial(_part, file, "experiment", experiment))
    study: Study = _checked(file, line, partial(Study, found))
    for key, (value, line) in values.items():
        if key == "treatments":
            value = _treatments(file, node)
        else:
            value = _checked(file, line, partial(_part, file, key, value))
        study = _checked(file, line, partial(study.with_, **{key: value}))
    return study


def _part(file: Path, key: str, value: Any) -> Any:
    """One of the parameters of a study."""
    if key == "experiment":
        return load_target(str(value), file.parent)
    if key == "hypotheses":
        return [as_hypothesis(one) for one in ([value] if isinstance(value, str) else value or ())]
    if key == "baseline" and value is not None and not isinstance(value, Mapping):
        raise InvalidStudy(f"baseline must be a mapping of config values, not {value!r}.")
    if key == "retention" and value is not None:
        return Retention(**value)
    return value


def _treatments(file: Path, node: Any) -> dict[str, Treatment]:
    """The treatments, each with the line that it stands at."""
    found = {}
    for key, value in node.value:
        if key.value == "treatments" and value.tag != "tag:yaml.org,2002:null":
            for name, config, line in _entries(file, value, "treatments"):
                found[name] = _checked(file, line, partial(Treatment, name, config or {}))
    return found


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
    if not isinstance(node, yaml.MappingNode):
        raise InvalidStudy(f"{file} is no study: it must hold 'experiment: train.py:train'.")
    return node


def _entries(file: Path, node: Any, what: str) -> list[tuple[str, Any, int]]:
    """The entries of a mapping: key, value and line."""
    import yaml

    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise InvalidStudy(f"{_at(file, line)}: {what} must be a mapping of names to values.")
    found: list[tuple[str, Any, int]] = []
    for key, value in node.value:
        here = key.start_mark.line + 1
        name = str(_constructed(file, key))
        if name in (known for known, _, _ in found):
            raise InvalidStudy(f"{_at(file, here)}: {name!r} is there twice.")
        found.append((name, _constructed(file, value), here))
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
    """The safe loader, for which ``1e-5`` is a number and ``on`` a text."""
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        pass

    bools, floats = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag not in (bools, floats)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(bools, re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
    number = r"^[-+]?(?:\d[\d_]*\.[\d_]*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.\d+(?:[eE][-+]?\d+)?"
    Loader.add_implicit_resolver(
        floats, re.compile(number + r"|\.(?:inf|Inf|INF|nan|NaN|NAN))$"), list("-+0123456789.")
    )
    return Loader


def _checked(file: Path, line: int, make: Callable[[], Any]) -> Any:
    """What a function makes; its errors say the line."""
    try:
        return make()
    except (InvalidStudy, ValueError, TypeError, LookupError, ImportError, OSError) as problem:
        raise InvalidStudy(f"{_at(file, line)}: {problem}") from problem


def _at(file: Path, line: int) -> str:
    return f"{file}, line {line}"


def write(study: Study, path: str | os.PathLike[str] | None) -> str:
    """See :meth:`Study.to_yaml`."""
    import yaml

    function = study.experiment.function
    code = getattr(function, "__code__", None)
    if code is None:
        raise InvalidStudy(f"{study.experiment.name!r} is no function of a file.")
    told: dict[str, Any] = {
        "experiment": f"{_place(code.co_filename, path)}:{function.__qualname__}"
    }
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
        text: str = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as problem:
        raise InvalidStudy(f"The study holds what YAML can't keep: {problem}.") from None
    if path is not None:
        save(path, text.encode())
    return text


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
    if asked.verifier is not None:
        raise InvalidStudy(f"Hypothesis {asked.name!r} is a function, which YAML can't keep.")
    usual = type(asked)(asked.text)
    differs = {
        key: getattr(asked, key)
        for key in _HYPOTHESIS
        if getattr(asked, key) != getattr(usual, key)
    }
    return {"text": asked.text, **differs} if differs else asked.text
