"""Digests of content: of a piece as a whole, and of each of its units.

The whole proves what a file holds: BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), because a program may stand still
while its memory is hashed, and SHA-256 takes three times as long where processors have instructions for it, and ten times
where they have not.

Units' digests only tell which units of a piece changed since the parent, and which occur again: XXH3 of 128 bits under a salt
(https://github.com/Cyan4973/xxHash), ten times as fast again for so little data. Each line of images has a salt of its own, a
secret of its store, so that nobody can make a program hold two units that are taken for one; if somebody could, the whole's
digest would not fit, and the image be refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3
from xxhash import xxh3_128_digest

from reconciler.contracts import store

UNIT = store.UNIT
WHOLE_DIGEST = 32
UNIT_DIGEST = 16
SALT_BITS = 63
"""Of a salt: what every reader of JSON takes for a whole number."""

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


def split(units: bytes) -> list[bytes]:
    """Return the single digests of units."""
    return [units[at : at + UNIT_DIGEST] for at in range(0, len(units), UNIT_DIGEST)]


class Salt:
    """Makes digests that can be compared with those under the same salt."""

    def __init__(self, value: int) -> None:
        """`value` has `SALT_BITS`."""
        self.value = value
        self.zero = xxh3_128_digest(bytes(UNIT), value)
        """Of a unit of zeros."""

    def of(self, data: Bytes) -> Digests:
        """Return the digests of whole units."""
        return Digests(b"".join(self._units(data)), whole(data))

    def against(self, data: Bytes, old: Digests) -> tuple[Digests, list[int]]:
        """Return the digests of as many units as `old` has, and which of them differ (ascending)."""
        found = whole(data)
        if found == old.whole:
            return old, []
        units = self._units(data)
        changed = [number for number, (new, was) in enumerate(zip(units, split(old.units), strict=True)) if new != was]
        return Digests(b"".join(units), found), changed

    def _units(self, data: Bytes) -> list[bytes]:
        view, salt = memoryview(data), self.value
        return [xxh3_128_digest(view[at : at + UNIT], salt) for at in range(0, len(view), UNIT)]


def drawn(token: str) -> Salt:
    """Return the salt of a new line from the random token of its first writer, which its program never sees."""
    return Salt(int.from_bytes(whole(token.encode())[:8], "big") >> 64 - SALT_BITS)
