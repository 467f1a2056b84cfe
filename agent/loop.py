"""The agent's loop: take over what is desired, look at what there is, do one step for each attempt, say how things are.

Nothing here waits: steps that take their time are done by workers, and their results are taken up and journalled at a later
look. Killing the process between any two lines loses nothing but the time of a step that is then done again.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable

from agent import (
    accept,
    attempt,
    controller,
    due,
    journal,
    process,
    refusal,
    report,
    saving,
    setup,
    shipping,
    steps,
    uplink,
    workers,
)
from agent.supervisor import processes
from reconciler import errors
from reconciler.core import observed, spec

_log = logging.getLogger("perdure.agent")

Step = steps.Step
Stage = journal.Stage

TRIES = 3
"""Times in a row that a supervisor fails to start before the attempt is given up."""
UNSHIPPED = 3600.0
"""Seconds after which an attempt is removed although the store never took its last output."""


class Agent:
    """One host's agent. `run` in one thread; the other methods from any."""

    def __init__(
        self,
        about: setup.Setup,
        book: journal.Journal,
        link: uplink.Uplink,
        control: controller.Controller,
        hands: workers.Workers,
    ) -> None:
        self._setup = about
        self._book = book
        self._link = link
        self._control = control
        self._hands = hands
        self._clock = about.clock
        self._boot = processes.boot()
        self._attempts: dict[spec.AttemptRef, attempt.Attempt] = {}
        self._wanted: list[tuple[float, spec.AttemptRef, spec.Request]] = []
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._saving = saving.Saving(about, book, control, hands, self._ending)
        self._hurries = False
        self._rushed = False
        self._troubles: dict[str, str] = {"host": book.lost} if book.lost else {}
        self._heard: spec.Assignments | None = None
        self._generation = 0
        self._said: observed.HostState | None = None
        self._said_at = 0.0

    def run(self) -> None:
        """Work until `end` is called."""
        self._link.listen(self._wake.set)
        ships = threading.Thread(
            target=shipping.ship,
            args=(self._setup, self._book, self._control, self._attempts, self._ending),
            name="shipper",
            daemon=True,
        )
        ships.start()
        try:
            while not self._ending.is_set():
                self._wake.clear()
                self.tick()
                self._clock.wait(self._setup.pace.look, self._wake)
        finally:
            self._ending.set()
            self._hurry(False)
        ships.join(self._setup.pace.flush)

    @property
    def over(self) -> bool:
        """Whether the loop is left, or about to be."""
        return self._ending.is_set()

    def end(self) -> None:
        """Leave the loop. Jobs and their supervisors go on."""
        self._ending.set()
        self._wake.set()

    def notice(self, seconds: float, reason: str = "") -> None:
        """This host goes away in so many seconds: save what can be saved. Raises `errors.Unavailable`."""
        with self._lock:
            notice = observed.Notice(deadline=self._clock.now() + seconds, reason=reason)
            self._book.save_host(dataclasses.replace(self._book.host, notice=notice))
        self._wake.set()

    def drain(self, on: bool) -> None:
        """Begin or stop to empty this host: nothing new is started, each attempt ends once it is saved."""
        with self._lock:
            self._book.save_host(dataclasses.replace(self._book.host, draining=on))
        self._wake.set()

    def state(self) -> observed.HostState:
        """Return the host as it is now."""
        with self._lock:
            name = self._setup.offer.host
            items = [report.item(self._book.entries[ref], one.seen(), name) for ref, one in self._attempts.items()]
            items += [report.unreadable(ref, why, name) for ref, why in self._book.damaged.items()]
            has = self._control.offers()
            troubles = (*(text for _, text in sorted(self._troubles.items())), *has.conditions)
            said = report.state(self._setup.offer, self._book.host, tuple(items), self._boot, troubles)
            return dataclasses.replace(said, generation=self._generation, engines=has.engines, facts=has.facts)

    def status(self) -> observed.HostState:
        """Return the host as a person on it wants to see it: with what stands between it and the reconciler."""
        state = self.state()
        if not self._link.trouble:
            return state
        return dataclasses.replace(state, conditions=(*state.conditions, f"link: {self._link.trouble}"))

    def settled(self) -> bool:
        """Return whether nothing is under way that comes to its end by itself, but for the programs: what there is was said."""
        with self._lock:
            now, newest = self._clock.monotonic(), self._link.newest()
            accepted = newest is None or newest is self._heard
            return (
                accepted
                and not self._wanted
                and all(
                    ref in self._attempts and self._attempts[ref].settled(entry, now)
                    for ref, entry in self._book.entries.items()
                )
            )

    def tick(self) -> None:
        """Look once at everything, and do what is due."""
        with self._lock:
            self._guarded(observed.ASSIGNMENTS, self._accept)
            self._guarded("notice", self._mind_notice)
            self._wanted.clear()
            for ref, entry in list(self._book.entries.items()):
                if ref not in self._attempts:
                    self._attempts[ref] = self._remember(entry)
                self._guarded(str(ref), lambda ref=ref: self._advance(ref))  # type: ignore[misc]
            self._saving.begin(self._wanted, self._attempts)
            self._rushed = self._book.host.notice is not None and self._saving.works(self._attempts)
            self._guarded("link", self._say)

    def _guarded(self, subject: str, work: Callable[[], None]) -> None:
        """Do something; what goes wrong is said, and done again at the next look, without keeping the rest from being done."""
        task = workers.Task(work)
        task.run()
        try:
            task.result()
        except errors.PerdureError as error:
            text = f"{subject}: {error.line}"
            if self._troubles.get(subject) != text:
                _log.warning("%s", text)
            self._troubles[subject] = text
        else:
            self._troubles.pop(subject, None)

    def _remember(self, entry: journal.Entry) -> attempt.Attempt:
        one = attempt.Attempt(self._control.progress(entry), self._clock.monotonic())
        one.conditions.update(self._control.remarks(entry))
        return one

    def _accept(self) -> None:
        newest, host = self._link.newest(), self._book.host
        if newest is None or newest is self._heard:
            return
        if newest.host != self._setup.offer.host:
            raise errors.Refused(f"assignments of host {newest.host!r} came to host {self._setup.offer.host!r}")
        if newest.generation < host.accepted:
            raise errors.Refused(f"assignments of generation {newest.generation} are older than {host.accepted}, the last ones")
        failed: errors.PerdureError | None = None
        for entry in accept.accept(self._book.entries, newest, self._control.known, host.forgotten):
            before = self._book.entries.get(entry.ref)
            try:
                self._book.save(entry)
            except errors.Unavailable as error:  # one that cannot be written keeps no other from being taken over
                failed = error
                continue
            if before is not None and entry.stage is Stage.STARTED and _bounds(before) != _bounds(entry):
                self._control.tell(entry)
        if failed is not None:
            raise failed
        self._book.save_host(dataclasses.replace(host, accepted=newest.generation))
        self._heard = newest

    def _mind_notice(self) -> None:
        host = self._book.host
        if host.notice is not None and self._clock.now() > host.notice.deadline:
            _log.info("the deadline of the notice has passed, and this host is still here")
            self._book.save_host(dataclasses.replace(host, notice=None))
        self._hurry(self._book.host.notice is not None)

    def _hurry(self, on: bool) -> None:
        if self._hurries != on:
            self._hurries = on
            self._setup.hurry(on)

    def _advance(self, ref: spec.AttemptRef) -> None:
        """One attempt: take up what was done, look, do the next step."""
        one, entry, now = self._attempts[ref], self._book.entries[ref], self._clock.monotonic()
        over = one.step is not None and one.step[1].over  # before the look, which has to see what the step did
        one.look = self._control.look(entry)
        one.follower.look(self._clock.now())
        entry = self._keep(self._saving.finish(one, entry, now))
        finished = self._finish_step(one, entry, now) if over else entry
        if finished is None:
            return
        entry = self._laid_out_anew(one, finished)
        if entry.started_at is None and one.look.started_at is not None:
            entry = self._keep(dataclasses.replace(entry, started_at=one.look.started_at))
            one.safe_at = now
        runs = one.look.presence in (process.Presence.LIVE, process.Presence.ENDED) and entry.stage is Stage.STARTED
        one.saved = runs and self._control.saved(entry)
        entry = self._keep(self._saving.give_up_unservable(entry))
        wanted = due.request(entry, self._book.host, one.moment(entry, now, self._clock.now())) if runs else None
        row = steps.decide(one.situation(entry, self._book.host, wanted is not None, now, rushed=self._rushed))
        if row.step is Step.CHECKPOINT and wanted is not None:
            self._wanted.append((due.worth(entry, now - one.safe_at, wanted), ref, wanted))
        elif row.step is Step.STOP:
            if one.tells_stop(now):
                self._control.stop(entry)
        elif row.step is Step.REFUSE:
            self._end_unstarted(one, entry, row.why)
        elif row.step is not Step.REST and now >= one.again_at:
            self._begin(one, entry, row.step, now)

    def _laid_out_anew(self, one: attempt.Attempt, entry: journal.Entry) -> journal.Entry:
        """Begin again with what lay ready in an earlier boot: nobody has made sure that it was on the disk."""
        unbegun = one.look.presence is process.Presence.ABSENT and entry.started_at is None and one.step is None
        if not unbegun or entry.boot in ("", self._boot) or entry.stage is Stage.ENDED:
            return entry
        return self._keep(dataclasses.replace(entry, stage=Stage.ACCEPTED, boot=""))

    def _begin(self, one: attempt.Attempt, entry: journal.Entry, step: steps.Step, now: float) -> None:
        control, owner = self._control, f"{self._setup.offer.host}/{self._book.host.agent}"
        if step is Step.START and entry.stage is not Stage.STARTED:
            # Before the supervisor is: whatever happens then, its own files say whether the program was started.
            entry = self._keep(dataclasses.replace(entry, stage=Stage.STARTED))
        unshipped = one.first_try_at is not None and now >= one.first_try_at + UNSHIPPED
        work: dict[steps.Step, Callable[[], object]] = {
            Step.PREPARE: lambda: control.prepare(entry, owner),
            Step.RESTORE: lambda: control.restore(entry),
            Step.START: lambda: control.start(entry),
            Step.WAIT: lambda: self._collect(entry),
            Step.REMOVE: lambda: control.remove(entry, unshipped=unshipped),
        }
        one.step = (step, self._hands.do(work[step]))

    def _collect(self, entry: journal.Entry) -> tuple[observed.Exit, tuple[observed.Taken, ...]]:
        exit = self._control.wait(entry)
        return exit, self._saving.unknown(entry)

    def _finish_step(self, one: attempt.Attempt, entry: journal.Entry, now: float) -> journal.Entry | None:
        """Take up a step that is over; None when the attempt is no more."""
        assert one.step is not None
        step, task = one.step
        one.step = None
        try:
            value = task.result()
        except errors.PerdureError as error:
            return self._failed(one, entry, step, error)
        one.after_step("", self._setup.pace, now)
        if step is Step.REMOVE:
            self._book.drop(entry.ref)
            self._attempts.pop(entry.ref)
            return None
        if step is Step.PREPARE:
            return self._keep(dataclasses.replace(entry, stage=Stage.PREPARED, boot=self._boot))
        if step is Step.RESTORE:
            return self._keep(dataclasses.replace(entry, stage=Stage.RESTORED))
        if step is Step.WAIT and isinstance(value, tuple):
            exit, taken = value
            ended = due.with_taken(dataclasses.replace(entry, stage=Stage.ENDED, exit=exit), taken)
            return self._keep(dataclasses.replace(ended, ended_at=one.look.ended_at, started_at=one.look.started_at))
        return entry

    def _failed(
        self, one: attempt.Attempt, entry: journal.Entry, step: steps.Step, error: errors.PerdureError
    ) -> journal.Entry:
        exit = refusal.exit_of(error)
        if exit is not None and one.look.presence is process.Presence.ABSENT and step is not Step.REMOVE:
            return self._keep(dataclasses.replace(entry, stage=Stage.ENDED, exit=exit, ended_at=self._clock.now()))
        problem = f"{step.value} is tried again: {error.line}"
        tries = one.after_step(problem, self._setup.pace, self._clock.monotonic())
        if step is Step.START and tries >= TRIES:
            one.hopeless = str(error)
        return entry

    def _end_unstarted(self, one: attempt.Attempt, entry: journal.Entry, why: str) -> None:
        exit = observed.Exit(kind=observed.ExitKind.NOT_STARTED, detail=one.hopeless or why, stopped=not one.hopeless)
        self._keep(dataclasses.replace(entry, stage=Stage.ENDED, exit=exit, ended_at=self._clock.now()))

    def _keep(self, entry: journal.Entry) -> journal.Entry:
        self._book.save(entry)
        return entry

    def _say(self) -> None:
        """Send the state when it has changed; where only progress has, and as a sign of life, now and then."""
        now, state = self._clock.monotonic(), self.state()
        same = self._said is not None and state.quiet() == self._said.quiet()
        if same and now < self._said_at + self._setup.pace.heartbeat:
            return
        self._generation += 1
        self._said, self._said_at = dataclasses.replace(state, generation=self._generation), now
        self._link.send(self._said)


def _bounds(entry: journal.Entry) -> tuple[float | None, float]:
    return entry.spec.timeout, entry.assignment.grace
