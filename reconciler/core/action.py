"""What a plan consists of: verbs in the imperative, each action with its reason as a sentence."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core import classify, record, spec


class Verb(enum.Enum):
    """Everything the loop can do to a run."""

    START = "start"
    RESTORE = "restore"
    UPDATE = "update"
    CHECKPOINT = "checkpoint"
    STOP = "stop"
    REMOVE = "remove"
    PRUNE = "prune"
    REFUSE = "refuse"
    WAIT = "wait"
    KEEP = "keep"


class Effect(enum.Enum):
    """What the action means to a reader of the plan: the counts of the summary line."""

    CREATE = "create"
    CHANGE = "change"
    REPLACE = "replace"
    DELETE = "delete"
    REFUSE = "refuse"
    UNCHANGED = "unchanged"


SYMBOLS: Mapping[Effect, str] = {
    Effect.CREATE: "+",
    Effect.CHANGE: "~",
    Effect.REPLACE: "-/+",
    Effect.DELETE: "-",
    Effect.REFUSE: "!",
    Effect.UNCHANGED: " ",
}

ACTING = (Verb.START, Verb.RESTORE, Verb.UPDATE, Verb.CHECKPOINT, Verb.STOP, Verb.REMOVE, Verb.PRUNE)
"""Verbs that touch something outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An amount of a job's work; None where it cannot be told."""

    steps: int | None = None
    seconds: float | None = None


NOTHING = Work()


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do, or a stated reason for doing nothing, for one run."""

    verb: Verb
    effect: Effect = Effect.UNCHANGED
    tenant: str
    job: str
    replica: int = 0
    run: str = ""
    attempt: int | None = None
    target: str = ""
    host: str = ""
    reason: str
    """Name of a row of `reasons.TABLE`."""
    sentence: str
    """The evidence, in full words."""
    changes: tuple[classify.FieldChange, ...] = ()
    lost: Work = NOTHING
    """Work that this action throws away."""
    saved: Work = NOTHING
    """Work that a checkpoint keeps."""
    assignment: spec.Assignment | None = None
    """What the target is asked to make true, for verbs that go to a target."""
    digests: tuple[str, ...] = ()
    """For PRUNE: the checkpoints to delete; for RESTORE: the one to continue from."""
    keep: tuple[str, ...] = ()
    """For PRUNE: the checkpoints whose tombstones are taken back."""
    store: str = ""

    @property
    def acts(self) -> bool:
        """Whether it touches anything outside."""
        return self.verb in ACTING

    @property
    def reviewed(self) -> bool:
        """Whether a saved plan stands or falls with it: it changes something, or is refused.

        To forget an attempt that is over and recorded is no change to anybody, and comes and goes between two observations.
        """
        return (self.acts and self.verb is not Verb.REMOVE) or self.effect is Effect.REFUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All actions of one pass, and the ledger as it must stand before any of them is carried out."""

    revision: str
    actions: tuple[Action, ...]
    records: Mapping[str, record.Record] = field(default_factory=dict)
    """Records that differ from the ledger: absorbed observations and intents."""
    lines: tuple[record.Line, ...] = ()
    """Transitions to note on the revision."""
    wake_at: float | None = None
    """POSIX time at which the plan may change by itself."""
    digest: str = ""

    def summary(self) -> Mapping[Effect, int]:
        """Return how many actions have each effect."""
        counts = dict.fromkeys(Effect, 0)
        for action in self.actions:
            counts[action.effect] += 1
        return counts
