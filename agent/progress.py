"""The program's own count of its work: JSON lines with `step` and `of`, read as they come."""

from __future__ import annotations

import itertools
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from reconciler.core import observed

MOST = 1 << 20
"""Bytes read in one look."""
LINES = 1000
"""Most lines of those that are tried, from either end."""
LINE = 64 * 1024
"""Longest line; a longer one says nothing about progress."""


class Source(Protocol):
    """Where an attempt's program counts. What lies there is the program's, and nothing about it is trusted."""

    def open(self) -> int:
        """Return a descriptor to read from, which is the caller's. Raises OSError while there is nothing to read."""
        ...

    def begin(self) -> int:
        """Return how many bytes of it attempts before this one have written."""
        ...


class File:
    """`Source` that is a file of the host, in a folder of the attempt's own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> int:
        """Open it, unless it is a link."""
        return os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)

    def begin(self) -> int:
        """It is made anew for each attempt."""
        return 0


class Follower:
    """Reads a source from where it stopped."""

    def __init__(self, source: Source) -> None:
        """Begin where the attempt does."""
        self._source = source
        self._offset: int | None = None
        self._rest = b""
        self.first: int | None = None
        """The first step reported."""
        self.newest: observed.Progress | None = None

    def look(self, now: float) -> None:
        """Read what has come since the last look. `now` is POSIX time in seconds."""
        try:
            descriptor = self._source.open()
        except OSError:
            return
        try:
            offset = self._source.begin() if self._offset is None else self._offset
            if os.fstat(descriptor).st_size < offset:
                offset, self._rest = 0, b""  # the program began the file anew
            data = os.pread(descriptor, MOST, offset)
        except OSError:
            return
        finally:
            os.close(descriptor)
        self._offset = offset + len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-LINE:]
        if self.first is None and (found := _first(lines)):
            self.first = found[0]
        if found := _first(reversed(lines)):
            self.newest = observed.Progress(step=found[0], of=found[1], at=now)


def newest(source: Source) -> int | None:
    """Return the last step that stands in a source now, whichever attempt has told it; None where there is none."""
    try:
        descriptor = source.open()
    except OSError:
        return None
    try:
        begin = max(0, os.fstat(descriptor).st_size - LINE)
        *lines, _ = os.pread(descriptor, LINE, begin).split(b"\n")
    except OSError:
        return None
    finally:
        os.close(descriptor)
    found = _first(reversed(lines))
    return found[0] if found else None


def beneath(root: str, path: str) -> int:
    """Open a plain file below a folder for reading, through no link and into no device, whatever somebody has put there.

    Raises OSError, also for what is no plain file.
    """
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        *above, name = path.split("/")
        for part in above:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                raise OSError(f"{name} is no plain file")
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            os.close(found)
    finally:
        os.close(folder)


def _first(lines: Iterable[bytes]) -> tuple[int, int | None] | None:
    """Return what the first line that says something says. A look is the time of every other attempt: it does not read all."""
    return next(filter(None, map(_read, itertools.islice(lines, LINES))), None)


def _read(line: bytes) -> tuple[int, int | None] | None:
    try:
        value = json.loads(line)
        step, of = value["step"], value.get("of")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return (step, of) if observed.is_count(step) and (of is None or observed.is_count(of)) else None
