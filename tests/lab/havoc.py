"""A schedule of what befalls an installation, drawn from a seed, and the hands that do it."""

from __future__ import annotations

import enum
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.lab import fleet
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm


class Kind(enum.Enum):
    """What befalls it."""

    LEADER = "the engine of the leader is killed"
    ENGINE = "an engine is killed"
    SHUTDOWN = "an engine is asked to stop"
    MAJORITY = "the engines of two managers are killed"
    CUT = "a machine is cut off"
    MACHINE = "a machine loses its power"
    AGENT = "an agent is killed"
    RECONCILER = "the reconciler is killed"


WEIGHTS = {
    Kind.LEADER: 3,
    Kind.ENGINE: 2,
    Kind.SHUTDOWN: 1,
    Kind.MAJORITY: 1,
    Kind.CUT: 3,
    Kind.MACHINE: 2,
    Kind.AGENT: 3,
    Kind.RECONCILER: 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One disaster, and a smaller one in the middle of it."""

    kind: Kind
    victim: int
    """Which of those that it can befall, in the order of their names; the highest number is taken round."""
    lasts: float
    """Seconds until it is mended."""
    calm: float
    """Seconds afterwards in which nothing befalls."""
    meanwhile: Kind
    """An agent or the reconciler is killed too, and begins again at once."""

    def __str__(self) -> str:
        return f"{self.kind.value} (number {self.victim}), for {self.lasts:.0f} s; meanwhile {self.meanwhile.value}"


def schedule(seed: int, rounds: int) -> tuple[Blow, ...]:
    """Returns what happens: every kind once before any comes twice, then by weight. Equal seeds give equal schedules."""
    dice = random.Random(seed)
    kinds = list(Kind)
    dice.shuffle(kinds)
    kinds = kinds[:rounds] + dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=max(0, rounds - len(kinds)))
    return tuple(
        Blow(
            kind=kind,
            victim=dice.randrange(12),
            lasts=round(dice.choice((dice.uniform(0, 3), dice.uniform(3, 12))), 1),
            calm=round(dice.uniform(0, 6), 1),
            meanwhile=dice.choice([each for each in (Kind.AGENT, Kind.RECONCILER) if each is not kind]),
        )
        for kind in kinds
    )


class Hands:
    """Strikes a fleet of which some hosts are a Swarm."""

    def __init__(self, lab: Lab, site: fleet.Fleet, swarm: Swarm) -> None:
        self.lab = lab
        self.site = site
        self.swarm = swarm
        self.hosts: Mapping[str, fleet.Host] = site.hosts

    def strike(self, blow: Blow) -> Callable[[], None]:
        """Makes it happen, and returns what mends it."""
        if blow.kind in (Kind.AGENT, Kind.RECONCILER):
            return self._process(blow.kind, blow.victim)
        host = self._one(blow.victim)
        if blow.kind is Kind.CUT:
            self.lab.partition(host.node)
            return lambda: self.lab.heal(host.node)
        if blow.kind is Kind.MACHINE:
            host.node.kill()
            return lambda: _boot(host)
        if blow.kind is Kind.SHUTDOWN:
            return self._engines([host], signal.SIGTERM)
        if blow.kind is Kind.ENGINE:
            return self._engines([host], signal.SIGKILL)
        leader = self.swarm.leader()
        managers = sorted(self._managers(), key=lambda each: each.docker is not leader)
        return self._engines(managers[: 1 if blow.kind is Kind.LEADER else 2], signal.SIGKILL)

    def meanwhile(self, blow: Blow) -> None:
        """The smaller disaster. What a machine without power had ran no more."""
        if blow.meanwhile is Kind.RECONCILER or self._one(blow.victim + 1).node.running:
            self._process(blow.meanwhile, blow.victim + 1)()

    def _process(self, kind: Kind, victim: int) -> Callable[[], None]:
        if kind is Kind.RECONCILER:
            self.site.stop_loop(signal.SIGKILL)
            return self.site.start_loop
        host = self._one(victim)
        host.stop(signal.SIGKILL)
        return host.start

    def _engines(self, hosts: Sequence[fleet.Host], number: int) -> Callable[[], None]:
        for host in hosts:
            host.docker.stop(number)

        def mend() -> None:
            for host in hosts:
                host.docker.start()

        return mend

    def _managers(self) -> list[fleet.Host]:
        return [host for host in self.hosts.values() if host.docker in self.swarm.managers]

    def _one(self, number: int) -> fleet.Host:
        return self.hosts[sorted(self.hosts)[number % len(self.hosts)]]


def _boot(host: fleet.Host) -> None:
    host.node.start()
    host.docker.start()
    host.start()
