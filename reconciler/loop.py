"""The loop: the stages of one pass in order, on one screen.

Level-triggered and crash-only: a wake-up carries no payload, the newest state wins, and killing the process between any two
lines of `once` and starting again converges. No process starts before its intent's push is accepted.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from reconciler import annotate, apply, desire, errors, observe
from reconciler.contracts import clock, ledger, source
from reconciler.core import action, facts, identity, model, observed, plan, record, resting, settle, situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything outside, and where time and jitter come from."""

    instance: str
    clock: clock.Clock
    source: source.Source
    load: desire.Load
    ledger: ledger.Ledger
    observer: observe.Observer
    applier: apply.Applier
    budgets: situation.Budgets
    jitter: Callable[[], float]
    """Returns a number in [0, 1)."""


class Standing(enum.Enum):
    """How a pass ended."""

    DONE = "done"
    SUPERSEDED = "superseded"
    """Another process wrote to the ledger first: read again and plan again."""
    MOVED = "moved"
    """The plan is not the one that was expected: nothing was recorded or done."""
    BLOCKED = "blocked"
    """There is nothing to act on: no revision, an invalid one, or no ledger. Everything stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass did, for whoever shows or waits."""

    standing: Standing
    at: float
    revision: str = ""
    notice: str = ""
    """What is in the way of acting on the newest revision."""
    remark: str = ""
    """Something the source says once."""
    desired: model.Desired | None = None
    plan: action.Plan | None = None
    world: observed.World | None = None
    records: Mapping[str, record.Record] = field(default_factory=dict)
    outcomes: tuple[tuple[action.Action, settle.Outcome], ...] = ()
    lines: tuple[record.Line, ...] = ()
    """Transitions that this pass has noted."""
    wake_at: float | None = None
    rival: str = ""
    """Who wrote to the ledger instead, where that can be told."""


class Loop:
    """Keeps each declared job running to its end. Holds nothing that a restart could not read again."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._desires = desire.Desires(parts.source, parts.load)
        self._recorder = annotate.Recorder(parts.ledger)
        self._wanted: facts.Wanted | None = None
        self._resting: resting.Resting = {}

    def once(self, expected: str = "") -> Pass:
        """Make one pass. Never raises for anything that a server, a host or a manifest does.

        With `expected` only a plan of that digest is recorded and carried out.
        """
        parts, now = self._parts, self._parts.clock.now()
        try:
            snapshot = parts.ledger.read()
        except errors.PerdureError as error:
            return Pass(standing=Standing.BLOCKED, at=now, notice=str(error))
        wish = self._desires.wish(snapshot.instance.get("revision", ""))
        desired = wish.desired
        if desired is None:
            return Pass(standing=Standing.BLOCKED, at=now, notice=wish.notice)
        self._wanted = facts.wanted(parts.instance, desired, self._wanted)
        subject = observe.Subject(
            desired=desired, wanted=self._wanted, records=snapshot.records, now=now, monotonic=parts.clock.monotonic()
        )
        named = identity.ledger(snapshot.instance.get("ledger", ""), snapshot.head, desired.revision, now)
        given = self._facts(subject, parts.observer.observe(subject), named)
        planned, self._resting = plan.follow(given, self._resting)
        seen = Pass(
            standing=Standing.MOVED,
            at=now,
            desired=desired,
            plan=planned,
            world=given.world,
            notice=wish.notice,
            remark=wish.remark,
        )
        if expected and planned.digest != expected:
            return seen
        recorded = self._recorder.record(snapshot, given, planned.records, planned.lines, wish.notice)
        if isinstance(recorded, ledger.Conflict):
            return replace(seen, standing=Standing.SUPERSEDED, notice=recorded.detail, rival=recorded.rival)
        outcomes = tuple(parts.applier.carry_out(planned, recorded.records, desired, now))
        settled = settle.settle(recorded.records, outcomes, now)
        annotated = self._recorder.record(recorded, given, settled.records, settled.lines, wish.notice)
        told = not isinstance(annotated, ledger.Conflict)
        return replace(
            seen,
            standing=Standing.DONE,
            revision=desired.revision,
            records=(annotated if isinstance(annotated, ledger.Snapshot) else recorded).records,
            outcomes=outcomes,
            lines=(*planned.lines, *settled.lines) if told else planned.lines,
            wake_at=planned.wake_at,
        )

    def _facts(self, subject: observe.Subject, world: observed.World, named: str) -> plan.Facts:
        """Return what the plan depends on."""
        return plan.Facts(
            instance=self._parts.instance,
            desired=subject.desired,
            records=subject.records,
            world=world,
            now=subject.now,
            budgets=self._parts.budgets,
            ledger=named,
            wanted=subject.wanted,
        )

    def run(self, stop: clock.Event, pause: Callable[[Pass], None], lost_race: Callable[[Pass], None] = lambda _: None) -> None:
        """Make passes until `stop` is set.

        `pause` shows a pass and waits for the next wake-up; after a lost race only a jitter is waited, longer each time in a
        row: a server that declines every push looks like a race that is always lost. `lost_race` shows such a pass.
        """
        lost = 0
        while not stop.is_set():
            done = self.once()
            if done.standing is Standing.SUPERSEDED:
                lost += 1
                lost_race(done)
                self._parts.clock.wait(self._parts.jitter() * min(0.05 * 2 ** min(lost, 16), 15.0), stop)
                continue
            lost = 0
            pause(done)
