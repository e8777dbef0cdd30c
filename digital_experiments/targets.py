"""Experiments named from outside of Python: ``train.py:train``, ``package.module:train``."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from digital_experiments.errors import did_you_mean
from digital_experiments.experiment import Experiment


def load_target(text: str, folder: str | os.PathLike[str] = ".") -> Experiment[..., Any]:
    """The experiment that a text names. Runs the file that it is in, as an import does.

    Parameters
    ----------
    text : str
        A file or a module, a colon, and the name of the experiment there.
    folder : path
        What a file's path is relative to.

    Raises
    ------
    ValueError
        If the text is no such name.
    FileNotFoundError, ImportError
        If there is no such file or module.
    LookupError, TypeError
        If it holds no experiment of that name.
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        raise ValueError(f"An experiment is named as in 'train.py:train', not {text!r}.")
    module = _file(Path(folder, place)) if place.endswith(".py") else _module(place, folder)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [n for n, value in vars(module).items() if isinstance(value, Experiment)]
            raise LookupError(f"{place} holds no {name!r}. {did_you_mean(name, known)}")
        found = getattr(found, part)
    if not isinstance(found, Experiment):
        raise TypeError(f"{text} is no experiment: decorate it with @experiment.")
    return found


def _file(path: Path) -> ModuleType:
    """The module in a file, under the name that an import of it would have."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    name, place = path.stem, os.path.abspath(path)
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == place:
        return known
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = os.path.dirname(place)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # what the file imports lies beside it
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module(name: str, folder: str | os.PathLike[str]) -> ModuleType:
    place = os.path.abspath(folder)
    if place not in sys.path:
        sys.path.insert(0, place)
    return importlib.import_module(name)
