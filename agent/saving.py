"""The loop's checkpoints: which to begin now, and what to make of those that are over."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence

from agent import attempt, controller, due, journal, setup, workers
from reconciler import errors
from reconciler.contracts import engine, store
from reconciler.core import model, observed, spec

AT_ONCE = 8
"""Most checkpoints that programs take themselves at the same time."""
FROZEN_AT_ONCE = min(AT_ONCE, (os.cpu_count() or 1) + 1)
"""Most that we take, each of which keeps a processor busy: more of them only makes every program stand still for longer."""
IN_LINE = 4
"""Most that stand in line to be the next of those, so that no processor has to wait for the loop's next look."""

LATE = "it was not done when the notice's deadline had passed, and the machine is still there"

Wanted = tuple[float, spec.AttemptRef, spec.Request]
"""What the checkpoint is worth (see `due.worth`), the attempt, and the checkpoint it is to take."""


class Saving:
    """Hands checkpoints to workers, one at a time for each attempt."""

    def __init__(
        self,
        about: setup.Setup,
        book: journal.Journal,
        control: controller.Controller,
        hands: workers.Workers,
        ending: threading.Event,
    ) -> None:
        """`ending` is set when the agent ends: nobody waits for a program then."""
        self._setup = about
        self._book = book
        self._control = control
        self._hands = hands
        self._ending = ending
        self._frozen = threading.Semaphore(FROZEN_AT_ONCE)

    def begin(self, wanted: Sequence[Wanted], attempts: Mapping[spec.AttemptRef, attempt.Attempt]) -> None:
        """Begin checkpoints, those first that save the most work for the time they take."""
        busy = _busy(attempts)
        ours = sum(map(self._freezes, busy))
        left = {True: FROZEN_AT_ONCE + IN_LINE - ours, False: AT_ONCE - (len(busy) - ours)}
        for _, ref, asked in sorted(wanted, key=lambda each: each[0], reverse=True):
            freezes = self._freezes(ref)
            if left[freezes] <= 0:
                continue
            left[freezes] -= 1
            one, entry = attempts[ref], self._book.entries[ref]
            one.saving = (asked, self._hands.do(self._taking(one, entry, asked)))

    def works(self, attempts: Mapping[spec.AttemptRef, attempt.Attempt]) -> bool:
        """Return whether checkpoints are under way that are our own work."""
        return any(map(self._freezes, _busy(attempts)))

    def _freezes(self, ref: spec.AttemptRef) -> bool:
        """Whether a checkpoint of an attempt is our own work, and not its program's."""
        entry = self._book.entries.get(ref)
        return entry is not None and entry.spec.checkpoint.engine is model.EngineName.CRIU

    def finish(self, one: attempt.Attempt, entry: journal.Entry, now: float) -> journal.Entry:
        """Return the entry with the result of a checkpoint that is over."""
        if one.saving is None or not one.saving[1].over:
            return entry
        asked, task = one.saving
        one.saving = None
        outcome: engine.Captured | engine.Failed
        try:
            outcome, known = task.result()
        except errors.PerdureError as error:
            outcome, known = engine.Failed(reason=str(error)), ()
        if isinstance(outcome, engine.Failed) and self._ending.is_set():
            return entry  # the next agent asks again
        posix = self._setup.clock.now()
        one.after_saving(asked, isinstance(outcome, engine.Captured), one.moment(entry, now, posix).interval, now)
        return due.after(due.with_taken(entry, known), asked, outcome, posix)

    def give_up_unservable(self, entry: journal.Entry) -> journal.Entry:
        """Answer a request that no engine can serve."""
        asked = due.unserved(entry)
        if asked is None or entry.stage is not journal.Stage.STARTED:
            return entry
        if entry.spec.checkpoint.engine is not model.EngineName.NONE:
            return entry
        failed = engine.Failed(reason="the Job takes no checkpoints (checkpoint.engine is none)")
        return due.after(entry, asked, failed, self._setup.clock.now())

    def unknown(self, entry: journal.Entry) -> tuple[observed.Taken, ...]:
        """Return checkpoints of an attempt that the store has and the journal lacks; none where the store does not answer."""
        try:
            return self._control.unknown(entry)
        except errors.PerdureError:
            return ()  # the reconciler reads the store too

    def _taking(self, one: attempt.Attempt, entry: journal.Entry, asked: spec.Request) -> Callable[[], attempt.Outcome]:
        def step() -> int | None:
            newest = one.follower.newest
            return newest.step if newest else None

        until = self._setup.clock.monotonic() + asked.deadline if due.noticed(asked) else None

        def late(spare: float = due.OVERTIME) -> bool:
            """The machine was to be gone by now. Another notice may have come meanwhile: then it goes on."""
            return until is not None and self._setup.clock.monotonic() > until + spare and self._book.host.notice is None

        def given_up() -> bool:
            now = self._book.entries.get(entry.ref)
            return self._ending.is_set() or now is None or now.assignment.want is not spec.Want.RUN or late()

        def take() -> attempt.Outcome:
            known = self.unknown(entry) if entry.assignment.request is asked or not one.recovered else ()
            one.recovered = True
            done = next((taken for taken in known if taken.request == asked.id), None)
            if done is not None:  # taken by an agent that was killed before it had written it down
                return engine.Captured(taken=done, usage=store.Usage(logical_bytes=0, stored_bytes=0)), known
            ours = self._freezes(entry.ref)
            with self._frozen if ours else contextlib.nullcontext():
                if ours and (given_up() or late(0.0)):
                    return engine.Failed(reason="its turn came too late"), known
                outcome = self._control.checkpoint(entry, asked, step, given_up)
            if isinstance(outcome, engine.Failed) and late():
                outcome = engine.Failed(reason=f"{outcome.reason} ({LATE})")
            return outcome, known

        return take


def _busy(attempts: Mapping[spec.AttemptRef, attempt.Attempt]) -> list[spec.AttemptRef]:
    return [ref for ref, one in attempts.items() if one.saving is not None]
