"""The one step that comes next for an attempt: what is desired, what is observed, a table. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from agent import due, journal, process, report
from reconciler.core import spec

Presence = process.Presence
Stage = journal.Stage


class Step(enum.Enum):
    """What the controller can be told: one operation, idempotent, its result journalled."""

    PREPARE = "prepare"
    RESTORE = "restore"
    START = "start"
    CHECKPOINT = "checkpoint"
    STOP = "stop"
    WAIT = "wait"
    """Collect the outcome of what has ended."""
    REMOVE = "remove"
    REFUSE = "refuse"
    """Record that it is not started."""
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything the table looks at."""

    entry: journal.Entry
    presence: process.Presence
    busy: bool = False
    """A step of it is still being done."""
    saving: bool = False
    """A checkpoint of it is being taken: other steps may go on beside it."""
    wanted: bool = False
    """A checkpoint is wanted now."""
    holding: bool = False
    """What the program saved before its end cannot be stored yet, and is worth waiting for."""
    leaving: bool = False
    """The host goes away or is drained."""
    rushed: bool = False
    """The host goes away, and others on it are still to be saved."""
    hopeless: str = ""
    """Why starting it is given up."""

    @property
    def gone(self) -> bool:
        """Whether no process of it can be alive."""
        return self.presence in (Presence.ABSENT, Presence.ENDED)

    @property
    def unwanted(self) -> bool:
        """Whether it is to end without waiting for anything."""
        return bool(self.entry.stopping) or self.entry.assignment.want is not spec.Want.RUN

    @property
    def ends_unstarted(self) -> bool:
        """Whether it is to end once it is saved, when there is nothing yet to save."""
        asked = due.unserved(self.entry)
        return asked is not None and (asked.then_stop or asked.purpose is spec.Purpose.STOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One rule: where `when` holds, `step` is next, because of `why`."""

    when: Callable[[Situation], bool]
    step: Step
    why: str


def _at(*stages: journal.Stage) -> Callable[[Situation], bool]:
    return lambda s: s.entry.stage in stages


TABLE = (
    Row(when=lambda s: s.busy, step=Step.REST, why="its last step is not done yet"),
    Row(when=lambda s: s.saving and s.gone, step=Step.REST, why="its last checkpoint is still being stored"),
    Row(
        when=lambda s: s.gone and s.entry.assignment.want is spec.Want.REMOVE and s.rushed,
        step=Step.REST,
        why="others are saved before anything is cleared up",
    ),
    Row(
        when=lambda s: s.gone and s.entry.assignment.want is spec.Want.REMOVE,
        step=Step.REMOVE,
        why="its outcome is in the ledger, and nothing of it runs",
    ),
    Row(
        when=lambda s: s.entry.stage is Stage.ENDED and s.presence is Presence.LIVE,
        step=Step.STOP,
        why="its end is recorded, and yet it runs",
    ),
    Row(when=_at(Stage.ENDED), step=Step.REST, why="its end is recorded"),
    Row(
        when=lambda s: s.presence is Presence.ENDED and s.wanted,
        step=Step.CHECKPOINT,
        why="its program saved before it ended",
    ),
    Row(when=lambda s: s.presence is Presence.ENDED and s.holding, step=Step.REST, why="what it saved cannot be stored yet"),
    Row(when=lambda s: s.presence is Presence.ENDED, step=Step.WAIT, why="its program has ended"),
    Row(when=lambda s: s.presence is Presence.ORPHANED, step=Step.START, why="its supervisor is gone: a new one adopts it"),
    Row(when=lambda s: not s.gone and s.unwanted, step=Step.STOP, why="it is to end"),
    Row(when=lambda s: not s.gone and s.wanted and not s.saving, step=Step.CHECKPOINT, why="a checkpoint is wanted"),
    Row(when=lambda s: not s.gone, step=Step.REST, why="it runs"),
    Row(when=lambda s: s.unwanted or s.ends_unstarted, step=Step.REFUSE, why="it was stopped before it had started"),
    Row(when=lambda s: s.leaving, step=Step.REFUSE, why="the host goes away"),
    Row(when=lambda s: bool(s.hopeless), step=Step.REFUSE, why="it cannot be started"),
    Row(when=_at(Stage.ACCEPTED), step=Step.PREPARE, why="it was accepted"),
    Row(when=_at(Stage.PREPARED), step=Step.RESTORE, why="its folders are ready"),
    Row(
        when=lambda s: report.waits_for_its_engine(s.entry, s.presence),
        step=Step.REST,
        why="its engine creates its container, once the reconciler has asked for it",
    ),
    Row(when=_at(Stage.RESTORED, Stage.STARTED), step=Step.START, why="everything is ready, and nothing runs"),
)
"""First match wins; every situation matches one."""


def decide(situation: Situation) -> Row:
    """Return the row that says what to do next."""
    return next(row for row in TABLE if row.when(situation))
