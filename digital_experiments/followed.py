"""Folders whose changes somebody carries on: the working copies of buckets. Knows no bucket.

A store on a bucket is worked on in a folder of this machine. Whoever keeps that folder registers
here; :mod:`digital_experiments.files` then tells of what is written, moved and removed in it, lets
it take over what is to be written, and asks for what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Follower(Protocol):
    """Who carries on what is done in a folder.

    Attributes
    ----------
    name : str
        What a person calls the folder: the URI of its bucket.
    """

    name: str

    def takes(self, path: str, data: bytes | Callable[[], bytes]) -> bool:
        """Keep what is to be written, and carry it on; False if it is to be written first."""

    def wrote(self, path: str, data: bytes) -> None:
        """A file has been written."""

    def removing(self, paths: list[str]) -> None:
        """Files, or folders with all that is in them, are about to be removed."""

    def moving(self, source: str, target: str) -> None:
        """A file, or a folder with all that is in it, is about to be moved."""

    def fetched(self, path: str) -> bool:
        """Bring a file that is missing; False if there is none."""

    def fetch_folder(self, path: str) -> None:
        """Bring all files of a folder."""

    def fetch_runs(self, ids: Iterable[str]) -> set[str]:
        """Bring all that belongs to some runs; those of which no file was here before."""

    def files_below(self, path: str) -> dict[str, int]:
        """The files below a folder, by their path from there, and the bytes of each."""

    def refresh(self) -> None:
        """Bring what others have recorded, noted or deleted since."""

    def as_it_is(self) -> AbstractContextManager[str]:
        """A folder with all that is elsewhere now, to be checked."""

    def heal(self, names: Iterable[str]) -> list[str]:
        """Mend what is damaged elsewhere by what is whole here; what that was."""

    def flush(self) -> None:
        """Carry on what could not be carried on yet."""

    def held(self, replaced: Iterable[str] = ()) -> AbstractContextManager[None]:
        """Carry on what is done meanwhile at the end, all at once; some names are replaced."""

    def trouble(self) -> str | None:
        """What went wrong and was not told yet."""

    def claims(self) -> Any:
        """Claims among all who share the bucket."""

    def sweepers(self) -> list[Any]:
        """Who resumes sweeps on the bucket."""

    def collect(self, dry_run: bool) -> Any:
        """Remove the blobs that nothing names."""


followers: dict[str, Follower] = {}
"""Who follows which folder; empty in almost every process."""


def follower_of(path: str) -> Follower | None:
    """Who carries on what is done in a folder, or with a file in it; None for one of its own."""
    for folder, follower in followers.items():
        if path.startswith(folder) and path[len(folder) :][:1] in ("", "/"):
            return follower
    return None


def shown_name(folder: str) -> str:
    """What a person calls the folder of a store: its path, or the URI of its bucket."""
    follower = follower_of(folder)
    return folder if follower is None else follower.name


def follow(folder: str, follower: Follower) -> None:
    """Carry on from now what is done in a folder."""
    followers[folder] = follower
