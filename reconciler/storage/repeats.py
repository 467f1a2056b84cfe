"""Units that occur again in one image: they are stored once.

Only those of the last frames are remembered: a reader keeps so many frames unpacked, so that none is ever unpacked twice for
it, and memory stays bounded whatever the size.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Set

from reconciler.storage import packs
from reconciler.storage.index import Ticket

FRAMES = packs.CACHED_FRAMES // 4
"""Frames of one generation; there are two, so that a reader with several threads has room besides."""

Place = tuple[Ticket, int]
"""The frame, and the unit in it."""


class Repeats:
    """Where the latest units of an image lie, by digest. For one thread."""

    def __init__(self) -> None:
        self._young: dict[bytes, Place] = {}
        self._old: dict[bytes, Place] = {}
        self._frames = 0

    def known(self, digests: Set[bytes]) -> dict[bytes, Place]:
        """Return where those of these units lie that have occurred before."""
        found = {each: self._old[each] for each in self._old.keys() & digests}
        return found | {each: self._young[each] for each in self._young.keys() & digests}

    def add(self, digests: Sequence[bytes], ticket: Ticket, at: int) -> None:
        """Remember units that lie one after the other in a frame, from unit `at` on."""
        self._young.update(zip(digests, zip(itertools.repeat(ticket), itertools.count(at)), strict=False))

    def next_frame(self) -> None:
        """Note that a frame is full."""
        self._frames += 1
        if self._frames % FRAMES == 0:
            self._old, self._young = self._young, {}
