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
    for length, form, end in ((_LINE_LENGTH, _LINE, b""), (_ENTRY_LENGTH, _ENTRY, b"}")):
        body, tail = data[:-length], data[-length:]
        marker = form.partition(b"%")[0]
        if tail.startswith(marker):
            if tail != form % crc32(body):
                raise DamagedRecord("it is not as it was written: its checksum is another.")
            return body + end, True
    return data, False
