"""Stores by their place: which there are, and what one holds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from digital_experiments.backends import PickleBackend
from digital_experiments.errors import DamagedRecord, NewerFormat, StoreNotFound
from digital_experiments.files import read_bytes
from digital_experiments.ids import looks_like_id
from digital_experiments.remote import Place, Root, folder_of, located
from digital_experiments.store.flight import in_flight
from digital_experiments.store.formats import check_record
from digital_experiments.store.layout import BLOBS, RUNNING, STORAGE
from digital_experiments.store.records import parse_record, split_name
from digital_experiments.stored import StoredExperiment

DEFAULT_REGISTRY = "experiments"

_LOOKED_INTO = 10  # files of a folder, to see whether it is a store


def open_experiment(
    root_or_name: Root,
    *,
    name: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> StoredExperiment:
    """What a store holds, without the function that made it.

    Parameters
    ----------
    root_or_name : path, URI or file system
        The store's folder, its place on a bucket such as ``s3://team/experiments/train``, or the
        name of an experiment in ``$DE_ROOT`` or ``./experiments``.
    name : str, optional
        The experiment in that store, where it holds several.
    storage_options : dict, optional
        What the file system of a URI is opened with.
    trust : bool
        Whether values that were pickled elsewhere may be loaded: that can run any code.

    Returns
    -------
    StoredExperiment
        With :meth:`~StoredExperiment.observations`, :meth:`~StoredExperiment.to_dataframe`,
        :meth:`~StoredExperiment.load` and all else that needs no function.

    Raises
    ------
    StoreNotFound
        If there is no such store. The message names those that there are.
    BucketUnreachable
        If the bucket does not answer, and this machine has not seen the store before.

    Examples
    --------
    >>> from digital_experiments import experiment, open_experiment
    >>> @experiment(root="runs/square")
    ... def square(x):
    ...     return x * x
    >>> [square(i) for i in range(3)]
    [0, 1, 4]
    >>> [o.result for o in open_experiment("runs/square").observations()]
    [0, 1, 4]
    """
    place = located(root_or_name, storage_options)
    if is_store(place):
        return _opened(place, name, trust)
    text = str(place.uri if isinstance(place, Place) else root_or_name)
    if name is None and os.sep not in text:
        shared = os.environ.get("DE_ROOT")
        if shared and is_store(located(shared)):
            return _opened(located(shared), text, trust)
        if shared and is_store(inside := _child(located(shared), text)):
            return _opened(inside, text, trust)
        if is_store(Path(DEFAULT_REGISTRY, text)):
            return _opened(Path(DEFAULT_REGISTRY, text), text, trust)
    raise StoreNotFound(_no_store(place, text))


def _child(place: Path | Place, name: str) -> Path | Place:
    return place.child(name) if isinstance(place, Place) else place / name


def _opened(place: Path | Place, name: str | None, trust: bool) -> StoredExperiment:
    backend = PickleBackend(folder_of(place, trust))
    return StoredExperiment(backend.trusting() if trust else backend, name)


def _no_store(place: Path | Place, text: str) -> str:
    inside = stores_in(place)
    if inside:
        return f"{text!r} is a folder of stores. Open one of them: {_listed(inside)}."
    if isinstance(place, Place):
        return f"There is no store at {text}: nothing was recorded there."
    if place.is_dir():
        return f"{text!r} is a folder, but no store: nothing was recorded in it."
    near = stores_in(Path(DEFAULT_REGISTRY))
    there = f" In ./{DEFAULT_REGISTRY} there are {_listed(near)}." if near else ""
    return (
        f"There is no store at {text!r}, and no experiment of that name in "
        f"./{DEFAULT_REGISTRY}.{there} Give the folder that the experiment's root= names."
    )


def _listed(places: Sequence[Path | Place]) -> str:
    more = f" and {len(places) - 10} more" if len(places) > 10 else ""
    return ", ".join(repr(place.name) for place in places[:10]) + more


def is_store(place: Path | Place) -> bool:
    """Whether a folder is a store: it holds a record, or what runs leave."""
    if isinstance(place, Place):
        from digital_experiments.remote import copies

        return copies.is_store(place)
    others: list[str] = []
    try:
        with os.scandir(place) as entries:
            return any(_is_of_store(entry, others) for entry in entries) or any(
                map(_is_record, others[:_LOOKED_INTO])
            )
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_of_store(entry: os.DirEntry[str], others: list[str]) -> bool:
    """Whether only a store holds what is called so; what may be a record is told in ``others``."""
    if entry.name == RUNNING:
        return bool(in_flight(os.path.dirname(entry.path)))
    if entry.name in (BLOBS, STORAGE):
        return not is_store(Path(entry.path))  # an experiment may be named so
    parts = split_name(entry.name)
    if parts is not None and not looks_like_id(parts[0]):
        others.append(entry.path)
        return False
    return parts is not None


def _is_record(path: str) -> bool:
    """Whether a file is a record whose name tells no time, and not any JSON."""
    parts = split_name(os.path.basename(path))
    assert parts is not None
    try:
        check_record(parse_record(read_bytes(path), parts[1])[0], parts[0])
    except NewerFormat:
        return True
    except (OSError, DamagedRecord):
        return False
    return True


def stores_in(place: Path | Place) -> Sequence[Path | Place]:
    """The stores that lie in a folder, sorted by name."""
    if isinstance(place, Place):
        from digital_experiments.remote.opening import stores_on_bucket

        return list(stores_on_bucket(place))
    try:
        inside = sorted(p for p in place.iterdir() if p.is_dir() and p.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [p for p in inside if is_store(p)]
