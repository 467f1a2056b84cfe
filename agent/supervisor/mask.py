"""Keeps secrets out of the program's output, whatever the program prints."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 6
"""Characters from which on a value is masked: a shorter one stands in too many innocent lines."""
PART = 4
"""Characters from which on a part of a value is masked, where a checkpoint has cut it in two."""
SHOWN = b"***"


class Mask:
    """Replaces values in a stream, also where one comes in two pieces."""

    def __init__(self, values: Iterable[str]) -> None:
        """Mask each value, and each of its lines."""
        pieces = {piece.strip() for value in values for piece in [value, *value.splitlines()]}
        wanted = {piece.encode() for piece in pieces if len(piece) >= SHORTEST}
        # The longest first, or a value within another one would leave the rest of it to be read.
        self._values = sorted(wanted, key=len, reverse=True)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown of everything fed so far; the beginning of a value is held back until it is decided."""
        if not self._values:
            return data
        data, self._held = self._held + data, b""
        for value in self._values:
            data = data.replace(value, SHOWN)
            keep = _overlap(data, value)
            # Before shorter values are looked for: what begins a long one may be a short one, and the rest would be read.
            data, self._held = data[: len(data) - keep], data[len(data) - keep :] + self._held
        return data

    def rest(self, *, cut: bool = False) -> bytes:
        """Return what was held back, when nothing more comes; `cut`: here, for it may go on elsewhere."""
        held, self._held = self._held, b""
        if cut and len(held) >= PART:
            return SHOWN
        for value in self._values:
            held = held.replace(value, SHOWN)
        return held

    def joined(self, data: bytes) -> bytes:
        """Return the beginning of an output that goes on where another one was cut, without the rest of a value."""
        size = max((_overhang(data, value) for value in self._values), default=0)
        return SHOWN + data[size:] if size >= PART else data


def _overlap(data: bytes, value: bytes) -> int:
    """Return how many bytes at the end of `data` are the beginning of `value`."""
    return next((size for size in range(min(len(value) - 1, len(data)), 0, -1) if data.endswith(value[:size])), 0)


def _overhang(data: bytes, value: bytes) -> int:
    """Return how many bytes at the beginning of `data` are the end of `value`."""
    return next((size for size in range(min(len(value) - 1, len(data)), 0, -1) if data.startswith(value[-size:])), 0)
