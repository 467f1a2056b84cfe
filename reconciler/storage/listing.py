"""What was listed of runs, kept for as long as nothing in their folders has moved: most runs asked for stand still."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.core import observed
from reconciler.storage import layout
from reconciler.storage.disk import Disk

SETTLED = 2.0
"""Seconds that a folder must have stood still: file systems tell two changes within their clock's step from none at all."""
STALE = 600.0
"""Seconds after which a run is listed anew in any case: a file that was damaged in its place moves no folder."""

Digests = tuple[str, ...]
Listing = tuple[observed.Taken, ...]
Stamps = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    digests: Digests
    stamps: Stamps
    since: float
    """When the folders were first seen like this; seconds of a clock that never jumps."""
    listed: float
    answer: Listing = ()


class Listings:
    """Remembers answers. May be used by several threads at once."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        self._trimmed = monotonic()

    def get(self, disk: Disk, run: str, digests: Callable[[], list[str]], read: Callable[[Digests], Listing]) -> Listing:
        """Return the images of a run: as known where its folders have not moved, else what `read` finds of its `digests`."""
        known, now = self._known.get(run), self._monotonic()
        if known is not None and known.stamps == _stamps(disk, run, known.digests):
            if known.listed >= known.since + SETTLED and now < known.listed + STALE:
                return known.answer
            seen = dataclasses.replace(known, listed=now)
        else:
            names = tuple(digests())
            stamps = _stamps(disk, run, names)  # before anything is read: what moves later is seen the next time
            seen = _Known(digests=names, stamps=stamps, since=now, listed=now)
        answer = read(seen.digests)
        self._known[run] = dataclasses.replace(seen, answer=answer)
        self._trim(now)
        return answer

    def _trim(self, now: float) -> None:
        """Let go of runs that nobody asks for any more: of the others no answer is older."""
        if now >= self._trimmed + STALE:
            self._trimmed = now
            for run in [run for run, known in list(self._known.items()) if now >= known.listed + 2 * STALE]:
                self._known.pop(run, None)


def _stamps(disk: Disk, run: str, digests: Digests) -> Stamps:
    folders = (layout.checkpoints(run), layout.packs(run), *(layout.image(run, digest) for digest in digests))
    return tuple(disk.stamp(folder) for folder in folders)
