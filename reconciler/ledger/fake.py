"""A ledger in memory with the same compare-and-swap as the real one, and faults on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from reconciler import errors
from reconciler.contracts.ledger import Change, Committed, Conflict, Snapshot
from reconciler.core import codec, record
from reconciler.ledger import notes, wire


class FakeLedger:
    """`contracts.ledger.Ledger` in memory. Several reconcilers share one object: it stands for the server."""

    def __init__(self, instance: str = "default") -> None:
        self._instance = instance
        self._lock = threading.RLock()
        self._snapshot = Snapshot()
        self._notes: dict[str, bytes] = {}
        self._moved: dict[str, bytes] = {}
        self._conflicts = 0
        self._lost = 0
        self._down = ""
        self.changes: list[Change] = []
        """Every change that was written, oldest first."""
        self.before_append: Callable[[Change], None] = lambda _: None
        """Called when an append begins; may raise, as if the process had died there."""
        self.after_append: Callable[[Change], None] = lambda _: None
        """Called when the change is on the server and the answer is not yet here."""

    def reject(self, times: int = 1) -> None:
        """Reject the next appends, as if somebody else had been first."""
        self._conflicts += times

    def lose_answer(self, times: int = 1) -> None:
        """Write the next appends but report a conflict."""
        self._lost += times

    def break_off(self, detail: str = "the repository does not answer") -> None:
        """Let everything fail until `mend`."""
        self._down = detail

    def mend(self) -> None:
        """Let everything succeed again."""
        self._down = ""

    def scribble(self, revision: str, line: str) -> None:
        """Add another writer's line to a note."""
        self._notes[revision] = self._notes.get(revision, b"") + line.encode() + b"\n"

    def read(self) -> Snapshot:
        """Return the newest state."""
        with self._lock:
            if self._down:
                raise errors.Unavailable(self._down, where="the ledger", remedy="Try again.")
            return self._snapshot

    def append(self, snapshot: Snapshot, change: Change) -> Committed | Conflict:
        """Write `change` if `snapshot` is the newest state."""
        if change.empty():
            return Committed(snapshot=snapshot)
        self.before_append(change)
        with self._lock:
            if self._down:
                return Conflict(detail=self._down)
            if self._conflicts:
                self._conflicts -= 1
                return Conflict(detail="somebody else was first", rival="another process")
            if snapshot.head != self._snapshot.head:
                return Conflict(detail="the state has moved on since it was read", rival="another process")
            self._write(change)
            committed = self._snapshot
        self.after_append(change)
        if self._lost:
            self._lost -= 1
            return Conflict(detail="git was killed before it had answered")
        return Committed(snapshot=committed)

    def notes(self, revision: str) -> tuple[record.Line, ...]:
        """Return our lines on a revision, oldest first."""
        return notes.parse(self._moved.get(revision, b"") + self._notes.get(revision, b""))

    def noted(self) -> tuple[str, ...]:
        """Return the revisions that have a note."""
        return tuple(self._notes)

    def note(self, revision: str) -> str:
        """Return a note as people see it."""
        return self._notes.get(revision, b"").decode()

    def _write(self, change: Change) -> None:
        for revision, lines in change.notes.items():
            added = [wire.encode_line(line) for line in lines]
            composed = notes.compose(self._notes.get(revision, b""), added, revision, self._instance)
            self._notes[revision] = composed.note
            self._moved[revision] = self._moved.get(revision, b"") + composed.moved
        before = self._snapshot
        # Through the codec, as on the way to a repository and back: what cannot be written must not work here either.
        stored = [codec.decode(codec.encode(one), record.Record) for one in change.records]
        self._snapshot = replace(
            before,
            head=f"{len(self.changes) + 1:040x}",
            records={**before.records, **{one.run: one for one in stored}},
            joins={**before.joins, **{one.token: one for one in change.joins}},
            revoked=before.revoked if change.revoked is None else change.revoked,
            observed=before.observed if change.observed is None else change.observed,
            instance=before.instance if change.instance is None else dict(change.instance),
        )
        self.changes.append(change)
