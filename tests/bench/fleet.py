"""Ten thousand jobs that run: a repository on this machine, the real loop, and hosts that answer at once.

Real are the loop, source, load, ledger, observer, the target of plain hosts with its books, the applier, and all of git.
Pretended are the hosts' end of the link, which answers at once, and the store behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from reconciler import apply, loop, observe, registry
from reconciler.cli import compose
from reconciler.contracts import clock as clocks
from reconciler.core import codec, observed, situation, spec
from reconciler.ledger.repository import RepositoryLedger
from reconciler.link.fake import FakeLink
from reconciler.seams import clock
from reconciler.seams.git import address, environment, mirror
from reconciler.source.repository import RepositorySource
from reconciler.storage.fake import FakeStore
from reconciler.targets import books
from reconciler.targets.hosts import HostsTarget

INSTANCE = "bench"
STEP = 300.0
"""Seconds by which people's clock moves from pass to pass: every change then publishes the observation as well."""
PER_HOST = 100
"""Attempts a host has."""


class Clock:
    """The system's, but that people's time moves on at will."""

    def __init__(self, ahead: float = 0.0) -> None:
        self._system = clock.System()
        self.ahead = ahead

    def now(self) -> float:
        return self._system.now() + self.ahead

    def monotonic(self) -> float:
        return self._system.monotonic()

    def wait(self, seconds: float, until: clocks.Event | None = None) -> bool:
        return self._system.wait(seconds, until)


class Hosts:
    """Agents that do what they are told at once, and say so."""

    def __init__(self, time: Clock) -> None:
        self.link = FakeLink(time)
        self.states: dict[str, observed.HostState] = {}
        self._clock = time

    def hear(self, state: observed.HostState) -> None:
        """One host's newest state reaches the reconciler."""
        self.states[state.host] = state
        self.link.hear(state)

    def answer(self) -> None:
        """Every host that was sent something has done it."""
        for name, state in list(self.states.items()):
            newest = self.link.newest(name)
            if newest is not None and newest.generation > state.accepted:
                items = {item.ref: item for item in state.items}
                for wanted in newest.items:
                    if wanted.want is spec.Want.REMOVE:
                        items.pop(wanted.spec.ref, None)
                    else:
                        items[wanted.spec.ref] = self._carried(items.get(wanted.spec.ref), wanted)
                after = dataclasses.replace(state, items=tuple(items.values()), accepted=newest.generation)
                self.hear(dataclasses.replace(after, generation=state.generation + 1))

    def kill(self, ref: spec.AttemptRef) -> None:
        """A job dies by a signal, and its host says so."""
        for state in list(self.states.values()):
            if any(item.ref == ref for item in state.items):
                items = tuple(self._dead(item) if item.ref == ref else item for item in state.items)
                self.hear(dataclasses.replace(state, items=items, generation=state.generation + 1))

    def _carried(self, before: observed.Item | None, wanted: spec.Assignment) -> observed.Item:
        if before is not None:
            return dataclasses.replace(before, spec=wanted.spec, want=wanted.want)
        now = self._clock.now()
        ref = wanted.spec.ref
        return observed.Item(
            ref=ref,
            state=observed.ItemState.RUNNING,
            host=wanted.spec.host,
            spec=wanted.spec,
            started_at=now,
            progress=observed.Progress(step=120, of=1000, at=now),
            first_step=1,
            checkpoints=tuple(
                observed.Taken(digest=codec.digest([ref, step]), attempt=1, taken_at=now, step=step) for step in (60, 120)
            ),
        )

    def _dead(self, item: observed.Item) -> observed.Item:
        ended = observed.Exit(kind=observed.ExitKind.SIGNALED, signal=9)
        return dataclasses.replace(item, state=observed.ItemState.ENDED, exit=ended, ended_at=self._clock.now())


def empty_hosts(jobs: int) -> Iterator[observed.HostState]:
    """Yield hosts with room for so many jobs of `manifests`."""
    for number in range(-(-jobs // PER_HOST)):
        for disk in ("ssd", "nvme"):
            yield observed.HostState(
                host=f"host-{disk}-{number:04d}",
                labels={"disk": disk},
                cpu=1_000_000,
                memory=2**50,
                boot="1",
                session=1,
                generation=1,
            )


def parts(remote: Path, data: Path, time: Clock, hosts: Hosts) -> loop.Parts:
    """Return the loop's parts over a repository. Every pass asks its server: nothing paces it here."""
    access = environment.Access(address=address.parse_address(str(remote), data))
    mirrored = mirror.Mirror(data / "repo.git", access)
    limits = situation.Budgets(launches=10**9)
    shared = books.Books(hosts.link, time, silence=10**9)
    store = FakeStore()
    adapters = registry.Registry(lambda declared: HostsTarget(declared, shared), lambda _: store)
    return loop.Parts(
        instance=INSTANCE,
        clock=time,
        source=RepositorySource(mirrored, "main", time),
        load=compose.loader(),
        ledger=RepositoryLedger(mirrored, INSTANCE, time),
        observer=observe.Observer(adapters, observe.Parallel(20.0)),
        applier=apply.Applier(adapters, limits),
        budgets=limits,
        jitter=lambda: 0.0,
    )
