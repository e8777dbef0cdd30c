"""Listings of a folder as texts, a name a line, and how two of them differ."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import NamedTuple


class Changes(NamedTuple):
    """How a listing differs from the one before."""

    added: set[str]
    gone: set[str]


def difference(known: bytes, listing: bytes, later: Collection[str] = ()) -> Changes:
    """The lines of a listing that are new, and those that are gone, in little time if few are.

    ``later`` are known lines beside those in ``known``.
    """
    added, gone = _unlike(known, listing)
    missing = set(later) - added
    if missing:
        missing -= lines_of(listing)
    return Changes(added.difference(later), gone | missing)


def _unlike(known: bytes, listing: bytes) -> tuple[set[str], set[str]]:
    """The lines that only the one text has, and only the other."""
    if known == listing:
        return set(), set()
    if not known:
        return lines_of(listing), set()
    m, n = len(known), len(listing)
    most = min(m, n)
    same = _agreed(most, lambda a, b: known[a:b] == listing[a:b])
    start = known.rfind(b"\n", 0, same) + 1
    same = _agreed(most - start, lambda a, b: known[m - b : m - a] == listing[n - b : n - a])
    newline = known.find(b"\n", m - same)
    end = 0 if newline < 0 else m - newline - 1
    before, after = lines_of(known[start : m - end]), lines_of(listing[start : n - end])
    return after - before, before - after


def lines_of(listing: bytes) -> set[str]:
    """The lines of a listing."""
    lines = set(os.fsdecode(listing).split("\n"))
    lines.discard("")
    return lines


def _agreed(most: int, agree: Callable[[int, int], bool]) -> int:
    """How far two texts agree: ``agree(a, b)`` tells it of their parts from a to b."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if agree(least, middle):
            least = middle
        else:
            most = middle - 1
    return least
