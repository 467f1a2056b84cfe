"""The record of runs and attempts, and the notes people read. The push is the lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.core import record


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The ledger at one commit. `head` is empty before the first append."""

    head: str = ""
    records: Mapping[str, record.Record] = field(default_factory=dict)
    """By run."""
    joins: Mapping[str, record.Join] = field(default_factory=dict)
    """By the token's SHA-256."""
    revoked: tuple[str, ...] = ()
    """Hosts whose certificates are refused."""
    observed: bytes = b""
    """The published observation (`observed.json`), empty before the first."""
    instance: Mapping[str, str] = field(default_factory=dict)
    """State of the instance itself: last revision applied, EmptyDesired, HistoryRewritten, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one append writes: all of it or nothing."""

    records: tuple[record.Record, ...] = ()
    joins: tuple[record.Join, ...] = ()
    revoked: tuple[str, ...] | None = None
    observed: bytes | None = None
    instance: Mapping[str, str] | None = None
    notes: Mapping[str, tuple[record.Line, ...]] = field(default_factory=dict)
    """Lines to add to the note of each revision, in order."""
    message: str = "perdure: state"

    def empty(self) -> bool:
        """Return whether there is nothing to write."""
        return not (
            self.records
            or self.joins
            or self.notes
            or self.revoked is not None
            or self.observed is not None
            or self.instance is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The change is on the server; `snapshot` is the ledger with it."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Nothing was written: another process was first, or the server refused. Read again and plan again."""

    detail: str
    rival: str = ""
    """Who wrote instead, from its commit, where that can be told."""


class Ledger(Protocol):
    """`refs/perdure/state/<instance>` and `refs/notes/perdure/<instance>` of one repository.

    Never pushes with force; state and notes go in one atomic push; other writers' note lines survive.
    """

    def read(self) -> Snapshot:
        """Return the newest state on the server.

        Raises `errors.Unavailable` when it cannot be read, `errors.Damaged` when it is not ours.
        """
        ...

    def append(self, snapshot: Snapshot, change: Change) -> Committed | Conflict:
        """Write `change` on top of `snapshot`. A lost answer counts as a conflict: the next read tells."""
        ...

    def notes(self, revision: str) -> tuple[record.Line, ...]:
        """Return the lines noted on a revision, oldest first."""
        ...

    def noted(self) -> tuple[str, ...]:
        """Return the revisions that have a note, in no order. Raises as `read`."""
        ...
