"""Output of attempts that are gone and that no store has: it stays in the agent's data directory for a while."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from agent import logs, places
from agent.supervisor import output
from reconciler import errors
from reconciler.seams import durable

BYTES = 512 << 20
"""Most bytes kept of all such attempts; beyond, the oldest go. One alone may have 64 MiB."""
SECONDS = 14 * 86400.0
"""How long they are kept after their last output."""
EVERY = 3600.0
"""Seconds between two looks at what is to go."""


def keep(place: places.Attempt) -> None:
    """Take an attempt's output out of its folder before that is removed. May be repeated: what was taken before stays.

    Raises `errors.Unavailable`.
    """
    try:
        if not any(os.path.getsize(path) for _, path in output.segments(str(place.logs))):
            return
        with contextlib.suppress(FileNotFoundError):  # how far the store has come, for one that took a part
            place.shipped.replace(place.logs / place.shipped.name)
        shutil.rmtree(place.kept, ignore_errors=True)
        place.logs.rename(place.kept)
        durable.sync_directory(place.kept.parent)
    except OSError as error:
        raise errors.Unavailable(f"its output cannot be kept: {error.strerror}", where=str(place.kept)) from error


def trim(folder: Path, now: float) -> None:
    """Remove what is too old at POSIX time `now`, then the oldest until the rest is few enough bytes."""
    left = BYTES
    with contextlib.suppress(OSError):  # somebody else removes it: the next look sees what is left
        for one in sorted((_look(each) for each in folder.iterdir()), key=lambda one: one.at, reverse=True):
            left -= one.size
            if left < 0 or one.at < now - SECONDS:
                shutil.rmtree(one.folder, ignore_errors=True)


def read(place: places.Attempt, offset: int, limit: int) -> tuple[int, bytes]:
    """Return log bytes of an attempt from what this host still has, and their offset; no bytes: it has none from there on.

    `offset` counts as in the store's log, which differs from the host's own where output was lost on the way. The offset
    returned is a higher one where the oldest output had to go.
    """
    for folder, file in ((place.logs, place.shipped), (place.kept, place.kept / place.shipped.name)):
        shipped = logs.shipped(file)
        wanted = offset - shipped.stored + shipped.local
        for start, path in output.segments(str(folder)):
            with contextlib.suppress(OSError), open(path, "rb") as segment:
                if wanted < start + segment.seek(0, os.SEEK_END):
                    begin = max(wanted, start)
                    segment.seek(begin - start)
                    return offset + begin - wanted, segment.read(limit)
    return offset, b""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    folder: Path
    at: float
    size: int


def _look(folder: Path) -> _Kept:
    found = [os.stat(path) for _, path in output.segments(str(folder))]
    return _Kept(
        folder=folder,
        at=max((each.st_mtime for each in found), default=0.0),
        size=sum(each.st_size for each in found),
    )
