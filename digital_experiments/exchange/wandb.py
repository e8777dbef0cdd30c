"""Offline folders of Weights & Biases, whose logs are framed protocol buffers. W&B is not needed.

The framing is that of LevelDB's log: blocks of 32 KiB with records that may go over several; see
https://github.com/google/leveldb/blob/main/doc/log_format.md. The fields that are read are those
of ``wandb_internal.proto``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from digital_experiments.exchange.arriving import Arrival, Reader
from digital_experiments.series import Point, as_number

_MAGIC = b":W&B"
_HEADER = 7
_BLOCK = 32_768
_HISTORY, _SUMMARY, _CONFIG, _RUN, _EXIT = 2, 3, 5, 17, 18
_KEY, _NESTED, _JSON = 1, 2, 16
_TYPED = {4: bool, 5: int}
_OURS = "_"  # how the names begin that W&B adds itself

Fields = dict[int, list[Any]]


def is_offline(place: Path) -> bool:
    """Whether a folder holds offline runs, or is one."""
    return any(_logs(place))


def read(place: Path) -> Iterator[Reader]:
    """The runs in a folder of offline runs."""
    for path in _logs(place):
        yield str(path), partial(_arrival, path)


def _logs(place: Path) -> Iterator[Path]:
    patterns = ("*.wandb", "*/*.wandb", "wandb/*/*.wandb")
    found = {path.resolve() for pattern in patterns for path in place.glob(pattern)}
    yield from sorted(found)  # `latest-run` is a link to one of them


def _arrival(path: Path) -> Arrival:
    run: Fields = {}
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    points: list[Point] = []
    exit_code: int | None = None
    for data in _records(path.read_bytes()):
        record = _fields(data)
        for kind, payloads in record.items():
            if kind == _RUN:
                run = _fields(payloads[0])
                for part in run.get(4, ()):
                    config.update(_items(_fields(part).get(1, ())))
            elif kind == _CONFIG:
                config.update(_items(_fields(payloads[0]).get(1, ())))
            elif kind == _SUMMARY:
                summary.update(_items(_fields(payloads[0]).get(1, ())))
            elif kind == _HISTORY:
                points.extend(_points(_fields(payloads[0]), len(points)))
            elif kind == _EXIT:
                exit_code = _fields(payloads[0]).get(1, [0])[0]
    start = _time(run.get(17, [b""])[0]) or path.stat().st_mtime
    end = points[-1][3] if points else start
    config = {key: value for key, value in config.items() if key[:1] != _OURS}
    status = {None: "interrupted", 0: "completed"}.get(exit_code, "failed")
    own = {key: value for key, value in summary.items() if key[:1] != _OURS}
    told = {"name": _text(run, 8), "entity": _text(run, 2), "notes": _text(run, 9), "summary": own}
    files = path.parent / "files"
    return Arrival(
        "wandb",
        _text(run, 1) or path.stem,
        _text(run, 3) or "wandb",
        start,
        max(start, end),
        status,
        config=config,
        points=points,
        files=[(inside.name, inside) for inside in sorted(files.iterdir())]
        if files.is_dir()
        else [],
        metadata={"wandb": {key: value for key, value in told.items() if value}},
        tags=[tag.decode() for tag in run.get(10, ())],
    )


def _points(history: Fields, before: int) -> Iterator[Point]:
    items = dict(_items(history.get(1, ())))
    steps = [_fields(part).get(1, [0])[0] for part in history.get(2, ())]
    step = items.get("_step", steps[0] if steps else before)
    time = float(items.get("_timestamp", 0.0))
    for key, value in items.items():
        if key[:1] != _OURS and isinstance(value, (int, float)):
            yield key, int(step), as_number(value, key), time


def _items(payloads: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a list of items; what is nested is joined by a dot."""
    for payload in payloads:
        item = _fields(payload)
        parts = item.get(_NESTED) or item.get(_KEY) or [b""]
        name = ".".join(part.decode(errors="replace") for part in parts)
        yield name, _value(item)


def _value(item: Fields) -> Any:
    for number, kind in _TYPED.items():
        if number in item:
            return kind(item[number][0])
    if 6 in item:
        return struct.unpack("<d", item[6][0])[0]
    if 7 in item:
        return item[7][0].decode(errors="replace")
    text = (item.get(_JSON) or item.get(8) or [b"null"])[0]
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")


def _text(fields: Fields, number: int) -> str:
    found: bytes = fields.get(number, [b""])[0]
    return found.decode(errors="replace")


def _time(data: bytes) -> float:
    fields = _fields(data)
    return float(fields.get(1, [0])[0] + fields.get(2, [0])[0] / 1e9)


def _records(data: bytes) -> Iterator[bytes]:
    """The records in a log; what is torn at its end is left out."""
    if data[:4] != _MAGIC:
        raise ValueError("This is no log of W&B: it does not begin with :W&B.")
    at, parts = _HEADER, b""
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:  # the rest of a block is padding
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + _HEADER])
        piece = data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if len(piece) < length or kind == 0:
            return
        parts = piece if kind in (1, 2) else parts + piece
        if kind in (1, 4):
            yield parts


def _fields(data: bytes) -> Fields:
    """The fields of a protocol buffer: integers, and bytes of all else."""
    found: Fields = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value: Any
        if wire == 0:
            value, at = _varint(data, at)
        else:
            if wire == 2:
                size, at = _varint(data, at)
            else:
                size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        found.setdefault(number, []).append(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return (value - (1 << 64) if value >> 63 else value), at
