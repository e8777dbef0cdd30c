"""What the commands share: stores and ids as a person names them, errors, tables."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from digital_experiments.errors import (
    DigitalExperimentsError,
    DigitalExperimentsWarning,
    ObservationNotFound,
    StoreNotFound,
)
from digital_experiments.remote import Place, located
from digital_experiments.stored import StoredExperiment
from digital_experiments.stores import DEFAULT_REGISTRY, is_store, open_experiment, stores_in

if TYPE_CHECKING:
    from rich.console import Console

WRONG = 2
"""Exit code for what could not be done; 1 says that damage was found."""


class Commands(click.Group):
    """Commands whose errors and warnings are told in one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with told_in_lines():
            return super().invoke(ctx)


class Refused(click.ClickException):
    """What could not be done."""

    exit_code = WRONG


@contextmanager
def told_in_lines() -> Iterator[None]:
    """Show our errors and warnings as a shell's commands do, and texts of any characters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        plain = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, DigitalExperimentsWarning):
                click.echo(f"Warning: {message}", err=True)
            else:
                plain(message, category, *place, **more)

        warnings.simplefilter("always", DigitalExperimentsWarning)
        warnings.showwarning = show
        try:
            yield
        except BrokenPipeError:  # nobody reads on: click ends quietly
            raise
        except (DigitalExperimentsError, ValueError, OSError, ImportError) as problem:
            raise Refused(str(problem)) from problem


def home() -> Path | Place:
    """The folder, or the place, that is meant where no store is named."""
    return located(os.environ.get("DE_ROOT") or DEFAULT_REGISTRY)


def shown_place(place: Path | Place) -> str:
    """A folder, or a place, as a person names it."""
    return place.uri if isinstance(place, Place) else str(place)


def stores(named: str | None) -> list[StoredExperiment]:
    """The store that is named, all in a folder that is named, or all in the usual folder.

    Raises
    ------
    StoreNotFound
        If there is none.
    """
    place = home() if named is None else located(named)
    inside = [] if is_store(place) else stores_in(place)
    if inside:
        return [open_experiment(path) for path in inside]
    if named is None and not is_store(place):
        raise StoreNotFound(
            f"Nothing was recorded in {shown_place(place)!r} yet. Name the folder that root= "
            "names, or go to where the experiments were run."
        )
    return [open_experiment(place if named is None else named)]


def name_of(store: StoredExperiment) -> str:
    """The last part of where a store is."""
    return store.uri.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def one_store(named: str | None) -> StoredExperiment:
    """The only store that is meant."""
    found = stores(named)
    if len(found) == 1:
        return found[0]
    names = ", ".join(name_of(store) for store in found[:10])
    raise click.UsageError(f"Which store is meant? There are {names}.")


def find(id: str, named: str | None) -> tuple[StoredExperiment, str]:
    """The store and the whole id of an observation."""
    found, problems = [], []
    for store in stores(named):
        try:
            found.append((store, store.resolve(id)))
        except ObservationNotFound as problem:
            problems.append(str(problem))
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(name_of(store) for store, _ in found)
        raise ObservationNotFound(f"{id!r} is in {places}: say which by --store.")
    if len(problems) == 1:
        raise ObservationNotFound(problems[0])
    raise ObservationNotFound(f"No observation {id!r} in any of {len(problems)} stores.")


def find_all(ids: Sequence[str], named: str | None) -> dict[StoredExperiment, list[str]]:
    """The stores and the whole ids of several observations."""
    wanted: dict[Path, tuple[StoredExperiment, list[str]]] = {}
    for id in ids:
        store, whole = find(id, named)
        wanted.setdefault(store.root, (store, []))[1].append(whole)
    return dict(wanted.values())


def _complete_store(context: Any, parameter: Any, incomplete: str) -> list[str]:
    names = [place.name for place in stores_in(home())]
    return [name for name in names if name.startswith(incomplete)]


def _complete_id(context: click.Context, parameter: Any, incomplete: str) -> list[str]:
    try:
        found = [
            id
            for store in stores(context.params.get("store"))
            for id in store.to_dataframe(columns=["id"], status=None, limit=100, newest_first=True)[
                "id"
            ]
        ]
    except DigitalExperimentsError:
        return []
    return [id for id in found if id.startswith(incomplete)]


def store_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """``[STORE]``."""
    add = click.argument("store", required=False, shell_complete=_complete_store)
    return add(command)


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--store STORE``."""
    add = click.option(
        "--store", "-s", metavar="STORE", shell_complete=_complete_store,
        help="The store to look in; by default all in $DE_ROOT or ./experiments.",
    )  # fmt: skip
    return add(command)


def id_argument(**how: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``ID``."""
    return click.argument("id", shell_complete=_complete_id, **how)


def console(stderr: bool = False) -> Console:
    """Where tables are printed: as wide as the terminal, or as COLUMNS says."""
    from rich.console import Console

    if not os.environ.get("COLUMNS", "1").strip("0 "):  # some tools say that they do not know it
        del os.environ["COLUMNS"]
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return Console(stderr=stderr, highlight=False, width=wide)


def short_id(id: str) -> str:
    """The random characters of an id, which are enough to name it.

    >>> short_id("2026-11-21_10-15-00_123456_k3f9xq")
    'k3f9xq'
    """
    tail = id.rpartition("_")[2]
    return tail if len(id) == 33 and len(tail) == 6 else id


def size_text(size: int) -> str:
    """A number of bytes for people.

    >>> size_text(999), size_text(1_234_567)
    ('999 B', '1.2 MB')
    """
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size} B"
