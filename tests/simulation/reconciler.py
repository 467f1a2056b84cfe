"""The real loop in a process of its own, with a fault on every wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from reconciler import apply, errors, loop, observe, registry
from reconciler.cli import compose
from reconciler.core import settle
from reconciler.link import switchboard
from reconciler.targets import books, hosts
from tests.simulation import clocks, fate, process, wires

if TYPE_CHECKING:
    from tests.simulation import world

T = TypeVar("T")

Silence = tuple[float, int]
"""Seconds and looks."""


def _one_after_the_other(calls: Mapping[str, Callable[[], T]]) -> Mapping[str, T | str]:
    """Look without threads: the same seed gives the same course."""
    return {name: observe.answer(call) for name, call in calls.items()}


class Reconciler:
    """One reconciler, restarted whenever it was killed. What its process knows is lost with it."""

    def __init__(self, within: world.World, name: str) -> None:
        self.world = within
        self.name = name
        self.clock = clocks.Clock(within.events, self._wait)
        self.board = switchboard.Switchboard(self.clock)
        self.process: process.Process | None = None
        self.frozen_for = 0.0
        """Seconds for which it stands still at its next effect."""
        self.last: loop.Pass | None = None
        self.acted = 0
        """Passes that did something."""
        self.passes = 0
        self.silence: dict[str, Silence] = {}
        """By host: for how many seconds by its own count, and for how many looks, it had not heard it when it looked last."""
        self._heard: dict[str, float] = {}
        self._looks: dict[str, int] = {}
        self._born = 0.0
        self._poked = False

    @property
    def up(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start a process that knows nothing."""
        if self.up or self.world.over:
            return
        self.world.note(self.name, "started")
        self.board = switchboard.Switchboard(self.clock)
        self._born = self.clock.monotonic()
        self._heard, self._looks = {}, {}
        self.process = process.Process(self.world.events, self.name, self._body)
        self.board.listen(self.poke)
        self.process.start()

    def kill(self) -> None:
        """SIGKILL from outside."""
        if self.process is not None and self.up:
            self.world.note(self.name, "killed")
            self.process.kill()

    def poke(self) -> None:
        """There may be something to do. In the middle of a pass that is remembered."""
        self._poked = True
        if self.process is not None:
            self.process.poke()

    def hear(self, host: str) -> None:
        """A host has spoken to it."""
        self._heard[host] = self.clock.monotonic()

    def look(self) -> None:
        """It looks at the hosts: what it can know of their silence is what it knows now."""
        now, known = self.clock.monotonic(), self.board.hosts()
        for host in self.world.machines:
            silent = now - self._heard.get(host, self._born)
            connected = host in known and known[host].connected and silent <= 15.0
            self._looks[host] = 0 if connected else self._looks.get(host, 0) + 1
            self.silence[host] = (silent, self._looks[host])

    def _body(self) -> None:
        try:
            loop.Loop(self._parts()).run(_Never(), self._pause)
        except process.Killed:
            self.world.depot.leave(self.name)
            self.world.restart(self)
            raise

    def _parts(self) -> loop.Parts:
        shared = books.Books(self.board, self.clock)
        adapters = registry.Registry(
            lambda declared: wires.target(self, hosts.HostsTarget(declared, shared)),
            lambda declared: wires.store(self, declared),
        )
        return loop.Parts(
            instance="sim",
            clock=self.clock,
            source=self.world.source,
            load=compose.loader(),
            ledger=wires.ledger(self),
            observer=observe.Observer(adapters, _one_after_the_other),
            applier=apply.Applier(adapters, self.world.budgets),
            budgets=self.world.budgets,
            jitter=self.world.chance.random,
        )

    def _wait(self, seconds: float) -> None:
        assert self.process is not None
        self.process.wait(seconds)

    def _pause(self, done: loop.Pass) -> None:
        assert self.process is not None
        self.last = done
        self.passes += 1
        self.world.watch.passed(done)
        acting = [act for act, outcome in done.outcomes if outcome.result is not settle.Result.SKIPPED]
        self.acted += bool(acting)
        if acting or done.standing is not loop.Standing.DONE:
            self.world.note(self.name, f"pass {done.standing.value} {done.notice}".rstrip())
        seconds = self.world.interval
        if done.wake_at is not None:
            seconds = min(seconds, max(done.wake_at - self.clock.now(), 0.1))
        if not self._poked:
            self.process.sleep(seconds)
        self._poked = False

    # every effect goes through here

    def request(self, what: str, call: Callable[[], T], unheard: Callable[[], T]) -> T:
        """Make one request to something outside; `unheard` is what its caller gets when no answer comes."""
        found = self.world.fates.of(self.name, what, fate.REMOTE)
        self.world.note(self.name, what if found is fate.Fate.WELL else f"{what} [{found.value}]")
        if found is fate.Fate.KILLED_BEFORE:
            raise process.Killed
        self.travel()
        if found is fate.Fate.KILLED_FLYING:
            self.world.events.after(self.world.chance.uniform(0.0, 20.0), lambda: _land(call))
            raise process.Killed
        if found is fate.Fate.REQUEST_LOST:
            return unheard()
        answer = call()
        self.travel()
        if found is fate.Fate.KILLED_AFTER:
            raise process.Killed
        return unheard() if found is fate.Fate.ANSWER_LOST else answer

    def travel(self) -> None:
        """Let a request, or an answer, take its time; others act meanwhile."""
        seconds, self.frozen_for = self.world.faults.delay() + self.frozen_for, 0.0
        self._wait(seconds)


def _land(call: Callable[[], object]) -> None:
    with suppress(errors.PerdureError):
        call()


class _Never:
    """`contracts.clock.Event` that is never set: only a kill ends the loop."""

    def wait(self, timeout: float | None = None) -> bool:
        return False

    def is_set(self) -> bool:
        return False
