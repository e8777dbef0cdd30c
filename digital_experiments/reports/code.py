"""Two texts of code beside each other. Knows texts only."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

_CONTEXT = 3

Part = tuple[bool, str]
"""A piece of a line, and whether it was changed."""


class Side(NamedTuple):
    """One line of the two texts beside each other.

    Attributes
    ----------
    left, right : list of Part, or None
        The line in the first and the second text, where there is one.
    left_number, right_number : int or None
        Its number.
    changed : bool
        Whether they differ.
    skipped : int
        How many equal lines are left out here; then there is no line.
    """

    left: list[Part] | None = None
    right: list[Part] | None = None
    left_number: int | None = None
    right_number: int | None = None
    changed: bool = False
    skipped: int = 0


def side_by_side(one: str, other: str) -> list[Side]:
    r"""The lines of two texts beside each other, with three equal ones around each change.

    >>> sides = side_by_side("a\nb", "a\nc")
    >>> [(s.left, s.right, s.changed) for s in sides]
    [([(False, 'a')], [(False, 'a')], False), ([(True, 'b')], [(True, 'c')], True)]
    """
    left, right = one.splitlines(), other.splitlines()
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    found: list[Side] = []
    end = 0
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        if group[0][1] > end:
            found.append(Side(skipped=group[0][1] - end))
        for kind, a, b, c, d in group:
            found.extend(_lines(kind, left, right, (a, b, c, d)))
        end = group[-1][2]
    if end < len(left) and found:
        found.append(Side(skipped=len(left) - end))
    return found


def _lines(
    kind: str, left: list[str], right: list[str], at: tuple[int, int, int, int]
) -> Iterator[Side]:
    a, b, c, d = at
    for n in range(max(b - a, d - c)):
        one = left[a + n] if a + n < b else None
        other = right[c + n] if c + n < d else None
        numbers = (a + n + 1 if one is not None else None, c + n + 1 if other is not None else None)
        if kind == "equal":
            yield Side([(False, one or "")], [(False, other or "")], *numbers)
        elif one is not None and other is not None:
            yield Side(*_pieces(one, other), *numbers, True)
        else:
            whole = [(True, text)] if (text := one if other is None else other) is not None else []
            yield Side(
                whole if one is not None else None, whole if one is None else None, *numbers, True
            )


def _pieces(one: str, other: str) -> tuple[list[Part], list[Part]]:
    """What differs within two lines; all of it, if they have little in common."""
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    if matcher.ratio() < 0.5:
        return [(True, one)], [(True, other)]
    left: list[Part] = []
    right: list[Part] = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if b > a:
            left.append((kind != "equal", one[a:b]))
        if d > c:
            right.append((kind != "equal", other[c:d]))
    return left, right
