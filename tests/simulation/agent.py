"""A process of the real agent: its loop and its decisions, with a simulated journal, connection and pair of hands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent import journal, loop, places, setup, workers
from reconciler import errors
from reconciler.contracts import store
from reconciler.core import model, observed, spec
from reconciler.link import switchboard
from tests.simulation import chaos, fate, hands, process, watch

if TYPE_CHECKING:
    from tests.simulation import machine, reconciler

T = TypeVar("T")

IDLE = 2.0
"""Seconds between two looks when nothing happens."""
TELLING = ("claim ", "start ", "commit ")
"""Effects of which others must hear."""
NOWHERE = Path("/nowhere")
PLACES = places.Places(data=NOWHERE, jobs=NOWHERE)


class Agent:
    """One process of the agent on one machine."""

    def __init__(self, host: machine.Machine) -> None:
        self.host = host
        self.world = host.world
        self.alive = True
        self.wire = Wire(self)
        self.tasks: set[process.Process] = set()
        offer = setup.Offer(host=host.name, cpu=host.cpu, memory=1 << 34)
        about = setup.Setup(
            offer=offer,
            places=PLACES,
            secrets=NOWHERE,
            account=None,
            groups=None,
            clock=host.clock,
            engines={},
            open_store=_no_store,
            pace=setup.Pace(heartbeat=5.0),
        )
        self.loop = loop.Agent(about, Journal(self), self.wire, hands.Hands(self), Workers(self))
        self.loop._boot = str(host.boots)
        self.world.note(host.name, "agent started")
        self._next = self.world.events.after(0.0, self._tick)

    def die(self) -> None:
        """SIGKILL."""
        if not self.alive:
            return
        self.world.note(self.host.name, "agent killed")
        self.alive = False
        self._next.off = True
        self.wire.hang_up()
        for task in list(self.tasks):
            task.kill()
        self.world.depot.leave(self.host.name)

    def poke(self) -> None:
        """Something happened on the host."""
        if self.alive:
            self._next.off = True
            self._next = self.world.events.after(self.world.chance.uniform(0.0, 0.2), self._tick)

    def warn(self, seconds: float) -> None:
        """A notice has come."""
        try:
            self.loop.notice(seconds, "reclaimed")
        except process.Killed:
            self._buried()
            return
        self.poke()

    def effect(self, what: str, effect: Callable[[], T]) -> T:
        """Make one effect of this host. Raises `Killed` when the agent does not live to see what follows."""
        found = self.world.fates.of(self.host.name, what, fate.LOCAL)
        self.world.note(self.host.name, what if found is fate.Fate.WELL else f"{what} [{found.value}]")
        if found is fate.Fate.KILLED_BEFORE:
            raise process.Killed
        answer = effect()
        if what.startswith(TELLING):
            self._misfortune()
        if found is fate.Fate.KILLED_AFTER:
            raise process.Killed
        return answer

    def _misfortune(self) -> None:
        """What was done just now is not heard of for long, or ever."""
        if self.world.faults.happens("lost in the act"):
            self.world.events.after(0.0, lambda: chaos.lose(self.host))
            raise process.Killed
        if self.world.faults.happens("cut off in the act"):
            chaos.cut_off(self.host)

    def mortal(self, what: Callable[[], None]) -> None:
        """Do something in which this process may come to its end."""
        try:
            what()
        except process.Killed:
            if self.alive:
                self.world.events.after(0.0, self._buried)
            raise

    def _buried(self) -> None:
        if self.alive:
            self.host.kill_agent()
            self.world.restart_agent(self.host)

    def _tick(self) -> None:
        try:
            self.wire.connect()
            self.loop.tick()
            self.wire.fetch()
            unforeseen = [text for text in self.loop._troubles.values() if "unforeseen" in text]
            watch.insist(not unforeseen, "a step fails only in ways that were foreseen", "; ".join(unforeseen))
        except process.Killed:
            self._buried()
            return
        idle = IDLE if self.host.disk.entries else 2 * IDLE
        self._next = self.world.events.after(self.world.calm * idle, self._tick)


def _no_store(declared: model.StoreSpec) -> store.Store:
    raise errors.Unavailable(f"store {declared.name} is reached through the hands")


class Journal(journal.Journal):
    """The journal on the machine's disk: each write is one effect, and whole."""

    def __init__(self, owner: Agent) -> None:
        super().__init__(PLACES)
        self._owner = owner
        self._disk = owner.host.disk
        self.host = self._disk.host
        self.entries = self._disk.entries

    def save_host(self, host: journal.Host) -> None:
        """Replace the host's state."""
        if host == self.host:
            return

        def write() -> None:
            self.host = self._disk.host = host

        self._owner.effect(f"journal set {host.accepted}", write)

    def save(self, entry: journal.Entry) -> None:
        """Replace an attempt's entry."""
        before = self.entries.get(entry.ref)
        if before == entry:
            return

        def write() -> None:
            self.entries[entry.ref] = entry

        self._owner.effect(f"journal {self._owner.world.call(entry.ref)}: {_difference(before, entry)}", write)

    def drop(self, ref: spec.AttemptRef) -> None:
        """Forget an attempt."""

        def write() -> None:
            self._owner.world.watch.forgotten(self._owner.host.name, self.entries[ref])
            self.entries.pop(ref)

        self.save_host(journal.forgetting(self.host, ref))

        self._owner.effect(f"journal {self._owner.world.call(ref)}: forgotten", write)


def _difference(before: journal.Entry | None, after: journal.Entry) -> str:
    """Return in short what a write changes."""
    said = [after.stage.value]
    if before is None or before.assignment.want is not after.assignment.want:
        said.append(f"wanted: {after.assignment.want.value}")
    if after.assignment.request is not None and (before is None or before.assignment.request != after.assignment.request):
        said.append(f"asked for {after.assignment.request.id}")
    if before is not None and len(after.checkpoints) != len(before.checkpoints):
        said.append(f"saved step {after.checkpoints[-1].step} for {after.checkpoints[-1].request}")
    if before is not None and after.request != before.request and after.request is not None and after.request.detail:
        said.append(f"checkpoint failed: {after.request.detail}")
    if after.exit is not None:
        said.append(
            f"{after.exit.kind.value} {'stopped' if after.exit.stopped else after.exit.code} {after.exit.detail}".rstrip()
        )
    return ", ".join(said)


class Workers:
    """`agent.workers.Workers`: each task is a process that may wait, and dies with its agent."""

    def __init__(self, owner: Agent) -> None:
        self._owner = owner

    def do(self, work: Callable[[], T]) -> workers.Task[T]:
        """Begin `work` soon."""
        owner = self._owner

        def guarded() -> T:
            try:
                return work()
            except errors.PerdureError:
                raise
            except Exception as error:
                raise watch.Broken(f"a step fails only in ways that were foreseen: {error!r}") from error

        task = workers.Task(guarded)

        def body() -> None:
            owner.mortal(task.run)
            owner.tasks.discard(running)
            owner.poke()

        running = process.Process(owner.world.events, f"task on {owner.host.name}", body)
        owner.tasks.add(running)
        owner.world.events.after(owner.world.chance.uniform(0.0, 0.3), lambda: running.start() if owner.alive else None)
        return task


class Wire:
    """`agent.uplink.Uplink`: the newest state up, the newest set down, over connections that come and go."""

    def __init__(self, owner: Agent) -> None:
        self._owner = owner
        self._line: switchboard.Line | None = None
        self._peer: reconciler.Reconciler | None = None
        self._board: switchboard.Switchboard | None = None
        self._redial = 0.0
        self._state: observed.HostState | None = None
        self._sent: observed.HostState | None = None
        self._assignments: spec.Assignments | None = None

    @property
    def trouble(self) -> str:
        """Nothing that anybody reads."""
        return ""

    def send(self, state: observed.HostState) -> None:
        """Keep the newest and pass it on: the whole of it where it has changed, else only its number."""
        self._state = state
        if self._line is None or self._peer is None or self._owner.host.partitioned:
            return
        network = self._owner.world.network
        if self._sent is not None and dataclasses.replace(state, generation=self._sent.generation) == self._sent:
            network.alive(self._peer, self._line, state)
            return
        first, self._sent = self._sent is None, state
        network.up(self._peer, self._line, state, first=first)

    def newest(self) -> spec.Assignments | None:
        """Return the newest set received by this process."""
        return self._assignments

    def listen(self, wake: Callable[[], None]) -> None:
        """Nothing: the agent is poked."""

    def archive(self, tree: str) -> Iterator[bytes]:
        """Raise: the hands need no code."""
        raise errors.Unavailable(f"tree {tree} is not needed here")

    def receive(self, given: spec.Assignments) -> None:
        """A set has come."""
        newer = self._assignments is None or given.generation > self._assignments.generation
        if newer and self._owner.alive and not self._owner.host.partitioned:
            self._assignments = given
            self._owner.poke()

    def connect(self) -> None:
        """Dial when there is no connection."""
        if self._peer is not None and (not self._peer.up or self._peer.board is not self._board):
            self.hang_up()  # its process has ended, and the connection with it
        if self._line is not None and self._line in self._owner.world.network.torn and not self._owner.host.partitioned:
            self.hang_up()  # its pings go unanswered
        if self._line is not None and not self._line.open():
            self._line = None
        now = self._owner.world.events.now
        if self._line is None and not self._owner.host.partitioned and now >= self._redial:
            self._redial = now + 1.0
            self._peer = self._owner.world.answering()
            if self._peer is not None:
                self._board = self._peer.board
                self._line = self._board.connect(self._owner.host.name)
                self._sent = None
                if self._state is not None:
                    self.send(self._state)

    def fetch(self) -> None:
        """Take what the reconciler has for this host."""
        if self._line is not None and not self._owner.host.partitioned:
            kept = self._line.take(0.0)
            if kept is not None:
                self._owner.world.network.down(self, kept.assignments)

    def hang_up(self) -> None:
        """End the connection."""
        if self._line is not None:
            self._line.close()
            self._line = None
