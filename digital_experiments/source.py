"""The source text and syntax tree of a function that is loaded. Runs none of it.

A file may have been edited since it was imported. So its text is believed only where it
compiles to the very code that is loaded, or has not changed since this process began.
"""

from __future__ import annotations

import ast
import contextlib
import linecache
import os
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

_STARTED = time.time()
_TRIES = 5
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Source:
    """Where a function stands in the text that it was made from."""

    text: str
    node: _Function


_remembered: dict[str, str] = {}


def remember(filename: str, namespace: dict[str, object]) -> None:
    """Read a file's text now, while it is likely still the one that was imported."""
    if filename not in _remembered:
        _remembered[filename] = module_text(filename, namespace)


def known_text(filename: str) -> tuple[str, str]:
    """A file's name and its text as it was first seen, for a process that can't see the file."""
    return filename, _remembered.get(filename, "")


def take_text(filename: str, text: str) -> None:
    """Believe another process about the text that a file had when it was imported there."""
    _remembered.setdefault(filename, text)


def find_source(function: FunctionType) -> Source | None:
    """The text of a function and its syntax tree, or None where they can't be trusted.

    Files, notebook cells and ``python -c`` are looked into; what ``exec`` made of a string
    has no source.
    """
    code = function.__code__
    remember(code.co_filename, function.__globals__)
    for text in _texts(code.co_filename, function.__globals__):
        parsed = _parse(text, code.co_filename)
        for compiled in parsed.codes.get(code.co_qualname, ()) if parsed else ():
            if _same_code(compiled, code):
                return _locate(parsed, compiled)
    parsed = _parse(_remembered[code.co_filename], code.co_filename)
    unchanged = _modified(code.co_filename) < _STARTED
    return _locate(parsed, code) if unchanged else None  # an import hook may have rewritten it


def _texts(filename: str, namespace: dict[str, object]) -> Iterator[str]:
    """The text as it was first seen, then as it is now: the module may have been reloaded."""
    yield _remembered[filename]
    linecache.checkcache(filename)
    now = module_text(filename, namespace)
    if now != _remembered[filename]:
        yield now


def module_text(filename: str, namespace: dict[str, object] | None = None) -> str:
    """The text of a file, a notebook cell or the command line; empty if there is none."""
    lines = linecache.getlines(filename, namespace)
    if not lines and filename == "<string>":
        return _command_line_text()
    if not lines and filename.startswith("<timed "):
        return _cell_text(namespace or {})
    return "".join(lines)


def _cell_text(namespace: dict[str, object]) -> str:
    """The cell that a notebook runs under ``%%time``, which keeps no file of it."""
    shell: Any = namespace.get("get_ipython", lambda: None)
    with contextlib.suppress(AttributeError, IndexError, TypeError):
        cell: str = shell().history_manager.input_hist_raw[-1]
        magic, _, rest = cell.partition("\n")
        return rest if magic.startswith("%%") else cell
    return ""


def _command_line_text() -> str:
    with contextlib.suppress(ValueError, IndexError):
        return sys.orig_argv[sys.orig_argv.index("-c") + 1]
    return ""


@dataclass(frozen=True)
class _Parsed:
    """A text, its functions by name and first line, and its code objects by qualified name."""

    lines: list[str]
    functions: dict[tuple[str, int], list[_Function]]
    codes: dict[str, list[CodeType]]


def tree_of(text: str) -> ast.Module:
    """The syntax tree of a text.

    Raises
    ------
    SyntaxError, ValueError, RecursionError
        If it is no Python.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(SystemError):  # Python 3.11 counts what threads parse as one
            return ast.parse(text)
    return ast.parse(text)


@lru_cache(maxsize=256)
def _parse(text: str, filename: str) -> _Parsed | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = tree_of(text)
            module = compile(text, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)
    except (SyntaxError, ValueError, RecursionError):
        return None
    codes: dict[str, list[CodeType]] = {}
    for code in _nested(module):
        codes.setdefault(code.co_qualname, []).append(code)
    functions: dict[tuple[str, int], list[_Function]] = {}
    for node in ast.walk(tree):
        if isinstance(node, _Function):
            functions.setdefault(_beginning(node), []).append(node)
    return _Parsed(text.splitlines(keepends=True), functions, codes)


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)


def _same_code(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects do the same, wherever they stand."""
    if (one.co_code, one.co_names, one.co_varnames, one.co_freevars) != (
        other.co_code,
        other.co_names,
        other.co_varnames,
        other.co_freevars,
    ):
        return False
    pairs = list(zip(one.co_consts, other.co_consts, strict=False))
    return len(one.co_consts) == len(other.co_consts) and all(
        _same_constant(a, b) for a, b in pairs
    )


def _same_constant(one: object, other: object) -> bool:
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return _same_code(one, other)
    return type(one) is type(other) and repr(one) == repr(other)


def _modified(filename: str) -> float:
    try:
        return os.stat(filename).st_mtime
    except OSError:
        return float("inf")


def _locate(parsed: _Parsed | None, code: CodeType) -> Source | None:
    if parsed is None:
        return None
    nodes = parsed.functions.get((code.co_name, code.co_firstlineno), [])
    if len(nodes) > 1:  # lambdas that share a line: the innermost that holds all of the code
        nodes = [node for node in nodes if _holds(node, code)]
    if not nodes:
        return None
    node = nodes[-1]
    first = code.co_firstlineno - 1
    text = textwrap.dedent("".join(parsed.lines[first : node.end_lineno]))
    return Source(text, node)


def _beginning(node: _Function) -> tuple[str, int]:
    """The name and the first line that the code of a function has."""
    if isinstance(node, ast.Lambda):
        return "<lambda>", node.lineno
    return node.name, min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _holds(node: ast.AST, code: CodeType) -> bool:
    inside: Any = getattr(node, "body", node)
    if isinstance(inside, list):
        return True
    begin = (inside.lineno, inside.col_offset)
    end = (inside.end_lineno, inside.end_col_offset)
    places: list[Any] = [p for p in code.co_positions() if None not in p and p[2:] != (0, 0)]
    return all(begin <= (p[0], p[2]) and (p[1], p[3]) <= end for p in places)
