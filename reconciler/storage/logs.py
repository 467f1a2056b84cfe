"""Log bytes of attempts, in segments of about a megabyte named by the offset at which they begin.

A segment holds records: length, CRC-32 of the bytes (both 4 bytes, little-endian), the bytes. What a crash left of an append is
no whole record: readers stop before it and the next append cuts it off. So a length, once returned, is never less later.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from reconciler.core import spec
from reconciler.storage import layout
from reconciler.storage.disk import Disk, File

SEGMENT = 1 << 20
_HEAD = struct.Struct("<II")
_LARGEST_RECORD = 1 << 20


def append(disk: Disk, ref: spec.AttemptRef, offset: int, data: bytes) -> int:
    """Write log bytes at `offset`; return the length then durable. What is there already stays; a gap is not written."""
    folder = layout.logs(ref.run, ref.attempt)
    segments = _segments(disk, folder)
    start = segments[-1] if segments else 0
    file = disk.open(_path(folder, start), write=True) if segments else None
    try:
        whole, length = _measure(file) if file is not None else (0, 0)
        length += start
        fresh = data[length - offset :] if offset <= length else b""
        if not fresh:
            return length
        if file is None or whole >= SEGMENT:
            if file is not None:
                file.close()
            else:
                disk.folder(folder)
            file = disk.create(_path(folder, length))
            disk.sync_folder(folder)
        elif file.size() > whole:
            file.truncate(whole)
        for at in range(0, len(fresh), _LARGEST_RECORD):
            record = fresh[at : at + _LARGEST_RECORD]
            file.write(_HEAD.pack(len(record), zlib.crc32(record)) + record)
        file.sync()
        return length + len(fresh)
    finally:
        if file is not None:
            file.close()


def read(disk: Disk, ref: spec.AttemptRef, offset: int, limit: int) -> bytes:
    """Return up to `limit` bytes from `offset`; empty at the end or when there is no log."""
    folder = layout.logs(ref.run, ref.attempt)
    segments = _segments(disk, folder)
    found: list[bytes] = []
    for number, start in enumerate(segments):
        if number + 1 < len(segments) and segments[number + 1] <= offset:
            continue
        file = disk.open(_path(folder, start))
        try:
            position = start
            for record in _records(file):
                if position <= offset < position + len(record) and limit > 0:
                    part = record[offset - position :][:limit]
                    found.append(part)
                    offset, limit = offset + len(part), limit - len(part)
                position += len(record)
        finally:
            file.close()
        if limit <= 0:
            break
    return b"".join(found)


def _path(folder: str, start: int) -> str:
    return f"{folder}/{start:016d}"


def _segments(disk: Disk, folder: str) -> list[int]:
    try:
        return [int(name) for name in disk.names(folder) if name.isdecimal()]
    except FileNotFoundError:
        return []


def _measure(file: File) -> tuple[int, int]:
    """Return how many bytes of the file are whole records, and how many log bytes they hold."""
    sizes = [len(record) for record in _records(file)]
    return sum(sizes) + len(sizes) * _HEAD.size, sum(sizes)


def _records(file: File) -> Iterator[bytes]:
    position = 0
    while True:
        head = file.read(position, _HEAD.size)
        if len(head) < _HEAD.size:
            return
        size, check = _HEAD.unpack(head)
        if not 0 < size <= _LARGEST_RECORD:
            return
        record = file.read(position + _HEAD.size, size)
        if len(record) < size or zlib.crc32(record) != check:
            return
        yield record
        position += _HEAD.size + size
