"""Plain data as bytes and back: pickle without classes, JSON, YAML. Knows no files.

What JSON and YAML have no words for is told by tags of one key:

============= ==============================================
``$tuple``    a list of its items
``$set``      a list of its items
``$bytes``    base64
``$datetime`` ISO 8601 (and ``fold``, where it is set)
``$int``      hexadecimal digits, for integers over 63 bits
``$float``    ``nan``, ``inf`` or ``-inf``
``$text``     a string with lone surrogates, as JSON escapes it
``$dict``     key and value pairs, where a key is no string
============= ==============================================
"""

from __future__ import annotations

import base64
import io
import json
import math
import pickle
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

from digital_experiments.errors import DamagedRecord
from digital_experiments.values import Plain

_LARGE_BITS = 63  # more than other programs' numbers have
_YAML_END = b"...\n"
_YAML_DEEP = 5000  # libyaml crashes the process where nesting is too deep; Python's raises
_PLAIN_CLASSES = {
    ("datetime", "datetime"): datetime,
    ("datetime", "timezone"): timezone,
    ("datetime", "timedelta"): timedelta,
}


class PlainUnpickler(pickle.Unpickler):
    """Reads pickles of plain data only: it imports nothing and calls no foreign code."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every global but those of a datetime."""
        try:
            return _PLAIN_CLASSES[module, name]
        except KeyError:
            raise DamagedRecord(f"it holds {module}.{name}, which is not plain data.") from None


def dump_pickle(plain: Plain) -> bytes:
    """Plain data as a pickle."""
    return pickle.dumps(plain, protocol=5)


def load_pickle(data: bytes) -> Plain:
    """Plain data from a pickle; anything but plain data in it raises DamagedRecord."""
    return PlainUnpickler(io.BytesIO(data)).load()


def dump_json(plain: Plain) -> bytes:
    """Plain data as compact, strictly valid JSON.

    orjson would turn NaN into null and refuse large integers and lone surrogates: it is given
    only what it keeps whole.
    """
    import orjson

    if _is_json(plain):
        with suppress(orjson.JSONEncodeError):
            return orjson.dumps(plain)
    return json.dumps(tagged(plain), separators=(",", ":"), allow_nan=False).encode("ascii")


def readable_json(plain: Plain) -> bytes:
    """Plain data as JSON for people to read."""
    return json.dumps(tagged(plain), indent=2, allow_nan=False).encode("ascii")


def load_json(data: bytes) -> Plain:
    """Plain data from JSON."""
    import orjson

    try:
        return untagged(orjson.loads(data))
    except orjson.JSONDecodeError:  # it holds lone surrogates or large integers, or is damaged
        return untagged(json.loads(data))


def dump_yaml(plain: Plain) -> bytes:
    """Plain data as YAML."""
    import yaml

    text = yaml.dump(
        tagged(plain, _yaml_text),
        Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
        sort_keys=False,
        width=10_000,
        explicit_end=True,
    )
    return str(text).encode("ascii")


def load_yaml(data: bytes) -> Plain:
    """Plain data from YAML, by the safe loader."""
    import yaml

    if not data.endswith(_YAML_END):
        raise DamagedRecord("it is cut short.")
    deep = data.count(b"[") + data.count(b"{") + data.count(b"- ") > _YAML_DEEP
    loader = yaml.SafeLoader if deep else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return untagged(yaml.load(data, loader))  # noqa: S506 - either is safe


def _yaml_text(text: str) -> Any:
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"$text": json.dumps(text)}
    return text


def tagged(plain: Plain, text: Callable[[str], Any] | None = None) -> Any:
    """Plain data with tags for what JSON can't say.

    >>> tagged({"sizes": (1, 2), "limit": float("inf")})
    {'sizes': {'$tuple': [1, 2]}, 'limit': {'$float': 'inf'}}
    """
    kind = type(plain)
    if kind is str:
        return text(plain) if text else plain
    if kind is int:
        return plain if plain.bit_length() <= _LARGE_BITS else {"$int": hex(plain)}
    if kind is float:
        return plain if math.isfinite(plain) else {"$float": repr(plain)}
    if kind is dict:
        if all(type(key) is str for key in plain) and (text is None or _sayable(plain, text)):
            return {key: tagged(item, text) for key, item in plain.items()}
        return {"$dict": [[tagged(k, text), tagged(v, text)] for k, v in plain.items()]}
    if kind is list:
        return [tagged(item, text) for item in plain]
    return _TAGGERS[kind](plain, text) if kind in _TAGGERS else plain


def _is_json(plain: Plain) -> bool:
    """Whether JSON says all of it as it stands: most records, told faster than tagged anew."""
    kind = type(plain)
    if kind is str or kind is bool or plain is None:
        return True
    if kind is int:
        return bool(plain.bit_length() <= _LARGE_BITS)
    if kind is float:
        return math.isfinite(plain)
    if kind is dict:
        for key, item in plain.items():
            if type(key) is not str or not (type(item) is str or _is_json(item)):
                return False
        return True
    return kind is list and all(map(_is_json, plain))


def _sayable(keys: dict[str, Any], text: Callable[[str], Any]) -> bool:
    return all(text(key) is key for key in keys)


def _tag_datetime(value: datetime, text: object) -> dict[str, Any]:
    tag: dict[str, Any] = {"$datetime": value.isoformat()}
    return {**tag, "fold": 1} if value.fold else tag


_TAGGERS: dict[type, Callable[[Any, Any], Any]] = {
    tuple: lambda value, text: {"$tuple": [tagged(item, text) for item in value]},
    set: lambda value, text: {"$set": [tagged(item, text) for item in value]},
    bytes: lambda value, text: {"$bytes": base64.b64encode(value).decode()},
    datetime: _tag_datetime,
}


def untagged(data: Any) -> Plain:
    """Plain data from what :func:`tagged` made of it; the tags of values stay."""
    kind = type(data)
    if kind is list:
        return [untagged(item) for item in data]
    if kind is not dict:
        return data
    for key in data:
        reader = _READERS.get(key)
        if reader is not None:
            return reader(data)
        break
    return {key: untagged(item) for key, item in data.items()}


def _read_dict(data: dict[str, Any]) -> Plain:
    """A dict with keys that are no strings; one that holds values' tags stays tagged."""
    pairs = [(untagged(key), untagged(item)) for key, item in data["$dict"]]
    if all(_free(key) for key, _ in pairs):
        return dict(pairs)
    return {"$dict": [list(pair) for pair in pairs]}


def _free(key: Plain) -> bool:
    if isinstance(key, tuple):
        return all(map(_free, key))
    return not isinstance(key, (dict, list)) and not (isinstance(key, str) and key[:1] == "$")


_READERS: dict[str, Callable[[dict[str, Any]], Plain]] = {
    "$tuple": lambda data: tuple([untagged(item) for item in data["$tuple"]]),
    "$set": lambda data: {untagged(item) for item in data["$set"]},
    "$bytes": lambda data: base64.b64decode(data["$bytes"]),
    "$int": lambda data: int(data["$int"], 16),
    "$float": lambda data: float(data["$float"]),
    "$text": lambda data: json.loads(data["$text"]),
    "$datetime": lambda data: datetime.fromisoformat(data["$datetime"]).replace(
        fold=data.get("fold", 0)
    ),
    "$dict": _read_dict,
}

BLOB_WRITERS: dict[str, Callable[[Plain], bytes]] = {"json": dump_json, "pkl": dump_pickle}

BLOB_READERS: dict[str, Callable[[bytes], Plain]] = {
    "txt": lambda data: data.decode(),
    "json": load_json,
    "pkl": load_pickle,
}
