"""A run that another system recorded, as one of our observations. Knows no other system."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from digital_experiments.backends import PickleBackend
from digital_experiments.errors import InvalidName
from digital_experiments.files import write_atomic
from digital_experiments.ids import check_name, check_path, id_at, utc_text
from digital_experiments.observation import Observation
from digital_experiments.series import FILE, Point, lines_of, summary_of
from digital_experiments.store.layout import storage_folder

_UNFIT = re.compile(r"[/\\\x00-\x1f]|^\.+|\.\.+")


class NotBrought(ValueError):
    """Why a run of another system can't be brought over."""


@dataclass
class Arrival:
    """A run of another system.

    Attributes
    ----------
    source, key : str
        The system, and what tells the run from all others there.
    experiment : str
        The experiment it belonged to.
    start, end : float
        Seconds since the epoch.
    status : str
        One of ours.
    config : dict
        Its parameters.
    points : list of Point
        Its series.
    files : list of (str, Path or bytes)
        What it left: names below the run's folder, and files, folders or contents.
    metadata : dict
        Whatever else is to be kept.
    tags : list of str
        Tags.
    """

    source: str
    key: str
    experiment: str
    start: float
    end: float
    status: str = "completed"
    config: dict[str, Any] = field(default_factory=dict)
    points: Sequence[Point] = ()
    files: list[tuple[str, Path | bytes]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)


Reader = tuple[str, Callable[[], Arrival]]
"""What a run is called there, and what reads it."""


def keep(arrival: Arrival, registry: Path) -> tuple[Path, str, bool]:
    """Record a run in the store of its experiment, below a folder of stores.

    Returns
    -------
    tuple of (Path, str, bool)
        The store, the id, and whether it is new there. A run always gets the same id.
    """
    root = registry / fit_name(arrival.experiment)
    id = id_at(arrival.start, f"{arrival.source} {arrival.key}")
    backend = PickleBackend(root)
    if id in backend.all_ids():
        return root, id, False
    folder = Path(storage_folder(str(root), id))
    for name, content in arrival.files:
        _put(folder, fit_path(name), content)
    if arrival.points:
        write_atomic(str(folder), FILE, lines_of(list(arrival.points)))
    metadata: dict[str, Any] = {
        "experiment": root.name,
        "status": arrival.status,
        "timing": {
            "start": utc_text(arrival.start),
            "end": utc_text(arrival.end),
            "duration": arrival.end - arrival.start,
        },
        **({"tags": arrival.tags} if arrival.tags else {}),
        **({"metrics": summary_of(arrival.points)} if arrival.points else {}),
        **arrival.metadata,
        "imported": {"from": arrival.source, "run": arrival.key},
    }
    backend.record(Observation(id, arrival.config, None, metadata))
    return root, id, True


def _put(folder: Path, name: str, content: Path | bytes) -> None:
    target = folder / name
    if isinstance(content, bytes):
        write_atomic(str(target.parent), target.name, content)
    elif content.is_dir():
        shutil.copytree(content, target, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(content, partial)
        os.replace(partial, target)


def fit_name(name: str) -> str:
    """A name that can be that of a folder.

    >>> fit_name("team/fit"), fit_name("fit")
    ('team_fit', 'fit')
    """
    try:
        return check_name(name, "the name of an experiment")
    except InvalidName:
        return _UNFIT.sub("_", name)[:60] or "unnamed"


def fit_path(name: str) -> str:
    """A path that stays in its folder: each part that could leave it is made one that can't."""
    try:
        return check_path(name, "the name of a file")
    except InvalidName:
        return "/".join(fit_name(part) for part in name.split("/") if part) or "unnamed"


def plain_value(text: Any) -> Any:
    """A value that was kept as text.

    Only what is written as Python would write it is a number: ``007`` and ``1234e5`` may be ids.

    >>> [plain_value(t) for t in ("3", "0.5", "True", "None", "adam", "1e-05", "nan", "007")]
    [3, 0.5, True, None, 'adam', 1e-05, 'nan', '007']
    """
    if not isinstance(text, str):
        return text
    constants = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    for kind in (int, float):
        with suppress(ValueError):
            number = kind(text)
            if repr(number) == text and number - number == 0:
                return number
    return text
