"""Messages between agents and reconcilers: late, lost, twice, out of order, and sometimes from long ago."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler import errors
from reconciler.core import observed, spec
from reconciler.link import switchboard

if TYPE_CHECKING:
    from tests.simulation import agent, chaos, reconciler, schedule, world

VERSIONS = (1, 10, 300)
"""How many versions old a state is that comes from long ago."""


@dataclass(slots=True)
class Network:
    """Carries whole states up, in order while a connection stands, and whole sets down, in any order."""

    within: world.World
    events: schedule.Schedule
    faults: chaos.Faults
    _history: dict[str, list[observed.HostState]] = field(default_factory=dict)
    torn: weakref.WeakSet[switchboard.Line] = field(default_factory=weakref.WeakSet)
    """Connections that look as if they stood and carry nothing any more."""
    _arrival: dict[switchboard.Line, float] = field(default_factory=dict)

    def up(self, to: reconciler.Reconciler, line: switchboard.Line, state: observed.HostState, *, first: bool) -> None:
        """Carry a state to the reconciler at the other end of `line`."""
        history = self._history.setdefault(state.host, [])
        history.append(state)
        if first and len(history) > 1 and self.faults.happens("stale"):
            old = history[-min(1 + self.faults.chance.choice(VERSIONS), len(history))]
            self._later(line, 0.0, lambda: self._hear(to, line, old, "from long ago"))
            self._later(line, self.faults.chance.uniform(1.0, 60.0), lambda: self._hear(to, line, state, ""))
            return
        if self.faults.happens("lost message"):
            self._later(line, 0.0, lambda: line.close("the connection broke"))
            return
        late = self.faults.chance.uniform(1.0, 30.0) if self.faults.happens("late message") else 0.0
        self._later(line, late, lambda: self._hear(to, line, state, "late" if late else ""))
        if self.faults.happens("message twice"):
            self._later(line, 0.0, lambda: self._hear(to, line, state, "again"))

    def alive(self, to: reconciler.Reconciler, line: switchboard.Line, state: observed.HostState) -> None:
        """Carry a heartbeat."""
        self._later(line, 0.0, lambda: self._alive(to, line, state))

    def down(self, receiver: agent.Wire, given: spec.Assignments) -> None:
        """Carry a set to an agent."""
        delay = self.faults.delay()
        if self.faults.happens("lost message"):
            return
        if self.faults.happens("late message"):
            delay += self.faults.chance.uniform(1.0, 60.0)
        self.events.after(delay, lambda: receiver.receive(given))
        if self.faults.happens("message twice"):
            self.events.after(delay + self.faults.chance.uniform(0.0, 30.0), lambda: receiver.receive(given))

    def _later(self, line: switchboard.Line, late: float, what: Callable[[], None]) -> None:
        """Deliver after everything that was sent before over the same connection."""
        at = max(self.events.now + self.faults.delay() + late, self._arrival.get(line, 0.0))
        self._arrival[line] = at
        self.events.after(at - self.events.now, what)

    def _passes(self, line: switchboard.Line) -> bool:
        """A connection that has lost a message to a partition loses all that follow: it does not heal with the network."""
        if self.within.machines[line.host].partitioned:
            self.torn.add(line)
        return line.open() and line not in self.torn

    def _hear(self, to: reconciler.Reconciler, line: switchboard.Line, state: observed.HostState, how: str) -> None:
        if not self._passes(line):
            return
        if how:
            self.within.note("network", f"state {state.generation} of {state.host} {how}")
        try:
            line.hear(state)
            to.hear(line.host)
        except errors.PerdureError as error:
            self.within.note("network", error.message)
            line.close(error.message)

    def _alive(self, to: reconciler.Reconciler, line: switchboard.Line, state: observed.HostState) -> None:
        if not self._passes(line):
            return
        try:
            line.alive(state.session, state.generation)
            to.hear(line.host)
        except errors.PerdureError as error:
            line.close(error.message)
