"""From outcomes to the ledger: what the plan's actions did, where the next observation would not tell by itself."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.core import action, observed, record, transition


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
    digests: tuple[str, ...] = ()
    """For PRUNE: checkpoints that are deleted now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What is left to record after applying."""

    records: Mapping[str, record.Record] = field(default_factory=dict)
    lines: tuple[record.Line, ...] = ()


PRUNED = (Result.CHANGED, Result.UNCHANGED, Result.DELETED)
"""Answers of a store that has the tombstones now; after any other it may not."""


def settle(records: Mapping[str, record.Record], outcomes: Iterable[tuple[action.Action, Outcome]], now: float) -> Settled:
    """Return the records that the outcomes change. A refused start ends its attempt; a prune has a first and a second phase."""
    changed: dict[str, record.Record] = {}
    lines: list[record.Line] = []
    for act, outcome in outcomes:
        run = changed.get(act.run) or records.get(act.run)
        if run is None:
            continue
        if act.verb is action.Verb.PRUNE and outcome.result in PRUNED:
            after = _pruned(run, act, outcome, now)
            if after != run:
                changed[run.run] = after
        elif outcome.result is Result.REFUSED and _begins(act, run):
            changed[run.run], line = _refused(run, outcome.detail, now)
            lines.append(line)
    return Settled(records=changed, lines=tuple(lines))


def _begins(act: action.Action, run: record.Record) -> bool:
    """Whether the action was to begin the attempt that is the run's live one now."""
    return act.verb in (action.Verb.START, action.Verb.RESTORE) and run.live is not None and run.live.number == act.attempt


def _pruned(run: record.Record, act: action.Action, outcome: Outcome, now: float) -> record.Record:
    kept = (saved for saved in run.checkpoints if saved.taken.digest not in outcome.digests)
    return dataclasses.replace(run, checkpoints=tuple(_marked(saved, act, now) for saved in kept))


def _marked(saved: record.Saved, act: action.Action, now: float) -> record.Saved:
    if saved.taken.digest in act.keep:
        return dataclasses.replace(saved, tombstoned_at=None)
    if saved.taken.digest in act.digests and saved.tombstoned_at is None:
        return dataclasses.replace(saved, tombstoned_at=now)
    return saved


def _refused(run: record.Record, detail: str, now: float) -> tuple[record.Record, record.Line]:
    """The target answered no: the attempt never began, and asking the same again would not help."""
    exit = observed.Exit(kind=observed.ExitKind.NOT_STARTED, detail=detail, fatal=True)
    attempt = dataclasses.replace(
        run.attempts[-1], ending=record.Ending.FAILED, exit=exit, ended_at=now, failure="StartRefused", detail=detail
    )
    after = dataclasses.replace(
        run, attempts=(*run.attempts[:-1], attempt), phase=record.Phase.FAILED, reason="Failed", ended_at=now, pending=None
    )
    text = f"Attempt {attempt.number} of {transition.name(run)} was refused by {attempt.target}: {detail}."
    return after, transition.line(after, "failed", text, now, failure="StartRefused")
