"""Running: the loop's parts, the agents that are connected to them, and the data directory that they have for themselves."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping

from reconciler import apply, config, errors, loop, observe, registry, sweep
from reconciler.cli import bell, compose, pacing
from reconciler.contracts import link, target
from reconciler.core import model, pools
from reconciler.ledger import joins
from reconciler.link import authority, switchboard
from reconciler.seams import clock, durable
from reconciler.targets.books import Books
from reconciler.targets.hosts import HostsTarget

OBSERVE_SECONDS = 20.0
"""Deadline of one look at targets and stores."""

PATIENCE = 15.0
"""Most seconds until the agent in this process must have spoken."""

SETTLE_SECONDS = 900.0
"""Most seconds that a single pass waits for it to prepare, save or end what it was given; a step has bounds of its own."""

SILENCE = 15.0
"""Seconds without a word after which a host counts as silent."""


class Running:
    """The loop's parts with what feeds them, for as long as the process has the data directory."""

    def __init__(self, given: config.Settings, time: clock.System, ring: bell.Bell) -> None:
        self.settings = given
        self.data = compose.data(given)
        self.notes: list[str] = []
        """What is to be said at the start."""
        self._settled: Callable[[], bool] = lambda: True
        self._desired: model.Desired | None = None
        self._ring = ring
        self._clock = time
        self._changed = threading.Event()
        self._silent: frozenset[str] = frozenset()
        self.board = switchboard.Switchboard(time)
        self.board.listen(self._heard)
        place = compose.repository(given, time)
        self.ledger = place.ledger
        self.source = pacing.Paced(place.source, given.loop.poll, time)
        limits = compose.budgets(given.loop)
        shared = Books(self.board, time, SILENCE)
        adapters = registry.Registry(lambda spec: _target(spec, given, shared, time), compose.stores(given))
        self.sweeper = sweep.Sweeper(adapters, time)
        self.parts = loop.Parts(
            instance=given.instance,
            clock=time,
            source=self.source,
            load=compose.loader(),
            ledger=place.ledger,
            observer=observe.Observer(adapters, observe.Parallel(OBSERVE_SECONDS)),
            applier=apply.Applier(adapters, limits),
            budgets=limits,
            jitter=random.random,
        )

    @property
    def hosts(self) -> link.AgentLink:
        """The link to the agents."""
        return self.board

    def passed(self, done: loop.Pass) -> None:
        """Take up what a pass has read of the manifests."""
        if done.desired is not None:
            self._desired = done.desired
            self.sweeper.look(done.desired.stores.values())

    def objection(self, pool: str, host: str) -> str:
        """Return why a host may not join a Pool; empty: it may. Raises `errors.Unavailable` before the first pass."""
        desired = self._desired
        if desired is None or (pool not in desired.pools and (desired.unread or desired.frozen)):
            raise errors.Unavailable(f"it is not known now who may join Pool {pool}", remedy="Try again.")
        return pools.objection(desired, pool, host)

    def hosts_changed(self) -> bool:
        """Return whether a host has something new to say, or has fallen silent or been heard again, since the last call."""
        heard = self._changed.is_set()
        if heard:  # what has come since a no is for the next look
            self._changed.clear()
        silent = silent_hosts(self.board.hosts(), self._clock.monotonic())
        moved = silent != self._silent
        self._silent = silent
        return heard or moved

    def embed(self, host: str, settled: Callable[[], bool]) -> None:
        """Wait until the agent of this process has spoken: before, a pass would see nobody to give work to."""
        self._settled = settled
        self._until(lambda: host in self.board.hosts(), PATIENCE)

    def settle(self) -> None:
        """Wait until the agent of this process has done what it was given, but for the programs that run.

        A single pass is made between two of these: nothing that an agent begins would come to its end otherwise.
        """
        self._until(self._settled, SETTLE_SECONDS)

    def _until(self, reached: Callable[[], bool], seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        while not reached() and self._clock.monotonic() < end and not self._ring.is_set():
            self._ring.pause(0.05)

    def _heard(self) -> None:
        self._changed.set()
        self._ring.ring()


def _target(declared: model.TargetSpec, given: config.Settings, shared: Books, time: clock.System) -> target.Target:
    """Return the adapter of a target. What talks to a Swarm is loaded only where there is one."""
    if declared.swarm is None:
        return HostsTarget(declared, shared)
    from reconciler.targets.swarm.api import Managers
    from reconciler.targets.swarm.services import SwarmTarget

    managers = Managers(declared.swarm, compose.key_folder(given), time)
    return SwarmTarget(declared, given.instance, shared, managers, time)


def silent_hosts(heard: Mapping[str, link.Heard], now: float) -> frozenset[str]:
    """Return the hosts that are not heard at the monotonic time `now`."""
    return frozenset(name for name, each in heard.items() if not each.connected or now - each.at > SILENCE)


@contextlib.contextmanager
def running(given: config.Settings, ring: bell.Bell) -> Iterator[Running]:
    """Give the loop's parts, with the agents connected; the data directory is this process's alone meanwhile."""
    from reconciler.cli import embedded

    with contextlib.ExitStack() as stack:
        stack.enter_context(durable.DirectoryLock(compose.prepare(given)))
        parts = Running(given, clock.System(), ring)
        if given.agents.listen:
            stack.callback(_served(parts, given))
        if given.agents.embedded:
            wanted = embedded.options(given, compose.data(given), compose.key_folder(given))
            settled = stack.enter_context(embedded.agent(parts.board, parts.source, wanted, ring.fail))
            parts.embed(wanted.name, settled)
        ring.follow(parts.source.wakeups())
        yield parts


def _served(parts: Running, given: config.Settings) -> Callable[[], None]:
    """Serve agents over gRPC; return what ends it."""
    from reconciler.link.server import AgentServer

    time = clock.System()
    own = authority.create(compose.key_folder(given), given.instance, time)
    book = joins.LedgerJoinBook(parts.ledger, time, parts.objection)
    server = AgentServer(parts.board, own, book, parts.source, time)
    addresses = server.start(given.agents.listen)
    parts.notes.append(f"agents may dial {addresses.agents}, and join at {addresses.joining}")
    return server.stop
