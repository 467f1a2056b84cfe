"""The few protobuf messages of CRIU that we read or write, and the images that hold them.

Wire format: https://protobuf.dev/programming-guides/encoding. Messages: CRIU's `images/*.proto` (4.1.1), named at each use.
An image is two magic numbers (CRIU `criu/include/magic.h`), then messages, each behind its length as u32, little endian.
CRIU's generated code is not used: images come from a store, so what reads them should be small enough to be read itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler import errors

COMMON_MAGIC = 0x54564319
SERVICE_MAGIC = 0x55105940
PAGEMAP_MAGIC = 0x56084025
FILES_MAGIC = 0x56303138
CORE_MAGIC = 0x55053847
PSTREE_MAGIC = 0x50273030
CPUINFO_MAGIC = 0x61404013
SECCOMP_MAGIC = 0x64413049
STATS_MAGIC = 0x57093306

LARGEST_MESSAGE = 16 << 20
"""Bytes: a length above is not believed."""

_WORD = struct.Struct("<I")
_MAGICS = struct.Struct("<II")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Value = int | bytes
Fields = dict[int, list[Value]]


def image(first: int, second: int, messages: Iterable[bytes]) -> bytes:
    """Return an image of messages."""
    return _MAGICS.pack(first, second) + b"".join(_WORD.pack(len(one)) + one for one in messages)


def messages(content: bytes, first: int, second: int, where: str) -> Iterator[bytes]:
    """Yield the messages of an image. Raises `errors.Damaged` when it is not one."""
    if content[: _MAGICS.size] != _MAGICS.pack(first, second):
        raise errors.Damaged("not the CRIU image that its name says", where=where)
    at = _MAGICS.size
    while at < len(content):
        if at + _WORD.size > len(content):
            raise errors.Damaged("the CRIU image is cut short", where=where)
        (length,) = _WORD.unpack_from(content, at)
        at += _WORD.size
        if length > LARGEST_MESSAGE or at + length > len(content):
            raise errors.Damaged("the CRIU image is cut short", where=where)
        yield content[at : at + length]
        at += length


def encode(values: Iterable[tuple[int, int]]) -> bytes:
    """Return a message of numbers: (field, value)."""
    return b"".join(_varint(field << 3 | _VARINT) + _varint(value) for field, value in values)


def decode(content: bytes, where: str) -> Fields:
    """Return the fields of a message, repeated ones in order. Raises `errors.Damaged`."""
    found: Fields = {}
    at = 0
    try:
        while at < len(content):
            key, at = _read_varint(content, at)
            kind = key & 7
            value: Value
            if kind == _VARINT:
                value, at = _read_varint(content, at)
            elif kind == _BYTES:
                length, at = _read_varint(content, at)
                value, at = _take(content, at, length)
            elif kind in (_FIXED64, _FIXED32):
                raw, at = _take(content, at, 8 if kind == _FIXED64 else 4)
                value = int.from_bytes(raw, "little")
            else:
                raise ValueError(f"wire type {kind}")
            found.setdefault(key >> 3, []).append(value)
    except (IndexError, ValueError) as error:
        raise errors.Damaged(f"a message of CRIU cannot be read ({error})", where=where) from error
    return found


def edited(content: bytes, where: str, numbers: Mapping[int, Sequence[int]], texts: Mapping[int, bytes]) -> bytes:
    """Return a message with some fields given anew, all others as they are. Raises `errors.Damaged`."""
    kept = bytearray()
    at = 0
    try:
        while at < len(content):
            begin = at
            key, at = _read_varint(content, at)
            at = _skip(content, at, key & 7)
            if key >> 3 not in numbers and key >> 3 not in texts:
                kept += content[begin:at]
    except (IndexError, ValueError) as error:
        raise errors.Damaged(f"a message of CRIU cannot be read ({error})", where=where) from error
    for field, values in numbers.items():
        kept += encode((field, value) for value in values)
    for field, text in texts.items():
        kept += _varint(field << 3 | _BYTES) + _varint(len(text)) + text
    return bytes(kept)


def number(fields: Fields, field: int, default: int = 0) -> int:
    """Return a number, the last one given."""
    value = fields.get(field, [default])[-1]
    return value if isinstance(value, int) else default


def numbers(fields: Fields, field: int) -> list[int]:
    """Return a repeated number, whether packed or not. Raises `errors.Damaged`."""
    found: list[int] = []
    for value in fields.get(field, []):
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        try:
            while at < len(value):
                one, at = _read_varint(value, at)
                found.append(one)
        except (IndexError, ValueError) as error:
            raise errors.Damaged(f"numbers in a message of CRIU cannot be read ({error})") from error
    return found


def nested(fields: Fields, field: int) -> bytes | None:
    """Return an embedded message's or text's bytes, None where it is not there."""
    value = fields.get(field, [None])[-1]
    return value if isinstance(value, bytes) else None


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _skip(content: bytes, at: int, kind: int) -> int:
    if kind == _VARINT:
        return _read_varint(content, at)[1]
    if kind == _BYTES:
        length, at = _read_varint(content, at)
        return _take(content, at, length)[1]
    if kind in (_FIXED64, _FIXED32):
        return _take(content, at, 8 if kind == _FIXED64 else 4)[1]
    raise ValueError(f"wire type {kind}")


def _take(content: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(content):
        raise ValueError("cut short")
    return content[at : at + length], at + length
