"""Something that runs attempts."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from reconciler.core import model, observed, settle, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a target can do."""

    engines: frozenset[model.EngineName]
    """Those by which attempts on it can be saved."""


class Presence(enum.Enum):
    """Whether an attempt can still be running."""

    GONE = "gone"
    PRESENT = "present"
    UNKNOWN = "unknown"


class Target(Protocol):
    """Lists what it owns, applies one attempt, deletes one attempt. Every call is idempotent and has its own deadline.

    Failures of the outside come back as UNKNOWN or `known=False`, never as exceptions.
    """

    def capabilities(self) -> Capabilities:
        """Return what this target can do."""
        ...

    def observe(self, at: float) -> observed.TargetView:
        """Return what the target reports now; `at` is POSIX time in seconds."""
        ...

    def apply(self, assignment: spec.Assignment) -> settle.Outcome:
        """Make one attempt stand as assigned. Its name comes from (run, attempt): an existing one is adopted or changed."""
        ...

    def delete(self, ref: spec.AttemptRef, host: str) -> settle.Outcome:
        """Free what an attempt left, once its outcome is in the ledger. Deleting the absent is success."""
        ...

    def confirm_gone(self, ref: spec.AttemptRef, host: str) -> Presence:
        """Say whether the attempt certainly does not run any more."""
        ...
