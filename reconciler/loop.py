"""The loop: the stages of one pass in order, on one screen.

Level-triggered and crash-only: a wake-up carries no payload, the newest state wins, and killing the process between any two
lines of `once` and starting again converges. No process starts before its intent's push is accepted.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from reconciler import annotate, apply, errors, observe
from reconciler.contracts import clock, ledger, source
from reconciler.core import action, model, observed, plan, record, settle, situation

Load = Callable[[source.Tree, source.Revision, model.Desired | None], model.Desired]
"""Reads one revision; raises `errors.InvalidInput` when the whole revision is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything outside, and where time and jitter come from."""

    instance: str
    clock: clock.Clock
    source: source.Source
    load: Load
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
    desired: model.Desired | None = None
    plan: action.Plan | None = None
    world: observed.World | None = None
    records: Mapping[str, record.Record] = field(default_factory=dict)
    outcomes: tuple[tuple[action.Action, settle.Outcome], ...] = ()
    lines: tuple[record.Line, ...] = ()
    """Transitions that this pass has noted."""
    wake_at: float | None = None


class Loop:
    """Keeps each declared job running to its end. Holds nothing that a restart could not read again."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._desired: model.Desired | None = None
        self._published_at: float | None = None

    def once(self, expected: str = "") -> Pass:
        """Make one pass. Never raises for anything that a server, a host or a manifest does.

        With `expected` only a plan of that digest is recorded and carried out.
        """
        parts, now = self._parts, self._parts.clock.now()
        fetched = parts.source.fetch()
        desired, notice = self._load(fetched)
        if desired is None:
            return Pass(standing=Standing.BLOCKED, at=now, notice=notice)
        try:
            snapshot = parts.ledger.read()
        except errors.PerdureError as error:
            return Pass(standing=Standing.BLOCKED, at=now, desired=desired, notice=str(error))
        world = parts.observer.observe(observe.Subject(desired=desired, records=snapshot.records, now=now))
        facts = plan.Facts(
            instance=parts.instance, desired=desired, records=snapshot.records, world=world, now=now, budgets=parts.budgets
        )
        planned = plan.compute(facts)
        if expected and planned.digest != expected:
            return Pass(standing=Standing.MOVED, at=now, desired=desired, plan=planned, world=world, notice=notice)
        recorded = self._record(snapshot, facts, planned.records, planned.lines, notice)
        if isinstance(recorded, ledger.Conflict):
            return Pass(standing=Standing.SUPERSEDED, at=now, desired=desired, plan=planned, notice=recorded.detail)
        outcomes = tuple(parts.applier.carry_out(planned, desired, now))
        settled = settle.settle(recorded.records, outcomes, now)
        annotated = self._record(recorded, facts, settled.records, settled.lines, notice)
        final = recorded if isinstance(annotated, ledger.Conflict) else annotated
        return Pass(
            standing=Standing.DONE,
            at=now,
            revision=desired.revision,
            notice=notice,
            desired=desired,
            plan=planned,
            world=world,
            records=final.records,
            outcomes=outcomes,
            lines=planned.lines if final is recorded else (*planned.lines, *settled.lines),
            wake_at=planned.wake_at,
        )

    def run(self, stop: clock.Event, pause: Callable[[Pass], None]) -> None:
        """Make passes until `stop` is set.

        `pause` shows a pass and waits for the next wake-up; after a lost race only a jitter is waited.
        """
        lost = 0
        while not stop.is_set():
            done = self.once()
            if done.standing is Standing.SUPERSEDED:
                lost += 1
                self._parts.clock.wait(self._parts.jitter() * min(0.05 * 2**lost, 2.0), stop)
                continue
            lost = 0
            pause(done)

    def _load(self, fetched: source.Revision | source.Stale) -> tuple[model.Desired | None, str]:
        """Return the desired state to act on: the newest valid one, and what is to be said about it."""
        revision = fetched.last if isinstance(fetched, source.Stale) else fetched
        notice = f"{fetched.reason}: {fetched.detail}" if isinstance(fetched, source.Stale) else fetched.notice
        if revision is None:
            return self._desired, notice
        if self._desired is not None and self._desired.revision == revision.id:
            return self._desired, notice
        try:
            self._desired = self._parts.load(self._parts.source.tree(revision.id), revision, self._desired)
        except errors.PerdureError as error:
            return self._desired, str(error)
        return self._desired, notice

    def _record(
        self,
        snapshot: ledger.Snapshot,
        facts: plan.Facts,
        records: Mapping[str, record.Record],
        lines: tuple[record.Line, ...],
        notice: str,
    ) -> ledger.Snapshot | ledger.Conflict:
        """Push records and notes; what is not on the server has not happened."""
        state = {"revision": facts.desired.revision, "notice": notice}
        change = annotate.change(facts.desired.revision, records, lines, state if state != snapshot.instance else None)
        if self._published_at is None:
            self._published_at = annotate.published_at(snapshot.observed)
        since = facts.now - self._published_at
        if since >= annotate.PUBLISH_EVERY or since < 0 or (not change.empty() and since >= annotate.PUBLISH_AFTER):
            change = replace(change, observed=annotate.published(facts.world))
        if change.empty():
            return snapshot
        answer = self._parts.ledger.append(snapshot, change)
        if isinstance(answer, ledger.Conflict):
            return answer
        if change.observed is not None:
            self._published_at = facts.now
        return answer.snapshot
