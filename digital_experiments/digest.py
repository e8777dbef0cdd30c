"""A digest of any value's content: equal values, equal digests, in every process.

``1``, ``True`` and ``1.0`` are three values; the order of a dict or a set is none.
Objects are digested as pickle would take them apart, arrays and frames by their data.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from digital_experiments.views import type_name


class Indigestible(TypeError):
    """A value whose content can't be told: a lock, an open file, a generator."""


CodeDigest = Callable[[FunctionType], str]


def digest(value: object, code_digest: CodeDigest | None = None) -> str:
    """The digest of a value's content, 32 hexadecimal digits.

    Parameters
    ----------
    value
        Anything.
    code_digest
        What tells functions apart; without it they are compared by their names.

    Raises
    ------
    Indigestible
        If the value has no content that could be compared.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    >>> len({digest(1), digest(True), digest(1.0)})
    3
    """
    return short_hash(canonical(value, code_digest))


def canonical(value: object, code_digest: CodeDigest | None = None) -> bytes:
    """Bytes that are equal where values are; large parts are hashed in them."""
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value)
    try:
        return _Walk(code_digest or function_name).canonical(value)
    except RecursionError:
        raise Indigestible(f"a {type_name(type(value))} is nested too deeply to compare") from None


def function_name(function: FunctionType) -> str:
    """The dotted name of a function."""
    return f"{function.__module__}.{function.__qualname__}"


def short_hash(data: bytes | memoryview) -> str:
    """A hash for telling contents apart, 32 hexadecimal digits."""
    from hashlib import blake2b

    return blake2b(data, digest_size=16).hexdigest()


def _sized(tag: bytes, data: bytes) -> bytes:
    return b"%s%d:%s" % (tag, len(data), data)


def _text(value: str) -> bytes:
    return _sized(b"s", value.encode("utf-8", "surrogatepass"))


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"n",
    bool: lambda value: b"T" if value else b"F",
    int: lambda value: b"i%x;" % value,
    float: lambda value: _sized(b"f", value.hex().encode()),
    complex: lambda value: _sized(b"c", repr(value).encode()),
    str: _text,
    bytes: lambda value: _sized(b"b", value),
    **dict.fromkeys(
        (date, datetime, time, timedelta, range),
        lambda value: _sized(b"o", repr(value).encode()),
    ),
}


class _Walk:
    """One walk over one value, which may hold itself."""

    def __init__(self, code_digest: CodeDigest) -> None:
        self.code_digest = code_digest
        self.path: dict[int, int] = {}

    def canonical(self, value: Any) -> bytes:
        kind = type(value)
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return scalar(value)
        if id(value) in self.path:
            return b"^%d;" % self.path[id(value)]
        self.path[id(value)] = len(self.path)
        try:
            return self.container(kind, value)
        finally:
            del self.path[id(value)]

    def container(self, kind: type, value: Any) -> bytes:
        if kind is list or kind is tuple:
            return self.items(b"l" if kind is list else b"t", value)
        if kind is set or kind is frozenset:
            return _joined(b"S" if kind is set else b"Z", sorted(map(self.canonical, value)))
        if kind is dict:
            pairs = ((self.canonical(k), self.canonical(v)) for k, v in value.items())
            return _joined(b"d", [key + item for key, item in sorted(pairs)])
        return self.array(value) or self.code(value) or self.reduced(value)

    def items(self, tag: bytes, values: Iterable[object]) -> bytes:
        return _joined(tag, [self.canonical(value) for value in values])

    def array(self, value: Any) -> bytes | None:
        """NumPy arrays and scalars, pandas frames, series and indexes, by their data."""
        numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
        if numpy is not None and type(value) is numpy.ndarray:
            return self.ndarray(value)
        if numpy is not None and isinstance(value, numpy.generic):
            return self.items(b"g", [str(value.dtype), repr(value)])
        if pandas is None or not isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index)):
            return None
        if isinstance(value, pandas.DataFrame):
            columns = [value.iloc[:, place] for place in range(value.shape[1])]
            parts = [value.columns, value.index, *(c.array for c in columns)]
        elif isinstance(value, pandas.Series):
            parts = [value.name, value.index, value.array]
        else:
            parts = [list(value.names), value.array]
        return self.items(_text(type_name(type(value))), map(self.column, parts))

    def column(self, part: Any) -> Any:
        """A pandas array as what it holds: its dtype, and a NumPy array or a list."""
        if not hasattr(part, "dtype") or hasattr(part, "names"):
            return part
        if hasattr(part.dtype, "categories"):
            return ("category", part.dtype.ordered, part.dtype.categories, part.codes)
        return (str(part.dtype), part.to_numpy() if hasattr(part, "to_numpy") else part)

    def ndarray(self, value: Any) -> bytes:
        facts = [value.dtype.descr if value.dtype.fields else value.dtype.str, list(value.shape)]
        if value.dtype.hasobject:
            return self.items(b"a", [*facts, value.tolist()])
        flat = value if value.flags.c_contiguous else value.copy(order="C")
        return self.items(b"a", [*facts, short_hash(memoryview(flat.reshape(-1).view("u1")))])

    def code(self, value: Any) -> bytes | None:
        """Functions by their code and all that it reaches, classes and modules by name."""
        if isinstance(value, FunctionType):
            return _sized(b"F", self.code_digest(value).encode())
        if isinstance(value, type):
            return _sized(b"C", type_name(value).encode())
        if isinstance(value, ModuleType):
            return _sized(b"M", value.__name__.encode())
        if isinstance(value, MethodType):
            return self.items(b"m", [value.__func__, value.__self__])
        if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType):
            return _sized(b"B", f"{value.__module__}.{value.__qualname__}".encode())
        return None

    def reduced(self, value: Any) -> bytes:
        """Any other object, as pickle would take it apart."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as problem:  # a class's own code
            raise Indigestible(
                f"a {type_name(type(value))} can't be compared: {problem}"
            ) from problem
        if isinstance(reduced, str):
            return _sized(b"G", f"{type_name(type(value))}.{reduced}".encode())
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        parts = [make, arguments, state, list(items or ()), dict(pairs or ())]
        return self.items(_text(type_name(type(value))), parts)


def _joined(tag: bytes, parts: list[bytes]) -> bytes:
    data = b"".join(parts)
    if len(data) > 4096:
        return b"%s#%s" % (tag, short_hash(data).encode())
    return _sized(b"%s%d," % (tag, len(parts)), data)
