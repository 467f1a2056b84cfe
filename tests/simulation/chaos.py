"""The fault plan of one seed: how often messages and effects go wrong, and which disasters happen when."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation import fate

if TYPE_CHECKING:
    from tests.simulation import machine, reconciler, world

RATES: Mapping[str, float] = {
    "lost message": 0.01,
    "late message": 0.02,
    "message twice": 0.02,
    "stale": 0.3,
    "blind": 0.03,
    "effect": 0.04,
    "lost in the act": 0.02,
    "cut off in the act": 0.02,
    "commit": 0.08,
}
"""Chance of each fault, each time it could happen. "stale": the first state over a new connection is an old one. "In the act":
just after a machine has claimed, started or committed something, before anybody hears of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The end of a commit at one of its operations on the disk."""

    at: int
    kills: bool
    """The agent is killed; else the machine of the store loses its power."""

    @property
    def what(self) -> str:
        return "the agent is killed" if self.kills else "the store loses its power"


@dataclass(slots=True)
class Faults:
    """Whether something goes wrong now. Calm: nothing does."""

    chance: random.Random
    rates: Mapping[str, float] = field(default_factory=dict)
    cuts: dict[int, Cut] = field(default_factory=dict)
    """Planned ends of commits, by their number."""

    def happens(self, what: str) -> bool:
        """Return whether this fault happens now."""
        rate = self.rates.get(what, 0.0)
        return rate > 0.0 and self.chance.random() < rate

    def delay(self) -> float:
        """Return how long a message takes: mostly little."""
        return self.chance.uniform(0.001, 0.05) if self.chance.random() < 0.9 else self.chance.uniform(0.05, 2.0)

    def choose(self, effect: fate.Effect) -> fate.Fate:
        """Return the fate of an effect."""
        return self.chance.choice(effect.fates) if self.happens("effect") else fate.Fate.WELL

    def cut_commit(self, number: int) -> Cut | None:
        """Return where a commit comes to its end, if it does: by plan, or by chance."""
        if number in self.cuts:
            return self.cuts[number]
        return Cut(at=self.chance.randint(1, 24), kills=self.chance.random() < 0.3) if self.happens("commit") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disaster:
    """Something that befalls the world, and how often in comparison with the others."""

    name: str
    weight: int
    strike: Callable[[world.World], None]


def _machine(of: world.World) -> machine.Machine:
    """Mostly one that has work: there disasters matter."""
    up = [each for each in of.machines.values() if each.up] or list(of.machines.values())
    busy = [each for each in up if any(job.alive for job in each.disk.jobs.values())]
    return of.chance.choice(busy if busy and of.chance.random() < 0.8 else up)


def _reconciler(of: world.World) -> reconciler.Reconciler:
    return of.chance.choice(of.reconcilers)


def _kill_reconciler(of: world.World) -> None:
    _reconciler(of).kill()


def _freeze_reconciler(of: world.World) -> None:
    stopped = _reconciler(of)
    of.note(stopped.name, "stands still for 60 s")
    stopped.frozen_for = 60.0


def _kill_agent(of: world.World) -> None:
    host = _machine(of)
    host.kill_agent()
    of.restart_agent(host)


def lose(host: machine.Machine) -> None:
    """The machine is gone; later there is another one in its place."""
    host.lose()
    host.world.events.after(host.world.chance.uniform(5.0, 300.0), host.boot)


def cut_off(host: machine.Machine) -> None:
    """No reconciler can be reached for a while, perhaps no store either; everything on the machine goes on."""
    of = host.world
    host.partitioned, host.cut_from_stores = True, of.chance.random() < 0.2
    of.note(host.name, "partitioned" + (", also from the store" if host.cut_from_stores else ""))
    of.events.after(of.chance.choice((of.chance.uniform(5.0, 30.0), of.chance.uniform(60.0, 300.0))), host.heal)


def _lose(of: world.World) -> None:
    lose(_machine(of))


def _crash(of: world.World) -> None:
    host = _machine(of)
    host.crash()
    of.events.after(of.chance.uniform(5.0, 120.0), host.boot)


def _partition(of: world.World) -> None:
    cut_off(_machine(of))


def _notice(of: world.World) -> None:
    _machine(of).warn(60.0)


def _kill_job(of: world.World) -> None:
    host = _machine(of)
    running = [ref for ref, job in host.disk.jobs.items() if job.alive]
    if running:
        of.chance.choice([host.kill_job, host.kill_supervisor])(of.chance.choice(running))


def _jump(of: world.World) -> None:
    """A clock jumps by an hour, or runs at double speed from now on, or as it should."""
    everyone: list[reconciler.Reconciler | machine.Machine] = [*of.reconcilers, *of.machines.values()]
    someone = of.chance.choice(everyone)
    what = of.chance.choice(("+1 h", "-1 h", "double speed", "normal speed"))
    of.note(someone.name, f"clock: {what}")
    if what.endswith("h"):
        someone.clock.offset += 3600.0 if what == "+1 h" else -3600.0
    else:
        someone.clock.run_at(2.0 if what == "double speed" else 1.0)


def _store_away(of: world.World) -> None:
    of.note("store", "unavailable")
    of.depot.unavailable = True
    of.events.after(of.chance.uniform(10.0, 120.0), of.depot.mend)


def _store_full(of: world.World) -> None:
    of.note("store", "full")
    of.depot.full = True
    of.events.after(of.chance.uniform(10.0, 120.0), of.depot.mend)


def _store_power(of: world.World) -> None:
    of.depot.power_cut()


def _ledger_away(of: world.World) -> None:
    of.note("ledger", "unreadable")
    of.ledger.break_off()
    of.events.after(of.chance.uniform(10.0, 120.0), of.ledger.mend)


def _ledger_busy(of: world.World) -> None:
    of.ledger.reject(of.chance.randint(1, 5))


def _source_stale(of: world.World) -> None:
    of.note("source", "does not answer")
    of.source.break_off()
    of.events.after(of.chance.uniform(10.0, 120.0), of.source.mend)


def _rewrite(of: world.World) -> None:
    of.person.rewrite()


def _readdress(of: world.World) -> None:
    if of.rivals > 1:
        of.readdress()


def _foreign(of: world.World) -> None:
    of.chance.choice((of.scribble, of.invite))()


DISASTERS = (
    Disaster(name="a reconciler is killed", weight=6, strike=_kill_reconciler),
    Disaster(name="a reconciler stands still", weight=5, strike=_freeze_reconciler),
    Disaster(name="agents reach another reconciler", weight=4, strike=_readdress),
    Disaster(name="an agent is killed", weight=6, strike=_kill_agent),
    Disaster(name="a machine is lost with its data", weight=5, strike=_lose),
    Disaster(name="a machine is restarted", weight=4, strike=_crash),
    Disaster(name="a machine is partitioned", weight=12, strike=_partition),
    Disaster(name="a machine is reclaimed with notice", weight=3, strike=_notice),
    Disaster(name="a job is killed", weight=3, strike=_kill_job),
    Disaster(name="a clock is wrong", weight=4, strike=_jump),
    Disaster(name="the store does not answer", weight=3, strike=_store_away),
    Disaster(name="the store is full", weight=3, strike=_store_full),
    Disaster(name="the store loses its power", weight=3, strike=_store_power),
    Disaster(name="the ledger cannot be read", weight=3, strike=_ledger_away),
    Disaster(name="others push to the ledger", weight=3, strike=_ledger_busy),
    Disaster(name="the source does not answer", weight=2, strike=_source_stale),
    Disaster(name="history is rewritten", weight=2, strike=_rewrite),
    Disaster(name="somebody writes on a note or in the ledger", weight=4, strike=_foreign),
)


def strike(of: world.World) -> None:
    """Let one disaster happen."""
    (row,) = of.chance.choices(DISASTERS, weights=[each.weight for each in DISASTERS])
    row.strike(of)
