"""What the agent remembers of one attempt between two looks, and may forget: it is found again by looking."""

from __future__ import annotations

from agent import due, interval, journal, process, progress, report, setup, steps, workers
from reconciler.contracts import engine
from reconciler.core import model, observed, spec

Outcome = tuple[engine.Captured | engine.Failed, tuple[observed.Taken, ...]]
"""What a checkpoint came to, and checkpoints of before that only the store knew."""

OWN_CAP = 60.0
"""Longest seconds until a checkpoint that nobody asked us for is tried again."""
STOP_AGAIN = 1.0
"""Seconds after which a supervisor that still lives is told again to stop."""
HOLD = 60.0
"""Seconds that the report of an end waits for a store that cannot take what the program saved last."""


class Attempt:
    """One attempt's memory. All times are monotonic seconds."""

    def __init__(self, counts: progress.Source, now: float) -> None:
        self.look = process.Look(presence=process.Presence.ABSENT)
        self.follower = progress.Follower(counts)
        self.step: tuple[steps.Step, workers.Task[object]] | None = None
        self.saving: tuple[spec.Request, workers.Task[Outcome]] | None = None
        self.recovered = False
        """Whether the store was asked for checkpoints that the journal lacks."""
        self.saved = False
        self.hopeless = ""
        self.conditions: dict[str, str] = {}
        self.safe_at = now
        self.retry_at = now
        self.again_at = now
        self.first_try_at: float | None = None
        self._cadence = ""
        self._failures = 0
        self._tries = 0
        self._told_at: float | None = None
        self._ended_seen: float | None = None

    def seen(self) -> report.Seen:
        """Return what a report says about it besides its entry. That a checkpoint holds it still needs no saying."""
        held = {"held": self.look.held} if self.look.held and self.saving is None else {}
        return report.Seen(
            presence=self.look.presence,
            image=self.look.image,
            progress=self.follower.newest,
            first_step=self.follower.first,
            cadence=self._cadence,
            conditions={**self.conditions, **held},
        )

    def settled(self, entry: journal.Entry, now: float) -> bool:
        """Return whether nothing is to be done about it now: it runs, has ended, or waits until a step is tried again."""
        if self.step is not None or self.saving is not None:
            return False
        waits = report.waits_for_its_engine(entry, self.look.presence)
        if entry.assignment.want is spec.Want.RUN and (waits or self.look.presence is process.Presence.LIVE):
            return True
        return now < self.again_at or (entry.stage is journal.Stage.ENDED and entry.assignment.want is not spec.Want.REMOVE)

    def situation(self, entry: journal.Entry, host: journal.Host, wanted: bool, now: float, *, rushed: bool) -> steps.Situation:
        """Return what the table of steps looks at."""
        over = self.look.presence is process.Presence.ENDED
        if over and self._ended_seen is None:
            self._ended_seen = now
        failed = self.look.exit is not None and (self.look.exit.code != 0 or self.look.exit.stopped)
        return steps.Situation(
            entry=entry,
            presence=self.look.presence,
            busy=self.step is not None,
            saving=self.saving is not None,
            wanted=wanted,
            holding=over and self.saved and failed and now < (self._ended_seen or now) + HOLD,
            leaving=host.notice is not None or host.draining,
            rushed=rushed,
            hopeless=self.hopeless,
        )

    def moment(self, entry: journal.Entry, now: float, posix: float) -> due.Moment:
        """Return what the choice of the next checkpoint looks at."""
        policy = entry.spec.checkpoint
        costs = [*entry.spec.costs, *(taken.cost for taken in entry.checkpoints)]
        wanted = None if policy.engine is model.EngineName.NONE else policy.interval
        chosen, self._cadence = interval.choose(wanted, costs, entry.spec.hazard)
        return due.Moment(
            now=now,
            posix=posix,
            interval=chosen,
            safe_at=self.safe_at,
            retry_at=self.retry_at,
            saved=self.saved,
            over=self.look.presence is process.Presence.ENDED,
        )

    def after_saving(self, asked: spec.Request, safe: bool, interval_: float | None, now: float) -> None:
        """Note when the next checkpoint of our own may be tried."""
        if safe:
            self.safe_at, self.retry_at, self._failures = now, now, 0
            return
        self._failures += 1
        pause = min(OWN_CAP, 2.0 ** min(self._failures, 10))
        if asked.purpose is spec.Purpose.TIMER:
            pause = max(pause, interval_ or 0.0)
        self.retry_at = now + pause

    def after_step(self, problem: str, pace: setup.Pace, now: float) -> int:
        """Note how a step went; a problem puts off the next try. Returns how often it has failed in a row."""
        if not problem:
            self._tries, self.again_at, self.first_try_at = 0, now, None
            self.conditions.pop("step", None)
            return 0
        self._tries += 1
        self.first_try_at = now if self.first_try_at is None else self.first_try_at
        self.again_at = now + min(pace.retry_cap, pace.retry * 2 ** min(self._tries - 1, 16))
        self.conditions["step"] = problem
        return self._tries

    def tells_stop(self, now: float) -> bool:
        """Whether the supervisor is to be told (again) to stop; notes that it was."""
        if self._told_at is not None and now < self._told_at + STOP_AGAIN:
            return False
        self._told_at = now
        return True
