"""A container's output on its way to this host's own files, from where everything else is the same as for a process.

The engine keeps what was written in one order, each piece with its moment; two streams are read beside each other, so moments
go back now and then. How far we have come is therefore a moment well before the newest piece, and how many of the pieces since
then we have.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent import places, workspace
from agent.containers import seam
from agent.supervisor import mask
from agent.supervisor import output as segments
from reconciler import errors
from reconciler.core import codec, spec
from reconciler.engines import folder as folders
from reconciler.seams import durable

CHUNK = 1 << 20
"""Bytes of one append."""
OVERLAP = 5 * 10**9
"""Nanoseconds by which a piece may be older than one that was written before it."""
AT_ONCE = 50
"""Containers that are asked in a second."""
LONGEST = 4.0
"""Most seconds between two questions for one container's output."""
FILE = "output.json"
"""File beside the journal that says how far we have come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """How far we have come."""

    since: int = 0
    """Moment (nanoseconds) from which the engine is asked."""
    pieces: int = 0
    """How many of the pieces since then we have."""
    end: int = 0
    """Bytes of all pieces that we have."""


class Source(Protocol):
    """What has a container's output: its engine, or the files that it has left."""

    def output(self, container: str, since: int) -> Iterator[seam.Line]:
        """As `seam.Docker.output`."""
        ...


class Calm:
    """Tells when it is worth asking an engine for output: a question costs it more than the program's silence is worth."""

    def __init__(self) -> None:
        self._asked: dict[spec.AttemptRef, tuple[float, tuple[int, int, int] | None]] = {}

    def worth(self, ref: spec.AttemptRef, container: str, root: str, now: float) -> bool:
        """Whether an attempt's container may have something new, at monotonic `now`. Of many each is asked more seldom.

        The engine's own file says whether it has grown, where it can be seen; nothing is read from it.
        """
        at, before = self._asked.get(ref, (-LONGEST, None))
        if now < at + min(max(len(self._asked) / AT_ONCE, 0.0), LONGEST):
            return False
        grown = _mark(root, container)
        if grown is not None and grown == before:
            return False
        self._asked[ref] = now, grown
        return True

    def forget(self, ref: spec.AttemptRef) -> None:
        """Let go of an attempt."""
        self._asked.pop(ref, None)


def _mark(root: str, container: str) -> tuple[int, int, int] | None:
    """Return what changes whenever the engine writes output down; None where that cannot be seen."""
    try:
        status = os.stat(f"{root}/containers/{container}/{container}-json.log")
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class Pump:
    """Appends one container's output to its segments. One thread at a time."""

    def __init__(self, place: places.Attempt, secrets: Iterable[str] = (), *, continued: bool = False) -> None:
        """Continue where the last agent stopped. None of the values of `secrets` is written down.

        `continued`: the output begins where that of another attempt was cut, perhaps in the middle of a line.
        """
        self._place = place
        self._secrets = tuple(secrets)
        self._continued = continued
        self._file: Path = place.private / FILE
        place.logs.mkdir(mode=0o700, exist_ok=True)
        self._read = Read()
        with contextlib.suppress(errors.Damaged):
            if data := durable.read(self._file):
                self._read = codec.decode(data, Read)
        self._ahead = _end(place.logs) - self._read.end
        """Bytes that were appended before an agent was killed that had not written it down."""
        if self._ahead < 0:  # a crash of the machine took bytes: all of it is read again, and the store keeps what it has
            folders.discard(place.logs)
            place.logs.mkdir(mode=0o700)
            place.shipped.unlink(missing_ok=True)
            self._read, self._ahead = Read(), 0
        self._to = segments.Output(str(place.logs), workspace.SEGMENT, workspace.SEGMENTS)

    def run(self, source: Source, container: str, *, over: bool) -> None:
        """Append what there is now, in whole lines unless it is `over`. Raises `errors.Unavailable`."""
        before = self._read
        moments: list[int] = []  # of the pieces since `since` that we have
        try:
            for pieces in _groups(source.output(container, before.since), before.pieces, moments, over):
                self._append(pieces, moments, over)
        finally:
            if self._read != before:
                durable.write_atomic(self._file, codec.encode(self._read))

    def _append(self, pieces: list[seam.Line], moments: list[int], over: bool) -> None:
        # A group ends with a line, and a secret is masked line by line: only a checkpoint cuts one in two.
        hidden = mask.Mask(self._secrets)
        written = b"".join(piece.data for piece in pieces)
        if self._continued and self._read.end == 0:
            written = hidden.joined(written)
        data = hidden.feed(written) + hidden.rest(cut=over)
        known = min(self._ahead, len(data))
        self._to.append(data[known:])
        self._ahead -= known
        moments.extend(piece.at for piece in pieces)
        since = max(self._read.since, max(moments) - OVERLAP)
        moments[:] = [moment for moment in moments if moment >= since]
        self._read = Read(since=since, pieces=len(moments), end=self._read.end + len(data))


def _end(logs: Path) -> int:
    known = segments.segments(str(logs))
    return known[-1][0] + os.path.getsize(known[-1][1]) if known else 0


def _groups(found: Iterator[seam.Line], known: int, moments: list[int], over: bool) -> Iterator[list[seam.Line]]:
    """Yield what is new in groups of about `CHUNK` bytes; the moments of the first `known` pieces go into `moments`.

    A group ends with a line, except where one is longer than a group, and the last one where it is `over`: else the beginning
    of a line waits for the rest of it.
    """
    size = 0
    group: list[seam.Line] = []
    for number, piece in enumerate(found):
        if number < known:
            moments.append(piece.at)
            continue
        group.append(piece)
        size += len(piece.data)
        if size >= CHUNK and (piece.data.endswith(b"\n") or size >= 2 * CHUNK):
            yield group
            size, group = 0, []
    while group and not over and not group[-1].data.endswith(b"\n"):
        group.pop()
    if group:
        yield group
