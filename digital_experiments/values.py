"""Values to plain data and back. Knows records' tags; never files, stores or formats.

A record is plain data: None, bool, int, float, str, bytes, list, tuple, dict, set and
datetime. What else a config or a result holds stands in it as a dict with one tag:

========== =====================================================================
``$pickle``  bytes by cloudpickle, with a ``view`` of the value
``$blob``    the name of a blob that holds the value, with a ``view`` of it
``$view``    only a view: the value could not be pickled (``reason`` says why)
``$dict``    key and value pairs of a dict that could be taken for a tag itself,
             or whose keys are not plain
========== =====================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any, Protocol

from digital_experiments.errors import DamagedRecord, UntrustedValue, ValueUnavailable
from digital_experiments.views import (
    PLAIN_SCALARS,
    ValueView,
    describe_instance,
    plain_number,
    view,
)

Plain = Any
"""Plain data, tags included."""

BLOB_SIZE = 64 * 1024
"""Bytes from which on a value becomes a blob."""

_PICKLE = ".cloudpickle"
_NODES = 5_000_000
"""Items in nested containers beyond which a value is pickled rather than walked."""


UNTRUSTED = "it was pickled elsewhere: trust=True loads it"
"""Why a value is not loaded that came from elsewhere."""


class BlobReader(Protocol):
    """Whoever can turn the name of a blob into the plain data or the bytes it holds."""

    def read(self, name: str) -> Plain | bytes:
        """The content of a blob."""

    def trusts(self, id: str) -> bool:
        """Whether the pickles of an observation may be loaded."""


class Values(Protocol):
    """Whoever can do that for one observation."""

    def read(self, name: str) -> Plain | bytes:
        """The content of a blob."""

    @property
    def trusted(self) -> bool:
        """Whether its pickles may be loaded: that can run any code."""


class ValuesOf:
    """The values of one observation.

    Parameters
    ----------
    blobs : BlobReader
        Who reads what is not in its record.
    id : str
        The observation.
    """

    __slots__ = ("_blobs", "_id")

    def __init__(self, blobs: BlobReader, id: str) -> None:
        self._blobs = blobs
        self._id = id

    def read(self, name: str) -> Plain | bytes:
        """The content of a blob."""
        return self._blobs.read(name)

    @property
    def trusted(self) -> bool:
        """Whether its pickles may be loaded."""
        return self._blobs.trusts(self._id)


class NoBlobs:
    """The reader of values that were never in a store."""

    trusted = True

    def trusts(self, id: str) -> bool:
        """They were made here."""
        return True

    def read(self, name: str) -> Plain:
        """Refuse."""
        raise DamagedRecord(f"blob {name!r} is not at hand: this observation is in no store.")


def encode(value: object, lost: list[str] | None = None) -> Plain:
    """Turn any value into plain data that shares nothing mutable with it.

    Parameters
    ----------
    value
        Anything.
    lost
        A list that gets one line for each value in it that could not be pickled.

    Examples
    --------
    >>> encode({"lr": 0.1, "sizes": (1, 2)})
    {'lr': 0.1, 'sizes': (1, 2)}
    >>> sorted(encode(range(3)))
    ['$pickle', 'view']
    """
    if type(value) in PLAIN_SCALARS:
        return value
    if type(value) is dict and _is_simple(value):
        return value.copy()
    try:
        return _Encoder(lost).encode(value)
    except (RecursionError, _TooLargeError):  # it holds itself, or is nested or shared too deeply
        return _opaque(value, lost)


def _is_simple(value: dict[Any, Any]) -> bool:
    """Whether a dict holds plain values under texts that can't be taken for tags, as most do."""
    for key, item in value.items():
        if type(key) is not str or "$" in key or type(item) not in PLAIN_SCALARS:
            return False
    return True


def described(value: object) -> Plain:
    """Only the view of a value, for what is not to be kept itself: a method's instance."""
    return {"$view": describe_instance(value), "reason": "only described, not kept"}


class _TooLargeError(Exception):
    """More items than are worth a walk; pickle does better."""


class _Encoder:
    """One walk over one value."""

    def __init__(self, lost: list[str] | None) -> None:
        self.lost = lost
        self.nodes = 0

    def encode(self, value: Any) -> Plain:
        kind = type(value)
        if kind in PLAIN_SCALARS:
            return value
        method = _CONTAINERS.get(kind)
        if method is not None:
            self.nodes += len(value)
            if self.nodes > _NODES:
                raise _TooLargeError
            return method(self, value)
        if kind is datetime and (value.tzinfo is None or _is_offset(value.tzinfo)):
            return value
        number = plain_number(value)
        if number is not None and type(number) in PLAIN_SCALARS:
            return number
        return _opaque(value if number is None else number, self.lost)

    def list(self, value: list[Any]) -> Plain:
        return list(value) if _all_scalars(value) else [self.encode(v) for v in value]

    def tuple(self, value: tuple[Any, ...]) -> Plain:
        return value if _all_scalars(value) else tuple([self.encode(v) for v in value])

    def set(self, value: set[Any]) -> Plain:
        return set(value) if all(map(_plain_key, value)) else _opaque(value, self.lost)

    def dict(self, value: dict[Any, Any]) -> Plain:
        encode = self.encode
        if _are_free(value):
            return {k: v if type(v) in PLAIN_SCALARS else encode(v) for k, v in value.items()}
        return {"$dict": [[encode(k), encode(v)] for k, v in value.items()]}


def _is_offset(zone: Any) -> bool:
    """Whether a time zone is an offset from UTC and nothing more: ISO 8601 says no name."""
    return type(zone) is timezone and len(zone.__getinitargs__()) == 1  # type: ignore[attr-defined]


_CONTAINERS: dict[type, Callable[[_Encoder, Any], Plain]] = {
    list: _Encoder.list,
    tuple: _Encoder.tuple,
    set: _Encoder.set,
    dict: _Encoder.dict,
}


def _all_scalars(items: Iterable[object]) -> bool:
    return PLAIN_SCALARS.issuperset(map(type, items))


_TEXTS = {str}


def _are_free(keys: Iterable[Any]) -> bool:
    """Whether the keys of a dict are plain and none can be taken for a tag."""
    if set(map(type, keys)) == _TEXTS and "$" not in "".join(keys):
        return True  # as almost all are
    return all(map(_free_key, keys))


def _free_key(key: Any) -> bool:
    return key[:1] != "$" if type(key) is str else _plain_key(key)


def _plain_key(key: object) -> bool:
    return type(key) in PLAIN_SCALARS or (type(key) is tuple and all(map(_plain_key, key)))


def _opaque(value: object, lost: list[str] | None) -> Plain:
    try:
        return {"$pickle": _pickled(value), "view": view(value)}
    except Exception as problem:  # whatever a class's __reduce__ or __getstate__ raises
        reason = f"{type(problem).__name__}: {problem}"
        if lost is not None:
            lost.append(f"a value of type {type(value).__qualname__} can't be pickled ({reason})")
        return {"$view": view(value), "reason": reason}


def _pickled(value: object) -> bytes:
    import cloudpickle  # by value what can't be imported elsewhere: __main__, lambdas, closures

    data: bytes = cloudpickle.dumps(value, protocol=5)
    return data


def decode(plain: Plain, values: Values) -> Any:
    """Turn plain data back into the value it stands for, unpickling where need be.

    Values that can't be loaded here come back as a :class:`~digital_experiments.views.ValueView`
    with the reason; :func:`decode_whole` raises for them.
    """
    kind = type(plain)
    if kind is dict:
        for key in plain:
            if type(key) is str and key[:1] == "$":
                return _decode_tag(key, plain, values)
            break
        return {key: decode(item, values) for key, item in plain.items()}
    if kind is list:
        return plain.copy() if _all_scalars(plain) else [decode(item, values) for item in plain]
    if kind is tuple:
        return plain if _all_scalars(plain) else tuple([decode(item, values) for item in plain])
    return plain.copy() if kind is set else plain


def decode_whole(plain: Plain, values: Values) -> Any:
    """As :func:`decode`, but a value that was kept and can't be loaded raises.

    Raises
    ------
    UntrustedValue
        If it is a pickle that came from elsewhere.
    ValueUnavailable
        If the value itself (rather than one inside it) can't be unpickled, or its blob
        is missing or damaged.
    """
    value = decode(plain, values)
    kept = isinstance(plain, dict) and ("$pickle" in plain or "$blob" in plain)
    if kept and isinstance(value, ValueView) and value.reason == UNTRUSTED:
        raise UntrustedValue(
            f"This value was pickled elsewhere, and loading it could run any code. It is a "
            f"{value.type}: {value!r}. If you trust all who write to where it came from, ask for "
            "it with trust=True: load(id, trust=True), open_experiment(..., trust=True), "
            "@experiment(trust=True) or Registry(..., trust=True)."
        )
    if kept and isinstance(value, ValueView) and value.reason:
        raise ValueUnavailable(
            f"This value can't be loaded here: {value.reason}. It was a {value.type}: {value!r}. "
            "Make its class importable under that name, or go on with `to_dataframe()`, which "
            "needs no class."
        )
    return value


def is_whole(value: Any) -> bool:
    """Whether a decoded value holds no view in place of what could not be kept or loaded."""
    if isinstance(value, ValueView):
        return False
    kind = type(value)
    if kind is dict:
        return is_whole(list(value.values()))
    return kind not in (list, tuple) or _all_scalars(value) or all(map(is_whole, value))


def _decode_tag(tag: str, plain: dict[str, Any], values: Values) -> Any:
    if tag == "$dict":
        return {decode(key, values): decode(item, values) for key, item in plain[tag]}
    if tag == "$view":
        return ValueView(plain[tag], plain.get("reason", "not kept"))
    if tag not in ("$pickle", "$blob"):
        raise DamagedRecord(f"unknown tag {tag!r} in a record.")
    if (tag == "$pickle" or is_pickle(str(plain[tag]))) and not values.trusted:
        return ValueView(plain.get("view", {}), UNTRUSTED)
    try:
        if tag == "$pickle":
            return _unpickled(plain[tag])
        content = values.read(plain[tag])
        return _unpickled(content) if is_pickle(plain[tag]) else decode(content, values)
    except Exception as problem:  # unpickling runs the classes' own code
        return ValueView(plain.get("view", {}), f"{type(problem).__name__}: {problem}")


def _unpickled(data: bytes) -> Any:
    import pickle

    return pickle.loads(data)


def peek(plain: Plain) -> Any:
    """Plain data with views in place of what is pickled or in blobs. Loads and runs nothing.

    >>> peek(encode({"x": range(3)}))
    {'x': range(0, 3)}
    """
    kind = type(plain)
    if kind is dict:
        if "$dict" in plain:
            return {_hashable(peek(key)): peek(item) for key, item in plain["$dict"]}
        if "$view" in plain:
            return ValueView(plain["$view"], plain.get("reason"))
        if "$pickle" in plain or "$blob" in plain:
            return ValueView(plain.get("view", {}))
        return {key: peek(item) for key, item in plain.items()}
    if kind is list:
        return [peek(item) for item in plain]
    return tuple([peek(item) for item in plain]) if kind is tuple else plain


def _hashable(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        return repr(key)
    return key


def without_pickles(plain: Plain, place: tuple[Any, ...] = ()) -> Plain:
    """A record with, in place of each pickled value, a blob that is named by its place there.

    >>> plain = without_pickles({"config": {"data": encode(range(3))}})
    >>> plain["config"]["data"]["$blob"]
    '["config", "data"].cloudpickle'
    """
    kind = type(plain)
    if kind is dict:
        if type(plain.get("$pickle")) is bytes:
            return {"$blob": f"{json.dumps(place)}{_PICKLE}", "view": plain.get("view", {})}
        return {key: without_pickles(item, (*place, key)) for key, item in plain.items()}
    if kind in (list, tuple):
        return kind(without_pickles(item, (*place, n)) for n, item in enumerate(plain))
    return plain


def pickle_at(plain: Plain, name: str) -> bytes:
    """The pickled value in a record that :func:`without_pickles` gave a name.

    Raises
    ------
    DamagedRecord
        If the record has none there.
    """
    try:
        for key in json.loads(name.removesuffix(_PICKLE)):
            plain = plain[key]
        data: bytes = plain["$pickle"]
    except (LookupError, TypeError, ValueError):
        raise DamagedRecord(f"{name!r} is no place of a value in the record.") from None
    return data


def is_pickle(blob_name: str) -> bool:
    """Whether a blob holds a pickled value, rather than plain data or text."""
    return blob_name.endswith(_PICKLE)


def spill(plain: Plain, size: Callable[[Plain], int], put: Callable[[Plain, bool], str]) -> Plain:
    """Move every value of over :data:`BLOB_SIZE` bytes into a blob.

    Parameters
    ----------
    plain
        A config value, a result or an entry of the metadata, encoded.
    size
        How many bytes the record's format needs for it.
    put
        Stores plain data, or with True the bytes of a pickle, and returns the blob's name.
    """
    if type(plain) is dict and "$pickle" in plain:
        if len(plain["$pickle"]) <= BLOB_SIZE:
            return plain
        return {"$blob": put(plain["$pickle"], True), "view": plain["view"]}
    if _is_small(plain) or size(plain) <= BLOB_SIZE:
        return plain
    if type(plain) is dict and not any(str(key).startswith("$") for key in plain):
        smaller = {key: spill(item, size, put) for key, item in plain.items()}
        if size(smaller) <= BLOB_SIZE:
            return smaller
        plain = smaller
    elif type(plain) in (list, tuple):
        smaller_items = [spill(item, size, put) for item in plain]
        if size(smaller_items) <= BLOB_SIZE:
            return type(plain)(smaller_items)
    return {"$blob": put(plain, False), "view": view(peek(plain))}


def _is_small(plain: Plain) -> bool:
    """Whether no format needs more than a few bytes for it: told without asking one."""
    if isinstance(plain, (str, bytes)):
        return len(plain) < 1000
    return not isinstance(plain, (list, tuple, set, dict)) and (
        not isinstance(plain, int) or plain.bit_length() < 1000
    )
