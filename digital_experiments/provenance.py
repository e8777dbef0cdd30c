"""How a run came to its result, as a tree of its steps. Reads metadata; runs nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, ValuesView
from typing import TYPE_CHECKING, Any

from digital_experiments.facts import duration_text
from digital_experiments.ids import FULL_ID
from digital_experiments.views import printable, short_repr

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

_DIGITS = 8  # of a digest
_FILE = re.compile(rf"[\\/]storage[\\/]({FULL_ID.pattern})[\\/]([^'\"\n]+)")
_STYLES = {"failed": "red", "cached": "cyan", "running": "yellow"}


def tree_of(
    id: str,
    status: str,
    metadata: Mapping[str, Any],
    inputs: Mapping[str, Sequence[str]] | None = None,
) -> Tree:
    """The tree: a line for each call of a step, below the call that made it.

    A line has the step's plain inputs, of the others the step that they came from or the first
    digits of their content's digest; how it ended, how long it took; and the digest of its value.
    """
    from rich.tree import Tree

    root = Tree(text(f"{id} · {status}{_seconds(_total(metadata))}", style="bold"))
    for name, files in (inputs or {}).items():
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        root.add(text(f"{name} ← {files[0]}{more}", style="cyan"))
    branches: list[Tree] = []
    made: dict[str, str] = {}  # which step made a value, by its digest
    for call in metadata.get("steps") or ():
        within = call.get("within")
        known = isinstance(within, int) and within < len(branches)
        above = branches[within] if known else root
        branches.append(above.add(_line(call, made)))
        if call.get("output"):
            made.setdefault(call["output"], call["name"])
    for name, more in (metadata.get("more_steps") or {}).items():
        root.add(text(f"{name} · {more['count']} calls more{_seconds(more['duration'])}"))
    return root


def inputs_of(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Files of other runs that a config names: by field, ``<id>/<file>`` of each.

    >>> inputs_of({"model": "store/storage/2026-11-21_10-15-00_123456_k3f9mq/model.bin"})
    {'model': ['2026-11-21_10-15-00_123456_k3f9mq/model.bin']}
    """
    found = {name: list(dict.fromkeys(_files_in(value))) for name, value in config.items()}
    return {name: files for name, files in found.items() if files}


def _files_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = value.values()
    if isinstance(value, (list, tuple, set, ValuesView)):
        for item in value:
            yield from _files_in(item)
        return
    text = value if isinstance(value, str) else getattr(value, "repr", "")
    yield from ("/".join(parts) for parts in _FILE.findall(text if type(text) is str else ""))


def print_tree(tree: Tree) -> None:
    """Print a tree to the terminal, or show it in a notebook."""
    from rich.console import Console

    Console().print(tree)


def _total(metadata: Mapping[str, Any]) -> float | None:
    timing = metadata.get("timing") or {}
    seconds: float | None = timing.get("total", timing).get("duration")
    return seconds


def _line(call: Mapping[str, Any], made: Mapping[str, str]) -> Text:
    values = call.get("values", {})
    inputs = ", ".join(
        f"{name}={short_repr(values[name])}"
        if name in values
        else f"{name} ← {_origin(told, made)}"
        for name, told in call.get("inputs", {}).items()
    )
    line = text(f"{call['name']}({inputs})")
    status = str(call["status"])
    if status != "completed":
        line.append(f" · {status}", style=_STYLES.get(status, ""))
    line.append(_seconds(call.get("duration")), style="dim")
    if call.get("output"):
        line.append(f" → {call['output'][:_DIGITS]}", style="dim")
    if call.get("error"):
        line.append(printable(f"  {call['error']}"), style="red")
    return line


def _origin(told: str | None, made: Mapping[str, str]) -> str:
    if told is None:
        return "?"
    return made.get(told, told[:_DIGITS])


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f" · {duration_text(seconds)}"


def text(told: str, style: str = "") -> Text:
    """A text as every terminal takes it."""
    from rich.text import Text

    return Text(printable(told), style=style)
