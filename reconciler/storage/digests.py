"""Digests of content: BLAKE3, of a piece as a whole (256 bits) and of each of its units (128 bits).

The whole proves what a file holds; units say which parts of a piece changed since the parent, and which occur again. A piece
equal to the parent's is hashed once and its units not at all. BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), because
a program may stand still while its memory is hashed, and SHA-256 takes three times as long where processors have
instructions for it, and ten times where they have not.
"""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from reconciler.contracts import store

UNIT = store.UNIT
WHOLE_DIGEST = 32
UNIT_DIGEST = 16

Bytes = bytes | bytearray


@dataclass(frozen=True, slots=True)
class Digests:
    """Of consecutive units: one digest each, and one of all their bytes."""

    units: bytes
    whole: bytes

    def __len__(self) -> int:
        return len(self.units) // UNIT_DIGEST


def whole(data: Bytes | memoryview) -> bytes:
    """Return the digest of all bytes."""
    return blake3(data).digest()


ZERO_UNIT = whole(bytes(UNIT))[:UNIT_DIGEST]


def split(units: bytes) -> list[bytes]:
    """Return the single digests of units."""
    return [units[at : at + UNIT_DIGEST] for at in range(0, len(units), UNIT_DIGEST)]


def of(data: Bytes) -> Digests:
    """Return the digests of whole units."""
    return Digests(b"".join(_units(data)), whole(data))


def against(data: Bytes, old: Digests) -> tuple[Digests, list[int]]:
    """Return the digests of as many units as `old` has, and which of them differ (ascending)."""
    found = whole(data)
    if found == old.whole:
        return old, []
    units = _units(data)
    changed = [number for number, (new, was) in enumerate(zip(units, split(old.units), strict=True)) if new != was]
    return Digests(b"".join(units), found), changed


def _units(data: Bytes) -> list[bytes]:
    view = memoryview(data)
    hashes = map(blake3, [view[at : at + UNIT] for at in range(0, len(view), UNIT)])
    return [one.digest(UNIT_DIGEST) for one in hashes]
