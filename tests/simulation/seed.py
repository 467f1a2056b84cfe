"""One seed from its first commit to its quiet end."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.simulation import chaos, depot, ending, watch, world

PASSES = 400
"""Most passes of one reconciler between the last fault and the end of everything that was asked for."""
SECONDS = 3 * 3600.0
"""Longest virtual time for the same."""
AFTERWARDS = 4 * 3600.0
"""How long it must stay quiet: longer than retention, the grace of a prune and two wrong clocks together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a seed has shown."""

    seed: int
    broken: str
    """The promise that was broken, and how; empty: none."""
    trace: tuple[tuple[float, str, str], ...]

    def __str__(self) -> str:
        again = f"python -m tests.simulation --seed {self.seed} -v"
        return f"{tell(self.trace[-60:])}\nseed {self.seed}: {self.broken}\nall of it: {again}"


def tell(trace: tuple[tuple[float, str, str], ...]) -> str:
    """Return a trace as people read it."""
    return "\n".join(f"{at:10.3f}  {who:<12} {what}" for at, who, what in trace)


@contextmanager
def living(of: world.World) -> Iterator[world.World]:
    """Have a world whose processes end with the block."""
    with depot.numbered_files():
        logging.disable(logging.CRITICAL)  # what agents complain of is in the trace
        try:
            yield of
        finally:
            of.close()
            logging.disable(logging.NOTSET)


def make(seed: int) -> world.World:
    """Return the world of a seed, with its faults, not yet begun."""
    chance = random.Random(f"shape {seed}")
    scale = chance.choice((0.3, 1.0, 1.0, 2.0))
    rates = {name: rate * scale for name, rate in chaos.RATES.items()}
    return world.World(seed=seed, hosts=chance.randint(2, 4), rivals=chance.choice((1, 1, 2)), rates=rates)


def run(seed: int) -> Outcome:
    """Run a seed."""
    of, broken = make(seed), ""
    with living(of):
        try:
            unsettled(of)
            settle(of)
        except watch.Broken as found:
            broken = str(found)
    return Outcome(seed=seed, broken=broken, trace=tuple(of.trace))


def unsettled(of: world.World) -> None:
    """The part in which everything goes wrong."""
    chance = random.Random(f"pace {of.seed}")
    for _ in range(chance.randint(1, 3)):
        of.person.add()
    of.person.commit("the first jobs")
    of.start()
    end = chance.uniform(200.0, 700.0)
    while of.events.now < end:
        of.run(chance.expovariate(1 / 15.0))
        if chance.random() < 0.55:
            chaos.strike(of)
        else:
            of.person.edit()


def settle(of: world.World) -> None:
    """The faults stop, and everything comes to its end."""
    of.settling = True
    of.heal()
    of.person.settle()
    since, passes = of.events.now, {each.name: each.passes for each in of.reconcilers}
    while text := ending.unfinished(of):
        of.run(20.0)
        waited = of.events.now - since
        made = max(each.passes - passes[each.name] for each in of.reconcilers)
        watch.insist(waited < SECONDS and made < PASSES, "it converges", f"after {waited:.0f} s and {made} passes, {text}")
    _quiet(of)
    ending.check(of)


def _quiet(of: world.World) -> None:
    """Nothing is done any more, but for what retention deletes in its own time; at last nothing at all."""
    of.interval, of.calm = 600.0, 100.0
    of.run(AFTERWARDS)
    pushes, acted = of.watch.pushes, [each.acted for each in of.reconcilers]
    of.interval, of.calm = 60.0, 1.0
    for each in of.reconcilers:
        each.poke()
    of.run(300.0)
    text = ending.unfinished(of)
    watch.insist(not text, "it stays as it was asked to be", text)
    watch.insist(
        acted == [each.acted for each in of.reconcilers], "the loop is quiet", "a pass acted long after the last change"
    )
    watch.insist(pushes == of.watch.pushes, "the loop is quiet", "a pass pushed long after the last change")
