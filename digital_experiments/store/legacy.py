"""Records that digital-experiments 2.x wrote, read without running anything in them.

Its pickles and YAML hold whatever objects a result had. Here such an object is only
described; it is loaded, by the format's own full loader, when a person asks for it.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

from digital_experiments.store.formats import FORMAT
from digital_experiments.values import BlobReader, Plain, encode
from digital_experiments.views import short_repr

Found = tuple[dict[str, Plain], BlobReader]

_PARTS = ("id", "config", "result", "metadata")
_OBSERVATION = ("digital_experiments.core", "Observation")
_NUMPY_NUMBERS = {
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}


def read_legacy(data: bytes, suffix: str) -> Found | None:
    """The record that digital-experiments 2.x wrote into a file of that suffix, if it is one."""
    reader = {".pkl": from_pickle, ".json": from_json, ".yaml": from_yaml}.get(suffix)
    return reader(data) if reader else None


def from_pickle(data: bytes) -> Found | None:
    """The record in a 2.x pickle, or None if that is not what the bytes are."""
    try:
        found = _Describer(io.BytesIO(data)).load()
    except Exception:  # garbage makes an unpickler raise anything
        return None
    if not isinstance(found, _Object) or found.kind != ".".join(_OBSERVATION):
        return None
    return _record(dict(zip(_PARTS, found.arguments, strict=False)), data, _load_pickle)


def from_json(data: bytes) -> Found | None:
    """The record in a 2.x JSON file, or None if that is not what the bytes are."""
    try:
        return _record(json.loads(data), data, json.loads)
    except (ValueError, RecursionError):
        return None


def from_yaml(data: bytes) -> Found | None:
    """The record in a 2.x YAML file, or None if that is not what the bytes are."""
    import yaml

    class Describer(yaml.SafeLoader):
        pass

    def describe(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> object:
        kind, _, name = suffix.partition(":")
        content = _yaml_content(loader, node)
        if kind == "tuple" and isinstance(content, list):
            return tuple(content)
        return _described(name or kind)(content)

    Describer.add_multi_constructor("tag:yaml.org,2002:python/", describe)
    try:
        return _record(yaml.load(data, Describer), data, _load_yaml)  # noqa: S506 - it is a SafeLoader
    except Exception:  # garbage makes a parser raise anything
        return None


def _yaml_content(loader: Any, node: Any) -> object:
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_scalar(node)


def _load_yaml(data: bytes) -> Any:
    import yaml

    return yaml.load(data, yaml.UnsafeLoader)  # noqa: S506 - asked for, as unpickling is


class _Object:
    """Stands for an object of any class; being built, it only remembers its arguments."""

    kind = "object"
    arguments: tuple[Any, ...] = ()

    def __new__(cls, *arguments: Any, **named: Any) -> _Object:
        made = object.__new__(cls)
        made.arguments = arguments
        return made

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments = arguments

    def what(self) -> str:
        """The name of its class; of what a helper builds, that of the class it is given."""
        first = self.arguments[0] if self.arguments else None
        if "_recon" in self.kind and isinstance(first, type) and issubclass(first, _Object):
            return first.kind
        return self.kind

    def __repr__(self) -> str:
        return f"<{self.what()}>"

    def __setstate__(self, state: object) -> None:
        """An object's state is not looked at."""

    def __setitem__(self, key: object, value: object) -> None:
        """Nor are its items."""

    def append(self, item: object) -> None:
        """Nor are those."""

    extend = add = append


def _described(kind: str) -> type[_Object]:
    return type("Described", (_Object,), {"kind": kind})


class _Describer(pickle.Unpickler):
    """Reads any pickle without importing what it names; NumPy numbers alone are made."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY_NUMBERS:
            return super().find_class(module, name)
        return _described(f"{module}.{name}")


class _Loader(pickle.Unpickler):
    """Reads a 2.x pickle wholly, its classes imported."""

    def find_class(self, module: str, name: str) -> Any:
        return _Record if (module, name) == _OBSERVATION else super().find_class(module, name)


class _Record(NamedTuple):
    """What 2.x pickled."""

    id: str
    config: dict[str, Any]
    result: Any
    metadata: dict[str, Any]


def _load_pickle(data: bytes) -> Any:
    return _Loader(io.BytesIO(data)).load()._asdict()


class _LegacyValues:
    """Hands out the values of one 2.x record that are no plain data."""

    def __init__(self, data: bytes, load: Callable[[bytes], Any]) -> None:
        self.data = data
        self.load = load

    def trusts(self, id: str) -> bool:
        return True  # whoever hands them out has asked

    def read(self, name: str) -> bytes:
        import cloudpickle

        value = self.load(self.data)
        for key in json.loads(name.removesuffix(".cloudpickle")):
            value = value[key]
        data: bytes = cloudpickle.dumps(value)
        return data


def _record(found: Any, data: bytes, load: Callable[[bytes], Any]) -> Found | None:
    if not isinstance(found, dict) or not set(_PARTS) <= found.keys() or "format" in found:
        return None
    if not isinstance(found["config"], dict) or not isinstance(found["metadata"], dict):
        return None
    parts = {part: _plain(found[part], [part]) for part in _PARTS}
    return {"format": FORMAT, **parts}, _LegacyValues(data, load)


def _plain(value: Any, path: list[str]) -> Plain:
    if not _holds_object(value):
        return encode(value)
    if type(value) is dict and all(type(key) is str and key[:1] != "$" for key in value):
        return {key: _plain(item, [*path, key]) for key, item in value.items()}
    kind = value.what() if isinstance(value, _Object) else type(value).__name__
    view = {"type": kind, "repr": short_repr(value)}
    return {"$blob": json.dumps(path) + ".cloudpickle", "view": view}


def _holds_object(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_object, (*value.keys(), *value.values())))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(_holds_object, value))
    return isinstance(value, _Object)
