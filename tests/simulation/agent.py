"""An agent around the real decisions of `agent`: what it accepts, what is due, which step is next. One effect at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent import accept, due, interval, journal, refusal, steps
from agent import process as processes
from reconciler import errors
from reconciler.contracts import engine, store
from reconciler.core import observed, spec
from reconciler.link import switchboard
from tests.simulation import fate, process, program

if TYPE_CHECKING:
    from tests.simulation import machine, reconciler

HEARTBEAT = 5.0
IDLE = 2.0
"""Seconds between two looks at the assignments when nothing happens."""
SAVING = 2.0
"""Seconds a program needs to write what a checkpoint consists of."""
RETRY = 5.0


@dataclass(slots=True, kw_only=True)
class Capture:
    """A checkpoint being taken: lost with the agent."""

    request: spec.Request
    due: float
    sink: store.Sink | None = None
    step: int = 0


class Agent:
    """One process of the agent on one machine."""

    def __init__(self, host: machine.Machine) -> None:
        self._host = host
        self._world = host.world
        self.alive = True
        self._line: switchboard.Line | None = None
        self._peer: reconciler.Reconciler | None = None
        self._board: switchboard.Switchboard | None = None
        self._redial = 0.0
        self._generation = 0
        self._sent: observed.HostState | None = None
        self._sent_at = 0.0
        self._captures: dict[spec.AttemptRef, Capture] = {}
        self._safe_at: dict[spec.AttemptRef, float] = {}
        self._retry_at: dict[spec.AttemptRef, float] = {}
        self._asked_store: set[spec.AttemptRef] = set()
        """Attempts of which the store was asked for checkpoints that this journal lacks."""
        self._world.note(host.name, "agent started")
        self._next = self._world.events.after(0.0, self._tick)

    def die(self) -> None:
        """SIGKILL."""
        self._world.note(self._host.name, "agent killed")
        self.alive = False
        self._next.off = True
        self._hang_up()
        self._world.depot.leave(self._host.name)

    def poke(self) -> None:
        """Something happened on the host."""
        if self.alive:
            self._next.off = True
            self._next = self._world.events.after(self._world.chance.uniform(0.0, 0.2), self._tick)

    def start_captures_anew(self) -> None:
        """The store has lost what was on its way to it."""
        for capture in self._captures.values():
            capture.sink = None

    # its turn

    def _tick(self) -> None:
        self._mortal(self._turn)

    def _mortal(self, what: Callable[[], None]) -> None:
        """Do something in which this process may come to its end."""
        try:
            what()
        except process.Killed:
            if self.alive:
                self._host.kill_agent()
            self._world.restart_agent(self._host)

    def _turn(self) -> None:
        self._connect()
        self._fetch()
        busy = self._work()
        self._report()
        wait = self._world.chance.uniform(0.05, 0.5) if busy else self._world.calm * IDLE
        self._next = self._world.events.after(wait, self._tick)

    def _effect(self, what: str, effect: Callable[[], None]) -> None:
        """Make one effect of this host. Raises `Killed` when the agent does not live to see what follows."""
        found = self._world.fates.of(self._host.name, what, fate.LOCAL)
        self._world.note(self._host.name, what if found is fate.Fate.WELL else f"{what} [{found.value}]")
        if found is fate.Fate.KILLED_BEFORE:
            raise process.Killed
        effect()
        if found is fate.Fate.KILLED_AFTER:
            raise process.Killed

    def _save(self, entry: journal.Entry, what: str) -> journal.Entry:
        """Write one attempt's journal, durably."""

        def write() -> None:
            self._host.disk.entries[entry.ref] = entry

        if self._host.disk.entries.get(entry.ref) != entry:
            self._effect(f"journal {self._world.call(entry.ref)}: {what}", write)
        return entry

    # the connection

    def _connect(self) -> None:
        if self._peer is not None and (not self._peer.up or self._peer.board is not self._board):
            self._hang_up()  # its process has ended, and the connection with it
        if self._line is not None and not self._line.open():
            self._line = None
        if self._line is None and not self._host.partitioned and self._world.events.now >= self._redial:
            self._redial = self._world.events.now + 1.0
            self._peer = self._world.answering()
            if self._peer is not None:
                self._board = self._peer.board
                self._line = self._peer.board.connect(self._host.name)
                self._sent = None

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _fetch(self) -> None:
        if self._line is not None and not self._host.partitioned:
            kept = self._line.take(0.0)
            if kept is not None:
                self._world.network.down(self, kept.assignments)

    def receive(self, given: spec.Assignments) -> None:
        """A set has come."""
        if self.alive and not self._host.partitioned:
            self._mortal(lambda: self._accept(given))

    def _accept(self, given: spec.Assignments) -> None:
        disk = self._host.disk
        if given.generation <= disk.host.accepted:
            return
        for entry in accept.accept(disk.entries, given, lambda ref: ref in disk.jobs):
            self._save(entry, f"{entry.assignment.want.value} as of set {given.generation}")

        def write() -> None:
            disk.host = dataclasses.replace(disk.host, accepted=given.generation)

        self._effect(f"journal set {given.generation}", write)
        self.poke()

    def _report(self) -> None:
        """Send the whole state when it has changed, and now and then to be heard."""
        if self._line is None or self._host.partitioned or self._peer is None:
            return
        state = self._state()
        now = self._world.events.now
        if self._sent is not None and dataclasses.replace(state, generation=self._sent.generation) == self._sent:
            if now - self._sent_at >= HEARTBEAT:
                self._sent_at = now
                self._world.network.alive(self._peer, self._line, self._sent)
            return
        first = self._sent is None
        self._generation += 1
        self._sent = dataclasses.replace(state, generation=self._generation)
        self._sent_at = now
        self._world.network.up(self._peer, self._line, self._sent, first=first)

    def _state(self) -> observed.HostState:
        host, disk = self._host, self._host.disk
        return observed.HostState(
            host=host.name,
            cpu=host.cpu,
            memory=1 << 34,
            boot=str(host.boots),
            session=disk.host.session,
            accepted=disk.host.accepted,
            notice=disk.host.notice,
            draining=disk.host.draining,
            items=tuple(self._item(entry) for _, entry in sorted(disk.entries.items())),
        )

    def _item(self, entry: journal.Entry) -> observed.Item:
        ended = entry.stage is journal.Stage.ENDED
        begun = entry.started_at is not None
        job = self._host.disk.jobs.get(entry.ref)
        # In steps of ten, so that a heartbeat does not carry a new state each time.
        progress = observed.Progress(step=job.step // 10 * 10 if job.alive else job.step, of=job.what.steps) if job else None
        return observed.Item(
            ref=entry.ref,
            state=observed.ItemState.ENDED
            if ended
            else observed.ItemState.RUNNING
            if begun
            else observed.ItemState.PREPARING,
            want=entry.assignment.want,
            host=self._host.name,
            spec=entry.spec,
            started_at=entry.started_at,
            ended_at=entry.ended_at,
            exit=entry.exit,
            progress=progress,
            first_step=job.first_step if job else None,
            checkpoints=entry.checkpoints,
            request=entry.request,
        )

    # its work

    def _work(self) -> bool:
        """Do the next thing for each attempt; return whether something was done."""
        done = False
        for ref in sorted(self._host.disk.entries):
            done |= self._attend(self._host.disk.entries[ref])
        return done

    def _attend(self, entry: journal.Entry) -> bool:
        ref = entry.ref
        look = self._host.look(ref)
        if entry.started_at is None and look.started_at is not None and entry.stage is not journal.Stage.ENDED:
            entry = self._save(dataclasses.replace(entry, started_at=look.started_at), "seen started")
        if entry.stage is journal.Stage.STARTED and ref not in self._asked_store:
            if not self._adopt(entry):
                return False
            entry = self._host.disk.entries[ref]
        asked = due.request(entry, self._host.disk.host, self._moment(entry, look))
        row = steps.decide(
            steps.Situation(
                entry=entry,
                presence=look.presence,
                saving=ref in self._captures,
                wanted=asked is not None and entry.spec.store is not None,
                leaving=self._host.disk.host.notice is not None,
            )
        )
        if row.step is steps.Step.REST:
            return ref in self._captures and self._capture(entry, self._captures[ref])
        if self._world.events.now < self._retry_at.get(ref, 0.0) and row.step is not steps.Step.STOP:
            return False
        try:
            return self._do(entry, row, look, asked)
        except errors.PerdureError as error:
            exit = refusal.exit_of(error)
            if exit is not None and look.presence is processes.Presence.ABSENT:
                self._over(entry, exit, None, error.message)
            else:
                self._retry_at[ref] = self._world.events.now + RETRY
            return True

    def _moment(self, entry: journal.Entry, look: processes.Look) -> due.Moment:
        now = self._world.events.now
        chosen, _ = interval.choose(entry.spec.checkpoint.interval, [])
        return due.Moment(
            now=now,
            posix=self._host.clock.now(),
            interval=chosen,
            safe_at=self._safe_at.setdefault(entry.ref, now),
            retry_at=self._retry_at.get(entry.ref, 0.0),
            over=look.presence is processes.Presence.ENDED,
        )

    def _do(self, entry: journal.Entry, row: steps.Row, look: processes.Look, asked: spec.Request | None) -> bool:
        name = self._world.call(entry.ref)
        match row.step:
            case steps.Step.PREPARE:
                self._effect(f"claim {name}", lambda: self._claim(entry))
                self._save(dataclasses.replace(entry, stage=journal.Stage.PREPARED), "prepared")
            case steps.Step.RESTORE:
                if entry.spec.restore:
                    self._read(entry)
                self._save(dataclasses.replace(entry, stage=journal.Stage.RESTORED), "restored")
            case steps.Step.START:
                step = program.step_of(self._read(entry)) if entry.spec.restore and look.presence is ABSENT else 0
                entry = self._save(dataclasses.replace(entry, stage=journal.Stage.STARTED), "started")
                self._effect(f"start {name}", lambda: self._host.execute(entry.ref, step, entry.spec.timeout))
            case steps.Step.CHECKPOINT if asked is not None:
                self._captures[entry.ref] = Capture(request=asked, due=self._world.events.now + SAVING)
                self._world.events.after(SAVING, self.poke)
            case steps.Step.STOP:
                return self._stop(entry)
            case steps.Step.WAIT if look.exit is not None:
                self._over(entry, look.exit, look.ended_at, "ended")
            case steps.Step.REMOVE:
                self._effect(f"forget {name}", lambda: self._forget(entry))
            case steps.Step.REFUSE:
                never = observed.Exit(kind=observed.ExitKind.NOT_STARTED, stopped=True, detail=row.why)
                self._over(entry, never, None, row.why)
        return True

    def _over(self, entry: journal.Entry, exit: observed.Exit, at: float | None, what: str) -> None:
        at = at if at is not None else self._host.clock.now()
        self._save(dataclasses.replace(entry, stage=journal.Stage.ENDED, exit=exit, ended_at=at), what)

    def _claim(self, entry: journal.Entry) -> None:
        if entry.spec.store is not None and not self._world.depot.claim(self._host, entry.spec.store, entry.ref):
            raise refusal.Superseded

    def _read(self, entry: journal.Entry) -> bytes:
        assert entry.spec.store is not None
        try:
            data = self._world.depot.read(self._host, entry.spec.store, entry.spec.restore)
        except errors.Damaged as error:
            raise refusal.CannotStart(error.message, damaged=entry.spec.restore) from error
        self._world.watch.restored(entry.ref, entry.spec.restore, data)
        return data

    def _stop(self, entry: journal.Entry) -> bool:
        job = self._host.disk.jobs[entry.ref]
        if job.stopping:
            return False
        self._world.watch.stopped(self._host.name, entry)
        grace = 0.0 if entry.stopping else entry.assignment.grace
        self._effect(f"stop {self._world.call(entry.ref)}", lambda: self._host.stop(entry.ref, grace))
        return True

    def _forget(self, entry: journal.Entry) -> None:
        self._world.watch.forgotten(self._host.name, entry)
        self._host.disk.jobs.pop(entry.ref, None)
        self._host.disk.entries.pop(entry.ref, None)

    # checkpoints

    def _adopt(self, entry: journal.Entry) -> bool:
        """Take over what an agent that died had published and not yet journalled."""
        if entry.spec.store is not None:
            try:
                listed = self._world.depot.list(self._host, entry.spec.store, entry.ref.run)
            except errors.PerdureError:
                return False
            known = {taken.digest for taken in entry.checkpoints}
            for taken in listed:
                if taken.attempt == entry.ref.attempt and taken.digest not in known:
                    asked = spec.Request(id=taken.request, purpose=taken.purpose)
                    current = entry.assignment.request
                    if current is not None and current.id == taken.request:
                        asked = current
                    entry = self._taken(entry, asked, taken)
        self._asked_store.add(entry.ref)
        return True

    def _capture(self, entry: journal.Entry, capture: Capture) -> bool:
        """Go on with a checkpoint that is being taken: write it, and in another turn commit it."""
        ref, name = entry.ref, self._world.call(entry.ref)
        if self._world.events.now < capture.due:
            return False
        job = self._host.disk.jobs[ref]
        try:
            if not job.alive:
                raise errors.Unavailable("the program has ended")
            if capture.sink is None:
                capture.step = job.step
                self._effect(f"write {name} step {capture.step}", lambda: self._write(entry, capture))
                return True
            done: list[observed.Taken] = []
            sink = capture.sink
            self._effect(
                f"commit {name} step {capture.step}", lambda: done.append(self._world.depot.commit(self._host, sink, ref))
            )
        except errors.PerdureError as error:
            if capture.sink is not None:
                capture.sink.abort()
            del self._captures[ref]
            self._retry_at[ref] = self._world.events.now + RETRY
            failed = engine.Failed(reason=error.message)
            self._save(due.after(entry, capture.request, failed, self._host.clock.now()), "checkpoint failed")
            return True
        del self._captures[ref]
        self._safe_at[ref] = self._world.events.now
        self._taken(entry, capture.request, done[0])
        return True

    def _write(self, entry: journal.Entry, capture: Capture) -> None:
        wanted = entry.spec
        assert wanted.store is not None
        meta = store.Meta(
            instance=wanted.instance,
            tenant=wanted.tenant,
            job=wanted.job,
            run=wanted.run,
            attempt=wanted.attempt,
            engine="application",
            taken_at=self._host.clock.now(),
            purpose=capture.request.purpose,
            request=capture.request.id,
            step=capture.step,
        )
        parent = entry.checkpoints[-1].digest if entry.checkpoints else wanted.restore
        capture.sink = self._world.depot.begin(self._host, wanted.store, meta, parent)
        self._world.depot.fill(self._host, capture.sink, program.content(wanted.run, capture.step))

    def _taken(self, entry: journal.Entry, asked: spec.Request, taken: observed.Taken) -> journal.Entry:
        captured = engine.Captured(taken=taken, usage=store.Usage(logical_bytes=0, stored_bytes=0))
        after = due.after(entry, asked, captured, self._host.clock.now())
        return self._save(after, f"saved step {taken.step}, {asked.purpose.value}")


ABSENT = processes.Presence.ABSENT
