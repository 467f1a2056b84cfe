"""Something that runs attempts."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from reconciler.core import model, observed, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a target can do, so that core needs no branch per target."""

    kind: str
    """hosts, swarm, kubernetes: the column of the field class table."""
    engines: frozenset[model.EngineName]
    places_itself: bool = False
    """The engine chooses the host; otherwise the plan does."""


class Result(enum.Enum):
    """What an action did, in the past tense."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    SKIPPED = "skipped"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to one action. UNKNOWN: asked, but no answer; the next observation tells."""

    result: Result
    detail: str = ""


class Presence(enum.Enum):
    """Whether an attempt can still be running."""

    GONE = "gone"
    PRESENT = "present"
    UNKNOWN = "unknown"


class Target(Protocol):
    """Lists what it owns, applies one attempt, deletes one attempt. Every call is idempotent and bounded by a deadline of its own.

    Failures of the outside come back as UNKNOWN or `known=False`, never as exceptions.
    """

    def capabilities(self) -> Capabilities:
        """Return what this target can do."""
        ...

    def observe(self, at: float) -> observed.TargetView:
        """Return what the target reports now; `at` is POSIX time in seconds."""
        ...

    def apply(self, assignment: spec.Assignment) -> Outcome:
        """Make one attempt stand as assigned. Its name comes from (run, attempt): an existing one is adopted or changed."""
        ...

    def delete(self, ref: spec.AttemptRef, host: str) -> Outcome:
        """Free what an attempt left, once its outcome is in the ledger. Deleting the absent is success."""
        ...

    def confirm_gone(self, ref: spec.AttemptRef, host: str) -> Presence:
        """Say whether the attempt certainly does not run any more."""
        ...
