"""Output on its way to the store: what the supervisor wrote down is appended there, and then freed here."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from agent import places
from agent.supervisor import output
from reconciler import errors
from reconciler.contracts import store
from reconciler.core import codec, spec
from reconciler.seams import durable

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """How far shipping has come."""

    local: int = 0
    """Bytes of the output that need not be shipped any more."""
    stored: int = 0
    """Length of the log in the store. Differs from `local` once output was lost and a note took its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    start: int
    """How far the output is shipped when nothing of the piece is yet."""
    data: bytes = b""


def shipped(file: Path) -> Shipped:
    """Return how far shipping had come; nowhere where that is not known: what is shipped twice, the store already has."""
    with contextlib.suppress(errors.Damaged):
        if data := durable.read(file):
            return codec.decode(data, Shipped)
    return Shipped()


class Shipper:
    """Ships one attempt's output. The program is never kept waiting: what does not fit on the host is dropped, and said."""

    def __init__(self, place: places.Attempt, ref: spec.AttemptRef) -> None:
        """Continue where the last agent stopped."""
        self._place = place
        self._ref = ref
        self._shipped = shipped(place.shipped)

    def ship(self, to: store.Store) -> bool:
        """Append everything there is; return whether anything was. Raises `errors.Unavailable` when the store cannot."""
        before = self._shipped
        try:
            while (piece := self._next()).data:
                self._append(to, piece)
        finally:
            if self._shipped != before:
                with contextlib.suppress(errors.Unavailable):
                    durable.write_atomic(self._place.shipped, codec.encode(self._shipped))
        self._free()
        return self._shipped != before

    def _append(self, to: store.Store, piece: _Piece) -> None:
        length = to.append_log(self._ref, self._shipped.stored, piece.data)
        if length < self._shipped.stored:
            self._go_on(to, length)
            return
        # Longer than what was just sent: an agent that was killed had sent it, and more, before.
        moved = max(0, length - self._shipped.stored)
        if moved == 0:
            raise errors.Unavailable("the store took no output", where=str(self._ref))
        self._shipped = Shipped(local=min(piece.start + moved, self._end()), stored=length)

    def _go_on(self, to: store.Store, length: int) -> None:
        """Go on at the end of a log that has become shorter in the store, and say there that something is missing."""
        note = f"\n[perdure: {self._shipped.stored - length} bytes of output lost: the store has lost them]\n".encode()
        stored = to.append_log(self._ref, length, note)
        if stored <= length:
            raise errors.Unavailable("the store took no output", where=str(self._ref))
        self._shipped = dataclasses.replace(self._shipped, stored=stored)

    def _next(self) -> _Piece:
        """Return what to ship next; nothing where all is shipped."""
        for start, path in output.segments(str(self._place.logs)):
            if start > self._shipped.local:
                lost = start - self._shipped.local
                note = f"\n[perdure: {lost} bytes of output lost: the store could not take them in time]\n".encode()
                # The note stands for what is lost: shipping it must not move us past bytes that are here.
                return _Piece(start=start - len(note), data=note)
            with contextlib.suppress(FileNotFoundError):  # dropped meanwhile: the next look sees the gap
                size = os.path.getsize(path)
                if start + size > self._shipped.local:
                    with open(path, "rb") as file:
                        file.seek(self._shipped.local - start)
                        return _Piece(start=self._shipped.local, data=file.read(CHUNK))
        return _Piece(start=self._shipped.local)

    def _end(self) -> int:
        known = output.segments(str(self._place.logs))
        return known[-1][0] + os.path.getsize(known[-1][1]) if known else self._shipped.local

    def _free(self) -> None:
        """Remove segments that are shipped as a whole, but for the one that is being written."""
        known = output.segments(str(self._place.logs))
        for (_, path), (following, _) in itertools.pairwise(known):
            if following <= self._shipped.local:
                Path(path).unlink(missing_ok=True)
