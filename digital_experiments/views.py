"""What a value looks like, told in plain data. Never pickles, never runs more than a repr.

A view stands in a record beside every value that is not plain data, so that lists, tables
and pages can show it without loading it.
"""

from __future__ import annotations

import re
import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import PurePath
from typing import Any

PLAIN_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
"""Types that need no view, whatever their value."""

_REPR_LENGTH = 200
_TEXT_LENGTH = 1000
_ITEMS = 50
_DEPTH = 4
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def printable(text: str) -> str:
    r"""A text that every terminal, page and database takes: lone surrogates are escaped.

    >>> printable("caf\udce9")
    'caf\\udce9'
    """
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


class ValueView:
    """How a value looked when it was recorded, where the value itself is not at hand.

    Attributes
    ----------
    type : str
        The dotted name of its class.
    repr : str
        Its repr, shortened, without addresses.
    fields : dict or None
        Its fields, if it has any, as plain data.
    plain : datetime, float, str or None
        What stands for it among numbers, times and texts, if anything does.
    reason : str or None
        Why the value itself is not here; None if it was just not asked for.

    Examples
    --------
    >>> from digital_experiments.views import ValueView, view
    >>> ValueView(view(range(3)))
    range(0, 3)
    """

    def __init__(self, view: dict[str, Any], reason: str | None = None) -> None:
        self.type: str = view.get("type", "object")
        self.repr: str = view.get("repr", f"<{self.type}>")
        self.fields: dict[str, Any] | None = view.get("fields")
        self.shape: tuple[int, ...] | None = tuple(view["shape"]) if "shape" in view else None
        self.dtype: Any = view.get("dtype")
        self.plain: Any = view.get("plain")
        self.reason = reason

    def __repr__(self) -> str:
        return self.repr

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ValueView):
            return NotImplemented
        return (self.type, self.repr, self.fields) == (other.type, other.repr, other.fields)

    def __hash__(self) -> int:
        return hash((self.type, self.repr))


def has_views(value: object) -> bool:
    """Whether a view stands in place of a value, or of one in its containers."""
    if isinstance(value, dict):
        return any(map(has_views, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(has_views, value))
    return isinstance(value, ValueView)


def view(value: object) -> dict[str, Any]:
    """Describe a value: its type, its repr and, where it has them, fields, shape and dtype.

    Returns
    -------
    dict
        ``type`` and ``repr`` always; ``fields`` for dataclasses, pydantic and attrs
        models, named tuples and namespaces; ``shape`` and ``dtype`` for arrays and frames;
        ``plain`` for dates and times, spans of time (in seconds), decimals, fractions and paths.

    Examples
    --------
    >>> import argparse
    >>> view(argparse.Namespace(lr=0.1))["fields"]
    {'lr': 0.1}
    """
    described: dict[str, Any] = {"type": type_name(type(value))}
    try:
        described.update(_array_facts(value))
        described.setdefault("repr", short_repr(value))
        found = fields(value)
        if found is not None:
            described["fields"] = {key: _summary(item, 1) for key, item in found.items()}
        plain = _stand_in(value)
        if plain is not None:
            described["plain"] = plain
    except Exception as problem:  # user code: properties, __repr__, __getattr__
        described.setdefault("repr", f"<{described['type']}: {type(problem).__name__} in its repr>")
    return described


def describe_instance(value: object) -> dict[str, Any]:
    """As :func:`view`, with the attributes of an ordinary instance as its fields too."""
    described = view(value)
    attributes = getattr(value, "__dict__", None)
    if "fields" not in described and isinstance(attributes, dict):
        described["fields"] = {str(key): _summary(item, 1) for key, item in attributes.items()}
    return described


def type_name(kind: type) -> str:
    """The dotted name of a class; of a builtin just its name."""
    module, name = kind.__module__, kind.__qualname__
    return name if module == "builtins" else f"{module}.{name}"


def short_repr(value: object, length: int = _REPR_LENGTH) -> str:
    """The repr of any value, at most ``length`` characters and without addresses.

    >>> short_repr("a" * 500, 20)
    "'aaaaaaaa…aaaaaaaaa'"
    """
    try:
        text = _container_repr(value) or repr(value)
    except Exception as problem:
        text = f"<{type_name(type(value))}: {type(problem).__name__} in its repr>"
    text = _ADDRESS.sub("", text)
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[head + 1 - length :]}"


def for_json(value: Any) -> Any:
    """A value as JSON has it; NaN and infinities, which it has not, as texts.

    >>> for_json({1: (float("nan"), range(2))})
    {'1': ['nan', 'range(0, 2)']}
    """
    if isinstance(value, float) and value - value != 0:
        return repr(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, tuple, set)):
        return [for_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): for_json(item) for key, item in value.items()}
    return value if isinstance(value, (bool, int, float, str, type(None))) else short_repr(value)


def _container_repr(value: object) -> str | None:
    """The start of a large list or text: its whole repr might be gigabytes."""
    if isinstance(value, (str, bytes)) and len(value) > 10 * _REPR_LENGTH:
        return repr(value[: 5 * _REPR_LENGTH])[:-1] + repr(value[-5 * _REPR_LENGTH :])[1:]
    if isinstance(value, int) and value.bit_length() > 10_000:
        return f"<int of {value.bit_length():,} bits>"
    if type(value) in (list, tuple, set, dict) and len(value) > _ITEMS:  # type: ignore[arg-type]
        return f"<{type(value).__name__} of {len(value):,} items>"  # type: ignore[arg-type]
    return None


def _array_facts(value: object) -> dict[str, Any]:
    shape = getattr(value, "shape", None)
    if not (isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)):
        return {}
    facts: dict[str, Any] = {"shape": list(shape)}
    if hasattr(value, "dtypes") and hasattr(value, "columns"):
        facts["dtype"] = {str(name): str(kind) for name, kind in value.dtypes.items()}
        facts["repr"] = f"{type(value).__name__}({shape[0]} rows × {shape[1]} columns)"
    elif hasattr(value, "dtype"):
        facts["dtype"] = str(value.dtype)
        facts["repr"] = f"{type(value).__name__}({_shape_text(shape)}, {value.dtype})"
    return facts


def _shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def fields(value: Any) -> dict[str, Any] | None:
    """The fields of a value whose class declares some; None for any other."""
    kind = type(value)
    if hasattr(kind, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in _stored(value, kind.__dataclass_fields__)}
    if hasattr(kind, "__attrs_attrs__"):
        return {a.name: getattr(value, a.name) for a in kind.__attrs_attrs__}
    if hasattr(kind, "__pydantic_fields__") or hasattr(kind, "model_fields"):
        return dict(vars(value))
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return dict(zip(kind._fields, value, strict=False))
    argparse = sys.modules.get("argparse")
    if argparse is not None and isinstance(value, argparse.Namespace):
        return dict(vars(value))
    return None


def _stored(value: object, names: Any) -> list[str]:
    return [name for name in names if hasattr(value, name)]  # ClassVar and InitVar may not be


def _summary(value: object, depth: int) -> Any:
    """A field's value as plain data without tags: exact where small and plain, else its repr."""
    if isinstance(value, str) and type(value) is str:
        return value if len(value) <= _TEXT_LENGTH else value[:_TEXT_LENGTH] + "…"
    if type(value) in PLAIN_SCALARS:
        return short_repr(value) if isinstance(value, bytes) else _small_number(value)
    number = plain_number(value)
    plain = _stand_in(value) if number is None else number
    if plain is not None:
        return plain
    if depth < _DEPTH:
        found = dict(value) if type(value) is dict else fields(value)
        if found is not None and len(found) <= _ITEMS:
            return {_plain_key(key): _summary(item, depth + 1) for key, item in found.items()}
        if type(value) in (list, tuple) and len(value) <= _ITEMS:  # type: ignore[arg-type]
            return [_summary(item, depth + 1) for item in value]  # type: ignore[attr-defined]
    facts = _array_facts(value)
    return facts.get("repr") or short_repr(value)


def _small_number(value: object) -> object:
    return hex(value) if isinstance(value, int) and value.bit_length() > 2000 else value


def _plain_key(key: object) -> str:
    """A dict's key as text that no reader takes for a tag of a record."""
    text = key if type(key) is str else short_repr(key)
    return f"'{text}'" if text.startswith("$") else text


def plain_number(value: Any) -> bool | int | float | complex | None:
    """The Python number that a NumPy number stands for; None for anything else."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(type(value), (numpy.number, numpy.bool_)):
        return None
    number = value.item()
    return number if type(number) in (bool, int, float, complex) else None


def _stand_in(value: Any) -> datetime | float | str | None:
    """The time, the number or the text that a value is to a person, if it is one."""
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__ in ("datetime64", "timedelta64"):
        value = value.astype(f"{kind.__name__}[us]").item()
        if value is None:
            return float("nan")
    if isinstance(value, datetime):
        if value != value:  # pandas' NaT
            return float("nan")
        offset = value.utcoffset()
        zone = None if offset is None else timezone(offset)
        return datetime.combine(value.date(), value.time(), zone)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return str(value)
    named = f"{kind.__module__}.{kind.__qualname__}"
    return float(value) if named in ("decimal.Decimal", "fractions.Fraction") else None
