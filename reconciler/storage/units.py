"""From the extents of files to frames: cut into pieces, hash, leave out zeros, what the parent has and repeats, gather.

This is the way that every byte of a checkpoint goes. Pieces of up to 1 MiB are examined side by side and gathered in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from reconciler.contracts import store
from reconciler.storage import digests, index, packs, parent, repeats
from reconciler.storage.digests import Bytes
from reconciler.storage.index import Listed, Run, Span, Ticket

UNIT = store.UNIT
_ZEROS = bytes(packs.LARGEST)
_start = attrgetter("start")


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole units of one file, at most `packs.UNITS` of them."""

    file: Listed
    first: int
    data: Bytes


@dataclass(frozen=True, slots=True)
class Examined:
    """A piece that is not all zeros: its digests, which units must be stored, and where the parent has the others."""

    piece: Piece
    digests: digests.Digests
    new: list[int]
    runs: list[Run]


def examine(piece: Piece, base: parent.Parent | None) -> Examined | None:
    """Hash a piece and compare it with the parent's; None when it is all zeros."""
    data = piece.data
    if data == _ZEROS[: len(data)]:
        return None
    found, changed, runs = parent.whole(data) if base is None else base.compare(piece.file.entry.path, piece.first, data)
    if digests.ZERO_UNIT in found.units:
        single = digests.split(found.units)
        changed = [number for number in changed if single[number] != digests.ZERO_UNIT]
    return Examined(piece, found, changed, runs)


class Gatherer:
    """Turns examined pieces into spans of the index and full frames, in order. For one thread."""

    def __init__(self, writer: index.IndexWriter, emit: Callable[[Ticket, Bytes], None]) -> None:
        self._index = writer
        self._emit = emit
        self._ticket = Ticket()
        self._frame = bytearray()
        self._repeats = repeats.Repeats()
        self.new_units = 0
        self.reused_units = 0

    def take(self, found: Examined) -> None:
        """Account for one piece."""
        runs = list(found.runs)
        self.reused_units += sum(run.count for run in runs)
        single = digests.split(found.digests.units)
        if self._repeats.none([single[number] for number in found.new]):
            for start, count in parent.consecutive(found.new):
                self._store(found.piece, single[start : start + count], start, runs)
        else:
            for number in found.new:
                place = self._repeats.find(single[number])
                if place is None:
                    self._store(found.piece, [single[number]], number, runs)
                else:
                    self.reused_units += 1
                    _add(runs, Run(number, 1, *place))
        runs.sort(key=_start)
        self._index.add(found.piece.file, Span(found.piece.first, found.digests, runs))

    def finish(self) -> None:
        """Hand out the last frame."""
        if self._frame:
            self._send(self._frame)

    def _store(self, piece: Piece, single: list[bytes], start: int, runs: list[Run]) -> None:
        """Put the units with these digests, from `start` of the piece on, into frames; add to `runs` where they will lie."""
        self.new_units += len(single)
        if len(single) == packs.UNITS and not self._frame:  # uncopied
            self._repeats.add(single, self._ticket, 0)
            runs.append(Run(start, packs.UNITS, self._ticket, 0))
            self._send(piece.data)
            return
        while single:
            at = len(self._frame) // UNIT
            fits = min(len(single), packs.UNITS - at)
            self._frame += memoryview(piece.data)[start * UNIT : (start + fits) * UNIT]
            self._repeats.add(single[:fits], self._ticket, at)
            _add(runs, Run(start, fits, self._ticket, at))
            start, single = start + fits, single[fits:]
            if len(self._frame) == packs.LARGEST:
                self._send(self._frame)

    def _send(self, frame: Bytes) -> None:
        self._emit(self._ticket, frame)
        self._repeats.next_frame()
        self._ticket = Ticket()
        self._frame = bytearray()


def _add(runs: list[Run], run: Run) -> None:
    """Append a run, to the last one where it only goes on."""
    last = runs[-1] if runs else None
    if last and last.source is run.source and last.start + last.count == run.start and last.at + last.count == run.at:
        last.count += run.count
    else:
        runs.append(run)


class Cutter:
    """Cuts extents into pieces at multiples of 1 MiB, so that an image's pieces and its parent's have the same bounds.

    Data that is already such a piece is passed on uncopied.
    """

    def __init__(self, emit: Callable[[Piece], None]) -> None:
        self._emit = emit
        self._file: Listed | None = None
        self._end = 0
        self._data = bytearray()

    def extent(self, file: Listed, offset: int, data: bytes | memoryview) -> None:
        """Add bytes of a file at `offset`, a multiple of the unit."""
        if file is not self._file or offset != self._end:
            self.flush()
        self._file = file
        if isinstance(data, bytes) and len(data) == packs.LARGEST and offset % packs.LARGEST == 0:
            self._emit(Piece(file, offset // UNIT, data))
            self._end = offset + len(data)
            return
        rest = memoryview(data).cast("B")
        while rest:
            part = rest[: packs.LARGEST - offset % packs.LARGEST]
            self._data += part
            offset, rest = offset + len(part), rest[len(part) :]
            self._end = offset
            if offset % packs.LARGEST == 0:
                self.flush()

    def flush(self) -> None:
        """Pass on what has gathered; the last unit of a file is filled up with zeros."""
        if self._data and self._file is not None:
            first = (self._end - len(self._data)) // UNIT
            self._data += bytes(-len(self._data) % UNIT)
            self._emit(Piece(self._file, first, self._data))
            self._data = bytearray()
