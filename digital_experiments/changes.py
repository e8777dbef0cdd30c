"""What code changes by itself: that is its state, and does not tell it from other code."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, TypeGuard

from digital_experiments.source import find_source

_MUTATORS = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert"),
    *("pop", "popitem", "popleft", "put", "remove", "reverse", "setdefault", "sort", "update"),
    "write",
}
_SETS = (ast.Store, ast.Del)


def changed_names(node: ast.AST) -> set[str]:
    """Names whose items or attributes a function sets or deletes: ``memo[key] = ...``."""
    return {
        part.value.id
        for part in ast.walk(node)
        if isinstance(part, (ast.Subscript, ast.Attribute))
        and isinstance(part.ctx, _SETS)
        and isinstance(part.value, ast.Name)
    }


def mutates(chain: tuple[str, ...], namespace: dict[str, Any]) -> bool:
    """Whether ``memo.append`` is among the names; ``module.append`` is a function like others."""
    if chain[-1] not in _MUTATORS:
        return False
    return len(chain) > 2 or not isinstance(namespace.get(chain[0]), ModuleType)


def changed_attributes(kind: type, method: str) -> set[str]:
    """The attributes of its object that a method sets or adds to, or another that it calls there.

    Parameters
    ----------
    kind : type
        The class of the object.
    method : str
        The name of the method.
    """
    found: set[str] = set()
    seen: set[str] = set()
    names = [method]
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        held = inspect.getattr_static(kind, name, None)
        if isinstance(held, functools.cached_property):
            found.add(name)
        function = _function_of(held)
        source = None if function is None else find_source(function)
        if function is None or source is None or not function.__code__.co_argcount:
            continue
        for attribute, changes in _own_attributes(source.node, function.__code__.co_varnames[0]):
            (found.add if changes else names.append)(attribute)
    return found


def _function_of(held: object) -> FunctionType | None:
    """What is run where an attribute of a class is called or read."""
    if isinstance(held, property):
        held = held.fget
    elif isinstance(held, functools.cached_property):
        held = held.func
    return held if isinstance(held, FunctionType) else None


def _own_attributes(node: ast.AST, me: str) -> Iterator[tuple[str, bool]]:
    """The attributes of its object that a method names, and whether it changes them there."""
    for part in ast.walk(node):
        if _is_own(part, me):
            yield part.attr, isinstance(part.ctx, _SETS)
        elif isinstance(part, ast.Subscript) and _is_own(part.value, me):
            yield part.value.attr, isinstance(part.ctx, _SETS)
        elif isinstance(part, ast.Attribute) and _is_own(part.value, me):
            yield part.value.attr, part.attr in _MUTATORS


def _is_own(node: ast.AST, me: str) -> TypeGuard[ast.Attribute]:
    """Whether it is an attribute of the object that a method belongs to."""
    return (
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == me
    )
