"""What a run has logged beside its record: where each kind lies, and how it is read.

Files are found by their places alone, so a picture that a run puts into ``images`` itself is
one that it has logged. Reading runs nothing that is in them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from digital_experiments.errors import DamagedRecord, UnknownColumn, did_you_mean
from digital_experiments.files import fetch_folder
from digital_experiments.series import FILE as SERIES
from digital_experiments.series import Point, frame_of, read_points, whole_points
from digital_experiments.tables import read_table

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")

DICTS, TEXTS, TABLES, IMAGES, FIGURES = "dicts", "texts", "tables", "images", "figures"
KINDS = (DICTS, TEXTS, TABLES, IMAGES, FIGURES)
PLOTLY = ".plotly.json"
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
_ENDINGS = {
    DICTS: (".json",),
    TEXTS: (".txt",),
    TABLES: (".csv",),
    IMAGES: IMAGE_ENDINGS,
    FIGURES: (PLOTLY, ".png", ".svg"),
}


class Logged(Mapping[str, T]):
    """What was logged of one kind, by name; each is read when it is asked for."""

    def __init__(self, paths: Mapping[str, Path], read: Callable[[Path], T]) -> None:
        self._paths = paths
        self._read = read

    def __getitem__(self, name: str) -> T:
        if name not in self._paths:
            raise UnknownColumn(f"Nothing was logged as {name!r}. {did_you_mean(name, self)}")
        return self._read(self._paths[name])

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        return f"<{', '.join(self) or 'nothing'}>"


def files_of(folder: str, kind: str) -> dict[str, list[Path]]:
    """The files of each thing of one kind that lies in a run's folder, by name."""
    found: dict[str, list[Path]] = {}
    top = os.path.join(folder, kind)
    for place, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            ending = next((e for e in _ENDINGS[kind] if name.lower().endswith(e)), None)
            if ending is not None and name[0] != ".":
                path = Path(place, name)
                key = path.relative_to(top).as_posix()[: -len(ending)]
                found.setdefault(key, []).append(path)
    return found


class Images(dict[str, Path]):
    """Files of images by name; an image's ending may be said with its name."""

    def __missing__(self, name: str) -> Path:
        if image_name(name) in self:
            return self[image_name(name)]
        raise UnknownColumn(f"No image was logged as {name!r}. {did_you_mean(name, self)}")


def image_name(name: str) -> str:
    """A name without the ending of an image.

    >>> image_name("shots/first.png"), image_name("first")
    ('shots/first', 'first')
    """
    ending = next((e for e in IMAGE_ENDINGS if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)] if len(ending) < len(name) else name


def first_of(files: Mapping[str, list[Path]]) -> dict[str, Path]:
    """Of each thing the first file."""
    return {name: paths[0] for name, paths in files.items()}


def read_text(path: Path) -> str:
    """The text in a file, its ends of lines as they are."""
    return path.read_bytes().decode(errors="backslashreplace")


def read_dict(path: Path) -> dict[str, Any]:
    """The dict in a JSON file."""
    import json

    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


class RunFiles:
    """The part of an observation that reads the files its run has left."""

    __slots__ = ()
    _id: str
    _place: str | None

    @property
    def dir(self) -> Path:
        """The folder of the files that the run left; it exists only if there are any."""
        if self._place is None:
            raise DamagedRecord(f"observation {self._id} is in no store, so it has no folder.")
        return Path(self._folder())

    def _folder(self) -> str:
        """The folder, with what is in it at hand."""
        folder = f"{self._place}/{self._id}"
        fetch_folder(folder)
        return folder

    def metrics(self, key: str | None = None) -> pandas.DataFrame:
        """The points of the series that the run logged, in the order in which they came.

        Parameters
        ----------
        key : str, optional
            The name of one series; by default all.

        Returns
        -------
        pandas.DataFrame
            Columns ``step``, ``value`` (float) and ``time`` (UTC); for all series ``key`` before.

        Raises
        ------
        UnknownColumn
            If no series of that name was logged.
        """
        return frame_of(read_points(self.series_path()), key)

    def points(self) -> list[Point]:
        """The points of all series: name, step, value and time in seconds since the epoch."""
        return whole_points(read_points(self.series_path()))

    def series_path(self) -> str:
        """The file of the series; it is there if any were logged."""
        return f"{self._folder()}/{SERIES}"

    def dicts(self) -> Mapping[str, dict[str, Any]]:
        """The dicts kept by :func:`log_dict`, by name, each read when it is asked for."""
        return Logged(first_of(self._files(DICTS)), read_dict)

    def texts(self) -> Mapping[str, str]:
        """The texts kept by :func:`log_text`, by name, each read when it is asked for."""
        return Logged(first_of(self._files(TEXTS)), read_text)

    def tables(self) -> Mapping[str, pandas.DataFrame]:
        """The tables kept by :func:`log_table`, by name, each read when it is asked for."""
        return Logged(first_of(self._files(TABLES)), read_table)

    def images(self) -> dict[str, Path]:
        """The files of the images kept by :func:`log_image`, by name."""
        return Images(first_of(self._files(IMAGES)))

    def figures(self) -> dict[str, list[Path]]:
        """The files of each figure kept by :func:`log_figure`, by name."""
        return self._files(FIGURES)

    def _files(self, kind: str) -> dict[str, list[Path]]:
        return {} if self._place is None else files_of(str(self.dir), kind)

    def artefacts(self) -> list[Path]:
        """What the run left in its folder: files and folders, sorted by name."""
        there = self._place is not None and os.path.isdir(self.dir)
        return sorted(self.dir.iterdir()) if there else []

    artifacts = artefacts
