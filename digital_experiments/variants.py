"""Variants of an experiment: which runs belong to which, told by tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from digital_experiments.followed import follower_of
from digital_experiments.observation import Observation
from digital_experiments.store.flight import ids_in_flight
from digital_experiments.store.notes import add_note, read_notes
from digital_experiments.store.records import record_names

if TYPE_CHECKING:
    from digital_experiments.stored import StoredExperiment

MAIN = "main"
_MARK = "variant:"


def variants_of(run: Observation) -> list[str]:
    """The variants that a run belongs to."""
    pushed = [tag.removeprefix(_MARK) for tag in run.tags if tag.startswith(_MARK)]
    own = run.facts.get("variant")
    return pushed or [own if isinstance(own, str) else MAIN]


@contextmanager
def coming(root: str, ids: Iterable[str], variant: str) -> Iterator[None]:
    """Have runs that come into a store meanwhile belong to a variant, and to no other before.

    Those that have not come by the end do not belong to it.
    """
    wanted, tag = sorted(ids), _MARK + variant
    with _together(root):
        known = read_notes(root)
        for id in wanted:
            if id not in known or not known[id].tags.get(tag):
                add_note(root, id, tags=[tag])
    try:
        yield
    finally:
        there = {id for id, _ in record_names(root).values()}.union(ids_in_flight(root))
        for id in wanted:
            if id not in there:
                with suppress(OSError):
                    add_note(root, id, untag=[tag])


def put_into(store: StoredExperiment, ids: set[str], variant: str) -> None:
    """Have runs belong to a variant; those that were there before stay in theirs too."""
    root = str(store.root)
    with _together(root):
        for run in store.observations(status=None):
            variants = variants_of(run)
            if run.id in ids and variant not in variants:
                named = any(tag.startswith(_MARK) for tag in run.tags)
                own = [] if named else [_MARK + name for name in variants]
                add_note(root, run.id, tags=[*own, _MARK + variant])


@contextmanager
def _together(root: str) -> Iterator[None]:
    """Notes that are added meanwhile go up together, where the store is on a bucket."""
    follower = follower_of(root)
    with follower.held() if follower is not None else nullcontext():
        yield
