"""A checksum at the end of a record, by which a changed bit is seen. Knows no formats.

Pickles and YAML end with the line ``# crc32 1a2b3c4d``, which their readers skip; a JSON object
ends with the entry ``"crc32":"1a2b3c4d"``. It is the CRC-32 of all that stands before it.
"""

from __future__ import annotations

from zlib import crc32

from digital_experiments.errors import DamagedRecord

_LINE = b"# crc32 %08x\n"
_LINE_LENGTH = len(_LINE % 0)
_ENTRY = b',"crc32":"%08x"}'
_ENTRY_LENGTH = len(_ENTRY % 0)
_LINE_START = _LINE.partition(b"%")[0]
_ENTRY_START = _ENTRY.partition(b"%")[0]


def seal(data: bytes) -> bytes:
    """The bytes of a record with their checksum.

    >>> seal(b'{"id":"a"}')
    b'{"id":"a","crc32":"143f85da"}'
    """
    if data[-1:] == b"}":
        return data[:-1] + _ENTRY % crc32(data[:-1])
    return data + _LINE % crc32(data)


def unseal(data: bytes) -> tuple[bytes, bool]:
    """The bytes without their checksum, and whether they had one.

    Raises
    ------
    DamagedRecord
        If the bytes are not those that were sealed.
    """
    if data[-_LINE_LENGTH:].startswith(_LINE_START):
        body = data[:-_LINE_LENGTH]
        whole = data.endswith(_LINE % crc32(body))
    elif data[-_ENTRY_LENGTH:].startswith(_ENTRY_START):
        body = data[:-_ENTRY_LENGTH] + b"}"
        whole = data.endswith(_ENTRY % crc32(body[:-1]))
    else:
        return data, False
    if not whole:
        raise DamagedRecord("it is not as it was written: its checksum is another.")
    return body, True
