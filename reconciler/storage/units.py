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
FEW = 16
"""A piece of which less than such a part occurs again is stored as it is: to copy the rest would cost more than that saves."""


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


def examine(piece: Piece, salt: digests.Salt, base: parent.Parent | None) -> Examined | None:
    """Hash a piece and compare it with the parent's, under the parent's salt; None when it is all zeros."""
    data = piece.data
    if data == _ZEROS[: len(data)]:
        return None
    found, changed, runs = parent.whole(data, salt) if base is None else base.compare(piece.file.entry.path, piece.first, data)
    if salt.zero in found.units:
        single = digests.split(found.units)
        changed = [number for number in changed if single[number] != salt.zero]
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
        single = digests.split(found.digests.units)
        wanted = {single[number] for number in found.new}
        places = self._repeats.known(wanted)
        fresh, again = found.new, list[int]()
        if places or len(wanted) < len(found.new):
            fresh, again = _apart(found.new, single, set(places))
        if len(again) * FEW < len(found.new):
            fresh, again = found.new, []
        self.new_units += len(fresh)
        self.reused_units += len(again) + sum(run.count for run in runs)
        self._store(found.piece, single, fresh, runs)
        if again:
            places = self._repeats.known({single[number] for number in again} - places.keys()) | places
            _add(runs, again, [places[single[number]] for number in again])
        runs.sort(key=_start)
        self._index.add(found.piece.file, Span(found.piece.first, found.digests, runs))

    def finish(self) -> None:
        """Hand out the last frame."""
        if self._frame:
            self._send(self._frame)

    def _store(self, piece: Piece, single: list[bytes], numbers: list[int], runs: list[Run]) -> None:
        """Put units of a piece into frames; add to `runs` where they will lie."""
        if len(numbers) == packs.UNITS:  # a frame of its own, uncopied; the one that fills slowly waits
            ticket = Ticket()
            self._repeats.add(single, ticket, 0)
            runs.append(Run(0, packs.UNITS, ticket, 0))
            self._emit(ticket, piece.data)
            self._repeats.next_frame()
            return
        view = memoryview(piece.data)
        while numbers:
            at = len(self._frame) // UNIT
            these, numbers = numbers[: packs.UNITS - at], numbers[packs.UNITS - at :]
            self._repeats.add([single[number] for number in these], self._ticket, at)
            for start, count in parent.consecutive(these):
                self._frame += view[start * UNIT : (start + count) * UNIT]
                runs.append(Run(start, count, self._ticket, at))
                at += count
            if at == packs.UNITS:
                self._send(self._frame)

    def _send(self, frame: Bytes) -> None:
        self._emit(self._ticket, frame)
        self._repeats.next_frame()
        self._ticket = Ticket()
        self._frame = bytearray()


def _apart(numbers: list[int], single: list[bytes], known: set[bytes]) -> tuple[list[int], list[int]]:
    """Return the units that must be stored, and those that are known or occur before in the same piece."""
    fresh, again = list[int](), list[int]()
    for number in numbers:
        digest = single[number]
        if digest in known:
            again.append(number)
        else:
            known.add(digest)
            fresh.append(number)
    return fresh, again


def _add(runs: list[Run], numbers: list[int], places: list[repeats.Place]) -> None:
    """Append where units lie; those that follow each other in the piece and in the frame are one run."""
    last = Run(-1, 0, Ticket(), 0)
    for number, (ticket, at) in zip(numbers, places, strict=True):
        if last.source is ticket and last.start + last.count == number and last.at + last.count == at:
            last.count += 1
        else:
            last = Run(number, 1, ticket, at)
            runs.append(last)


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
