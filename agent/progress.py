"""The program's own count of its work: JSON lines with `step` and `of`, read as they come."""

from __future__ import annotations

import json
import os
from pathlib import Path

from reconciler.core import observed

MOST = 1 << 20
"""Bytes read in one look."""
LINE = 64 * 1024
"""Longest line; a longer one says nothing about progress."""


class Follower:
    """Reads one progress file from where it stopped. The file belongs to the program: nothing in it is trusted."""

    def __init__(self, path: Path) -> None:
        """Begin at the beginning."""
        self._path = path
        self._offset = 0
        self._rest = b""
        self.first: int | None = None
        """The first step reported."""
        self.newest: observed.Progress | None = None

    def look(self, now: float) -> None:
        """Read what has come since the last look. `now` is POSIX time in seconds."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return
        try:
            if os.fstat(descriptor).st_size < self._offset:
                self._offset, self._rest = 0, b""  # the program began the file anew
            data = os.pread(descriptor, MOST, self._offset)
        except OSError:
            return
        finally:
            os.close(descriptor)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-LINE:]
        for line in lines:
            self._read(line, now)

    def _read(self, line: bytes, now: float) -> None:
        try:
            value = json.loads(line)
            step, of = value["step"], value.get("of")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        if not _count(step) or not (of is None or _count(of)):
            return
        self.first = step if self.first is None else self.first
        self.newest = observed.Progress(step=step, of=of, at=now)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
