"""Which checkpoint an attempt needs next, and what follows from one that was taken or failed. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from agent import journal
from reconciler.contracts import engine
from reconciler.core import model, observed, spec

CHECKPOINT = "checkpoint"
"""Subject of the conditions made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the agent knows about an attempt besides its entry. Times are monotonic seconds."""

    now: float
    posix: float
    interval: float | None
    """Seconds between timer checkpoints; None: no timer."""
    safe_at: float
    """When its newest checkpoint was taken; without one, when it (or this agent) began."""
    retry_at: float = 0.0
    """No checkpoint of our own will before this."""
    saved: bool = False
    """The program has saved something that was not taken yet."""
    over: bool = False
    """The program has ended: only what it saved can still be taken."""


def request(entry: journal.Entry, host: journal.Host, moment: Moment) -> spec.Request | None:
    """Return the checkpoint to take now; None: none.

    First what lies ready, so that what is asked for next is newer; then what the reconciler asks; then the host's own reasons.
    """
    if entry.spec.checkpoint.engine is model.EngineName.NONE:
        return None
    waits = moment.now < moment.retry_at
    if moment.saved and not waits:
        return spec.Request(id=f"saved-{moment.posix:.3f}", purpose=spec.Purpose.SAVED)
    if moment.over:
        return None
    if asked := unserved(entry):
        return asked
    if waits or entry.stopping:
        return None
    return _leaving(entry, host, moment) or _timer(entry, moment)


def unserved(entry: journal.Entry) -> spec.Request | None:
    """Return what the reconciler asks and was not taken or given up."""
    asked = entry.assignment.request
    return asked if asked is not None and asked.id not in entry.served else None


OVERTIME = 10.0
"""Seconds that a checkpoint under way is given beyond a notice's deadline: machines are often there a little longer, and what
is nearly stored is worth more than a program's next seconds. After that the machine seems to stay, and the program goes on."""

_NOTICE = "notice-"


def noticed(asked: spec.Request) -> bool:
    """Whether it is for a notice: with the deadline after which the machine may be gone."""
    return asked.purpose is spec.Purpose.NOTICE and asked.id.startswith(_NOTICE)


PRIOR = 1.0
"""Seconds that a checkpoint is assumed to take before one of the attempt was measured."""


def worth(entry: journal.Entry, unsaved: float, asked: spec.Request) -> float:
    """Return what a checkpoint saves for each second that it takes: where the time cannot hold all, the best come first.

    `unsaved` are the seconds of work that ending it without a checkpoint would lose. One that took longer than a notice leaves
    comes after all that did not: it is tried where nobody else wants the time.
    """
    measured = [taken.seconds for taken in entry.checkpoints[-3:] if taken.seconds > 0]
    takes = max(max(measured, default=PRIOR), 0.05)
    if measured and noticed(asked) and takes > asked.deadline:
        return -takes / max(unsaved, 0.05)
    return unsaved / takes


def with_taken(entry: journal.Entry, taken: tuple[observed.Taken, ...]) -> journal.Entry:
    """Return the entry with these checkpoints too, oldest first, the newest of them kept.

    Each follows its parent: a clock that was set back must not make an old checkpoint the newest. The clock decides only
    between children of one parent, of which an agent that was killed had not written down the first.
    """
    ordered = list(entry.checkpoints)
    for one in taken:
        digests = [each.digest for each in ordered]
        if one.digest in digests:
            continue
        if one.parent in digests:
            place = digests.index(one.parent) + 1
            while place < len(ordered) and ordered[place].parent == one.parent and ordered[place].taken_at <= one.taken_at:
                place += 1
        else:
            place = sum(each.taken_at <= one.taken_at for each in ordered)
        ordered.insert(place, one)
    return dataclasses.replace(entry, checkpoints=tuple(ordered)[-journal.MOST_CHECKPOINTS :])


def _leaving(entry: journal.Entry, host: journal.Host, moment: Moment) -> spec.Request | None:
    policy = entry.spec.checkpoint
    if model.Occasion.NOTICE not in policy.on:
        return None
    if host.notice is not None:
        left = host.notice.deadline - moment.posix
        name = f"{_NOTICE}{host.notice.deadline:.3f}"
        if left <= 0 or name in entry.served:
            return None
        return spec.Request(
            id=name,
            purpose=spec.Purpose.NOTICE,
            reason=host.notice.reason or "the host goes away",
            deadline=left,
            then_stop=True,
        )
    if host.draining:
        return spec.Request(
            id=f"drain-{moment.posix:.3f}",
            purpose=spec.Purpose.NOTICE,
            reason="the host is drained",
            deadline=policy.deadline,
            then_stop=True,
        )
    return None


def _timer(entry: journal.Entry, moment: Moment) -> spec.Request | None:
    if moment.interval is None or moment.now < moment.safe_at + moment.interval:
        return None
    return spec.Request(
        id=f"timer-{moment.posix:.3f}",
        purpose=spec.Purpose.TIMER,
        reason="the interval has passed",
        deadline=entry.spec.checkpoint.deadline,
    )


def after(entry: journal.Entry, asked: spec.Request, outcome: engine.Captured | engine.Failed, posix: float) -> journal.Entry:
    """Return the entry once a checkpoint was taken or has failed.

    Failed: a stop stops all the same; what a person or a plan asked for is reported as given up; everything else is a
    condition, and in every case but the stop the program runs on, unharmed.
    """
    conditions = {name: text for name, text in entry.conditions.items() if name != CHECKPOINT}
    digest, detail = "", ""
    match outcome:
        case engine.Captured(taken=taken):
            if taken.digest not in {each.digest for each in entry.checkpoints}:
                entry = dataclasses.replace(entry, checkpoints=(*entry.checkpoints, taken)[-journal.MOST_CHECKPOINTS :])
            digest = taken.digest
        case engine.Failed(reason=reason):
            detail = reason.replace("\n  ", ". ")
            conditions[CHECKPOINT] = f"the {asked.purpose.value} checkpoint failed: {detail}"
    entry = dataclasses.replace(entry, conditions=conditions)
    if asked.purpose in (spec.Purpose.SAVED, spec.Purpose.TIMER) or (asked.purpose is spec.Purpose.NOTICE and not digest):
        return entry
    entry = dataclasses.replace(entry, served=(*entry.served, asked.id)[-journal.MOST_SERVED :])
    if entry.assignment.request is not None and entry.assignment.request.id == asked.id:
        report = observed.RequestReport(id=asked.id, done=True, digest=digest, detail=detail, at=posix)
        entry = dataclasses.replace(entry, request=report)
    if asked.purpose is spec.Purpose.STOP or (digest and asked.then_stop):
        entry = dataclasses.replace(entry, stopping=entry.stopping or asked.reason or asked.purpose.value)
    return entry
