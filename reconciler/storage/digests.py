"""Digests of a piece: SHA-256 of each block of 16 KiB, and 128 bits of it for each unit of 4 KiB.

Blocks prove what a file holds; units say which parts of a block changed. A block equal to the parent's is hashed once and its
units not at all, and hashing 16 KiB in one call releases the interpreter's lock for long enough that two threads gain by it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from reconciler.contracts import store

UNIT = store.UNIT
IN_BLOCK = 4
"""Units of a block."""
BLOCK = IN_BLOCK * UNIT
BLOCK_DIGEST = 32
UNIT_DIGEST = 16

ZERO_UNIT = hashlib.sha256(bytes(UNIT)).digest()[:UNIT_DIGEST]

Bytes = bytes | bytearray


@dataclass(frozen=True, slots=True)
class Digests:
    """Of consecutive units: one digest each, and one for each block of them, counted from the first; the last may be short."""

    units: bytes
    blocks: bytes

    def __len__(self) -> int:
        return len(self.units) // UNIT_DIGEST


def split(digests: bytes, size: int = UNIT_DIGEST) -> list[bytes]:
    """Return the single digests."""
    return [digests[at : at + size] for at in range(0, len(digests), size)]


def of(data: Bytes) -> Digests:
    """Return the digests of whole units."""
    return Digests(b"".join(_units(data)), b"".join(blocks(data)))


def against(data: Bytes, old: Digests) -> tuple[Digests, list[int]]:
    """Return the digests of as many units as `old` has, and which of them differ (ascending)."""
    found = blocks(data)
    joined = b"".join(found)
    if joined == old.blocks:
        return old, []
    units = bytearray(old.units)
    changed: list[int] = []
    was = split(old.blocks, BLOCK_DIGEST)
    view = memoryview(data)
    for number in [number for number, digest in enumerate(found) if digest != was[number]]:
        first = number * IN_BLOCK
        for unit, digest in enumerate(_units(view[first * UNIT : (first + IN_BLOCK) * UNIT]), first):
            at = unit * UNIT_DIGEST
            if units[at : at + UNIT_DIGEST] != digest:
                units[at : at + UNIT_DIGEST] = digest
                changed.append(unit)
    return Digests(bytes(units), joined), changed


def blocks(data: Bytes | memoryview) -> list[bytes]:
    """Return the digests of the blocks."""
    view = memoryview(data)
    hashes = map(hashlib.sha256, [view[at : at + BLOCK] for at in range(0, len(view), BLOCK)])
    return [one.digest() for one in hashes]


def _units(data: Bytes | memoryview) -> list[bytes]:
    view = memoryview(data)
    hashes = map(hashlib.sha256, [view[at : at + UNIT] for at in range(0, len(view), UNIT)])
    return [one.digest()[:UNIT_DIGEST] for one in hashes]
