"""What must hold after every step, whatever went wrong: each rule fails with a message that says what was broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.contracts import ledger
from reconciler.core import codec, failures, model, observed, record, spec
from tests.simulation import program

if TYPE_CHECKING:
    from agent import journal
    from reconciler import loop
    from tests.simulation import world


SAFE = spec.ENDING | {spec.Purpose.DEMAND}
"""Purposes of a checkpoint after which its attempt may be ended."""


class Broken(BaseException):
    """A promise was broken. Not an `Exception`: no error handling of the code under test may swallow it."""


def insist(holds: object, promise: str, detail: str) -> None:
    """Raise `Broken` unless `holds`."""
    if not holds:
        raise Broken(f"{promise}: {detail}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A checkpoint that the store has accepted, and when in the order of everything."""

    ref: spec.AttemptRef
    step: int
    at: int


@dataclass(slots=True)
class Watch:
    """Sees every effect of the world as it truly happens."""

    within: world.World
    _order: int = 0
    _intended: dict[spec.AttemptRef, int] = field(default_factory=dict)
    """When the ledger accepted each attempt."""
    _starts: dict[spec.AttemptRef, str] = field(default_factory=dict)
    """Which disk each attempt was started from."""
    _claims: dict[spec.AttemptRef, str] = field(default_factory=dict)
    _published: dict[str, Publication] = field(default_factory=dict)
    _safe: set[str] = field(default_factory=set)
    """What a power cut of the store must not take away."""
    _verified: set[str] = field(default_factory=set)
    """What was found whole since the disk last changed but by writing."""
    _completed: set[str] = field(default_factory=set)
    _finished: dict[str, int] = field(default_factory=dict)
    _noted: dict[str, int] = field(default_factory=dict)
    """How often each run's end was noted."""
    _foreign: dict[str, list[str]] = field(default_factory=dict)
    pushes: int = 0
    """How many changes have told something new of a run."""

    def _tick(self) -> int:
        self._order += 1
        return self._order

    def _call(self, ref: spec.AttemptRef) -> str:
        return self.within.call(ref)

    # on hosts

    def claimed(self, owner: str, ref: spec.AttemptRef) -> None:
        """The store gave a number to an owner."""
        other = self._claims.setdefault(ref, owner)
        insist(other == owner, "a number has one owner", f"{self._call(ref)} was claimed by {other} and by {owner}")
        insist(not self.superseded(ref), "a superseded attempt does not begin", f"{self._call(ref)} was claimed by {owner}")

    def started(self, host: str, wanted: spec.AttemptSpec, disk: str) -> None:
        """A process was started. Without a store to claim its number in, only the host's own disk knows that it was."""
        ref = wanted.ref
        insist(ref in self._intended, "no process starts before its intent is accepted", f"{self._call(ref)} on {host}")
        insist(
            ref not in self._starts or (wanted.store is None and self._starts[ref] != disk),
            "an attempt's number starts at most once",
            f"{self._call(ref)} was started from {self._starts.get(ref)} and again from {disk}",
        )
        self._starts[ref] = disk
        insist(
            self._intended[ref] < self._finished.get(ref.run, self._order + 1),
            "no finished run runs again",
            f"{self._call(ref)} was intended after the run had finished",
        )

    def restored(self, ref: spec.AttemptRef, digest: str, data: bytes) -> None:
        """An attempt is about to continue from a checkpoint."""
        known = self._published.get(digest)
        insist(known, "only published checkpoints are restored", f"{self._call(ref)} from {digest[:19]}")
        assert known is not None
        whole = data == program.content(known.ref.run, known.step)
        insist(
            whole, "no incomplete checkpoint is restored", f"{self._call(ref)} from {digest[:19]} of {self._call(known.ref)}"
        )

    def completed(self, ref: spec.AttemptRef) -> None:
        """A process came to the end of its work."""
        self._completed.add(ref.run)

    def stopped(self, host: str, entry: journal.Entry) -> None:
        """An agent is about to end a job because somebody asked for it."""
        ref = entry.ref
        if entry.checkpoints and entry.checkpoints[-1].purpose in SAFE:
            return
        asked = entry.assignment.request
        if asked is not None and asked.purpose is spec.Purpose.STOP:
            return  # a stop stops, also when it cannot be saved, and when it was taken back too late
        run = self.within.recorded(ref.run)
        attempt = next((each for each in run.attempts if each.number == ref.attempt), None) if run else None
        if run is None or attempt is None or not attempt.live or entry.spec.checkpoint.engine is model.EngineName.NONE:
            return
        purpose = run.pending.request.purpose if run.pending is not None else None
        job = self.within.machines[host].disk.jobs[ref]
        insist(
            purpose is spec.Purpose.STOP,
            "no source is stopped before its checkpoint is safe",
            f"{self._call(ref)} on {host} at step {job.step}, asked by {purpose.value if purpose else 'nobody'}",
        )

    def forgotten(self, host: str, entry: journal.Entry) -> None:
        """A host is about to forget an attempt."""
        run = self.within.recorded(entry.ref.run)
        attempt = next((each for each in run.attempts if each.number == entry.ref.attempt), None) if run else None
        insist(
            attempt is not None and not attempt.live,
            "no outcome is forgotten before it is in the ledger",
            f"{self._call(entry.ref)} on {host} ended as {entry.exit}",
        )

    # in the store

    def superseded(self, ref: spec.AttemptRef) -> bool:
        """Return whether a later attempt of the run has been claimed."""
        return any(each.run == ref.run and each.attempt > ref.attempt for each in self._claims)

    def published(self, ref: spec.AttemptRef, taken: observed.Taken, superseded: bool) -> None:
        """The store accepted a checkpoint."""
        if taken.digest in self._published:
            return
        insist(not superseded, "a superseded attempt publishes nothing", f"{self._call(ref)} published step {taken.step}")
        insist(ref in self._claims, "only claimed attempts publish", self._call(ref))
        self._published[taken.digest] = Publication(ref=ref, step=taken.step or 0, at=self._tick())

    def acknowledged(self, taken: observed.Taken) -> None:
        """The store has said to an agent that a checkpoint is safe."""
        self._safe.add(taken.digest)

    def power_cut(self) -> None:
        """The store has come back: what it called safe is there."""
        self._verified.clear()
        place = self.within.depot.truth()
        for digest in sorted(self._safe):
            insist(place.verify(digest).ok, "a safe checkpoint survives", f"{digest[:19]} is damaged or gone after a power cut")

    def offered(self, run: str, listed: tuple[observed.Taken, ...]) -> None:
        """The store offers these checkpoints of a run."""
        place = self.within.depot.truth()
        for taken in listed:
            if taken.digest in self._verified:
                continue
            verdict = place.verify(taken.digest)
            problems = "; ".join(verdict.problems)
            insist(verdict.ok, "no incomplete checkpoint is offered", f"{taken.digest[:19]} of {run[:8]}: {problems}")
            self._verified.add(taken.digest)

    def pruned(self, digests: tuple[str, ...]) -> None:
        """The store has deleted these checkpoints."""
        self._safe.difference_update(digests)
        self._verified.difference_update(digests)
        for digest in digests:
            borrowers = self.within.borrowers(digest)
            insist(not borrowers, "no checkpoint is removed that is still needed", f"{digest[:19]}: {', '.join(borrowers)}")
            known = self._published.get(digest)
            run = self.within.recorded(known.ref.run) if known else None
            if known is None or run is None or run.phase in record.TERMINAL:
                continue
            newest = run.newest
            needed = newest is not None and newest.live and newest.restored_from == digest and newest.started_at is None
            others = [each for each, other in self._published.items() if other.ref.run == run.run and each not in digests]
            insist(
                not needed and others,
                "no checkpoint is removed that is still needed",
                f"{digest[:19]} of {self._call(known.ref)}",
            )

    # in the ledger

    def pushed(self, before: ledger.Snapshot, change: ledger.Change, evidence: Mapping[str, tuple[float, int]]) -> None:
        """The server has accepted a change. `evidence`: for how long and how many looks its sender had not heard each host."""
        now = self._tick()
        self.pushes += bool(change.records or change.notes)
        for after in change.records:
            old = before.records.get(after.run)
            insist(codec.decode(codec.encode(after), record.Record) == after, "a record is what is read back", after.run)
            self._history(old, after)
            for attempt in after.attempts[len(old.attempts) if old else 0 :]:
                self._intent(after, attempt, now)
            if after.phase is record.Phase.FINISHED and (old is None or old.phase is not record.Phase.FINISHED):
                insist(after.run in self._completed, "only a completed run is finished", f"run {after.run[:8]} of {after.job}")
                self._finished[after.run] = now
            if old is not None:
                self._given_up(old, after, evidence)
        for lines in change.notes.values():
            for line in lines:
                if line.what == "finished":
                    self._noted[line.run] = self._noted.get(line.run, 0) + 1
                    insist(self._noted[line.run] == 1, "an end is noted once", line.say)

    def _history(self, old: record.Record | None, new: record.Record) -> None:
        """What has ended stays as it ended, whoever writes."""
        if old is None:
            return
        insist(
            old.phase not in record.TERMINAL or new.phase is old.phase,
            "an end is for ever",
            f"{old.job} {old.phase} {new.phase}",
        )
        insist(len(new.attempts) >= len(old.attempts), "no attempt is forgotten", f"run {old.run[:8]} of {old.job}")
        for was, now in zip(old.attempts, new.attempts, strict=False):
            same = was.live or (was.ending, was.exit, was.number) == (now.ending, now.exit, now.number)
            insist(same, "an ended attempt stays as it ended", f"attempt {was.number} of {old.job}: {was.ending} {now.ending}")
        insist(
            not any(attempt.live for attempt in new.attempts[:-1]),
            "one live attempt at a time",
            f"run {new.run[:8]} of {new.job}",
        )

    def _intent(self, run: record.Record, attempt: record.Attempt, now: int) -> None:
        ref = spec.AttemptRef(run=run.run, attempt=attempt.number)
        insist(run.run not in self._finished, "no finished run runs again", f"{self._call(ref)} was intended")
        self._intended[ref] = now
        if not attempt.restored_from:
            return
        known = self._published.get(attempt.restored_from)
        insist(known, "only published checkpoints are restored", f"{self._call(ref)} from {attempt.restored_from[:19]}")
        assert known is not None
        if known.ref.run != run.run:
            return
        after = self._intended.get(spec.AttemptRef(run=run.run, attempt=known.ref.attempt + 1), now)
        insist(
            known.at <= after,
            "a superseded attempt's checkpoint is never followed",
            f"{self._call(ref)} from step {known.step} of {self._call(known.ref)}",
        )

    def _given_up(self, old: record.Record, new: record.Record, evidence: Mapping[str, tuple[float, int]]) -> None:
        """An attempt is given up only on evidence, or when both budgets are spent."""
        was = old.live
        if was is None:
            return
        now = new.attempts[was.number - 1]
        ref = spec.AttemptRef(run=old.run, attempt=was.number)
        host = self.within.machines.get(was.host)
        if now.ending is not record.Ending.LOST or host is None:
            return
        if now.failure == failures.VANISHED:
            job, entry = host.disk.jobs.get(ref), host.disk.entries.get(ref)
            # A machine that came back without its data may have been asked to stop what an old message called running: that
            # leaves a note that it was never begun here, and nothing that could begin.
            told = entry is not None and job is None and entry.assignment.want is not spec.Want.RUN
            insist(
                (entry is None or told) and (job is None or not job.alive),
                "unknown is not absent",
                f"{self._call(ref)} was given up as vanished and is on {was.host}",
            )
            return
        silent, looks = evidence.get(was.host, (0.0, 0))
        budgets = self.within.budgets
        insist(
            silent >= budgets.lost_after - 0.01 and looks >= budgets.lost_tries,
            "silence is not evidence before both budgets are spent",
            f"{self._call(ref)} on {was.host} was given up after {silent:.0f} s and {looks} looks",
        )

    # people and passes

    def scribbled(self, revision: str, line: str) -> None:
        """Somebody else wrote a line on a note."""
        self._foreign.setdefault(revision, []).append(line)

    def check_notes(self, notes: Mapping[str, str]) -> None:
        """Nobody else's lines were lost."""
        for revision, lines in self._foreign.items():
            found = [line for line in notes[revision].splitlines() if line in lines]
            insist(found == lines, "foreign lines survive", f"{lines} became {found} on {revision[:8]}")

    def passed(self, done: loop.Pass) -> None:
        """A pass has ended: nothing was asked of what it could not see."""
        if done.plan is None or done.world is None:
            return
        blind = {name for name, target in done.world.targets.items() if not target.known}
        for act in done.plan.actions:
            insist(
                not (act.acts and act.target in blind),
                "an unknown observation causes nothing",
                f"{act.verb.value} {act.job} on {act.target}: {act.sentence}",
            )
