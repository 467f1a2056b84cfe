"""One eventful run without faults, to be killed at every one of its effects: before it, after it, and while it is under way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reconciler.core import model
from tests.simulation import chaos, ending, fate, program, seed, watch, world

SEED = 7
CUT_COMMITS = (0, 2)
"""Which commits are cut at every operation on the disk: the first, and one that builds on a parent."""
SECONDS = 3600.0
"""Longest virtual time until everything has come to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One thing that goes wrong: a fate of the effect with this number, or a cut of the commit with this number."""

    number: int
    what: str
    fate: fate.Fate | None = None
    cut: chaos.Cut | None = None

    def __str__(self) -> str:
        how = self.fate.value if self.fate else f"{self.cut.what} at operation {self.cut.at}" if self.cut else ""
        return f"{self.number}: {self.what}: {how}"


@functools.cache
def points() -> tuple[Point, ...]:
    """Return every point of the tour, from a trace of it.

    To be killed before an effect is to be killed after the one before it, so there is no point for that but before the first.
    """
    of, broken = _walk(None)
    if broken:
        raise AssertionError(f"the tour itself is broken: {broken}\n{seed.tell(tuple(of.trace[-60:]))}")
    found = [Point(number=0, what=of.fates.effects[0].what, fate=fate.Fate.KILLED_BEFORE)]
    for number, effect in enumerate(of.fates.effects):
        fates = (one for one in effect.fates if one is not fate.Fate.KILLED_BEFORE)
        found += [Point(number=number, what=f"{effect.actor}: {effect.what}", fate=one) for one in fates]
    for number in CUT_COMMITS:
        for at in range(1, of.depot.commits[number] + 1):
            cuts = (chaos.Cut(at=at, kills=kills) for kills in (True, False))
            found += [Point(number=number, what="commit", cut=cut) for cut in cuts]
    return tuple(found)


def share(number: int, of: int) -> tuple[Point, ...]:
    """Return the points that one of so many seeds goes through; together they go through all."""
    return points()[number::of]


def walk(point: Point) -> seed.Outcome:
    """Go through the tour with one thing going wrong."""
    of, broken = _walk(point)
    return seed.Outcome(seed=SEED, broken=f"tour, {point}: {broken}" if broken else "", trace=tuple(of.trace))


def _walk(point: Point | None) -> tuple[world.World, str]:
    planned = {point.number: point.fate} if point is not None and point.fate is not None else {}
    of = world.World(seed=SEED, hosts=3, fates=fate.Fates(planned=planned), programs=dict(PROGRAMS))
    if point is not None and point.cut is not None:
        of.faults.cuts[point.number] = point.cut
    with seed.living(of):
        try:
            for at, event in _events(of):
                of.events.after(at, event)
            of.start()
            of.run(max(at for at, _ in _events(of)) + 1.0)
            while text := ending.unfinished(of):
                of.run(5.0)
                watch.insist(of.events.now < SECONDS, "it converges", text)
            ending.check(of)
        except watch.Broken as found:
            return of, str(found)
    return of, ""


def _events(of: world.World) -> Iterator[tuple[float, Callable[[], None]]]:
    """Yield what happens when: everything that a plan can ask for happens once."""
    edit = functools.partial(functools.partial, _edit, of)
    yield 0.0, lambda: _begin(of)
    yield 6.0, edit("train", state=model.JobState.SUSPENDED)
    yield 12.0, edit("train", state=model.JobState.RUNNING)
    yield 17.0, edit("train", priority=3)
    yield 18.0, edit("sweep", resources=model.Resources(cpu=600, memory=1 << 20))
    yield 23.0, lambda: _demand(of)
    yield 26.0, edit("other", state=model.JobState.STOPPED)
    yield 28.0, lambda: _remove(of, "other")
    yield 33.0, of.machines["host3"].lose
    yield 38.0, of.machines["host3"].boot


def _begin(of: world.World) -> None:
    for name, more in JOBS.items():
        of.person.declare(name, **more)
    of.person.commit("the first jobs")


JOBS: dict[str, dict[str, object]] = {
    "train": {},
    "sweep": {"retries": model.Retries(failure=3)},
    "report": {"depends_on": ("sweep",)},
    "other": {"checkpoint": model.CheckpointPolicy(engine=model.EngineName.NONE)},
}
PROGRAMS = {
    "train": program.Program(steps=24, pace=1.7),
    "sweep": program.Program(steps=15, pace=1.9, fails=1, fails_at=4),
    "report": program.Program(steps=6, pace=1.1, saves_every=4),
    "other": program.Program(steps=90, pace=1.5),
}


def _edit(of: world.World, name: str, **changes: object) -> None:
    of.person.set(name, **changes)
    of.person.commit(f"change {name}")


def _demand(of: world.World) -> None:
    of.person.checkpoints["save"] = model.CheckpointRequest(name="save", job="train")
    of.person.commit("checkpoint train")


def _remove(of: world.World, name: str) -> None:
    del of.person.jobs[name]
    of.person.commit(f"remove {name}")
