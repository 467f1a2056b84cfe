"""Which host runs an attempt: filters that each say why not, then the host with the most room."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconciler.core import codec, container, model, observed, processor, record, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is left of one host in this pass."""

    view: observed.HostView
    cpu: int
    memory: int
    attempts: int = 0
    """How many are on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be placed."""

    job: model.Job
    processor: str = ""
    """What the checkpoint that it continues from needs of a processor; empty: nothing, or nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One condition a host must meet; `why_not` is the end of "N hosts …"."""

    name: str
    fits: Callable[[Wish, Room], bool]
    why_not: str


FILTERS = (
    Filter(name="heard", fits=lambda _wish, room: room.view.silent_since is None, why_not="not heard now"),
    Filter(
        name="staying",
        fits=lambda _wish, room: not room.view.state.draining and room.view.state.notice is None,
        why_not="going away",
    ),
    Filter(name="open", fits=lambda _wish, room: not room.view.closed, why_not="closed to new work"),
    Filter(
        name="pool",
        fits=lambda wish, room: not wish.job.pool or room.view.state.pool == wish.job.pool,
        why_not="not of the pool",
    ),
    Filter(
        name="node",
        fits=lambda wish, room: not wish.job.placement.node or room.view.state.host == wish.job.placement.node,
        why_not="not the node asked for",
    ),
    Filter(
        name="zone",
        fits=lambda wish, room: not wish.job.placement.zone or room.view.state.labels.get("zone") == wish.job.placement.zone,
        why_not="in another zone",
    ),
    Filter(
        name="labels",
        fits=lambda wish, room: all(
            room.view.state.labels.get(key) == value for key, value in wish.job.placement.labels.items()
        ),
        why_not="without the labels asked for",
    ),
    Filter(
        name="containers",
        fits=lambda wish, room: not wish.job.workload.image or "docker" in room.view.state.engines,
        why_not="without a container engine that answers",
    ),
    Filter(
        name="engine",
        fits=lambda wish, room: wish.job.checkpoint.engine is not model.EngineName.CRIU or "criu" in room.view.state.engines,
        why_not="unable to checkpoint containers",
    ),
    Filter(
        name=processor.FACT,
        fits=lambda wish, room: not _lacking(wish, room),
        why_not="with another processor",
    ),
    Filter(
        name="size",
        fits=lambda wish, room: (
            (wish.job.resources.cpu or 0) <= room.view.state.cpu and (wish.job.resources.memory or 0) <= room.view.state.memory
        ),
        why_not="too small even when empty",
    ),
    Filter(name="cpu", fits=lambda wish, room: (wish.job.resources.cpu or 0) <= room.cpu, why_not="short of cpu"),
    Filter(name="memory", fits=lambda wish, room: (wish.job.resources.memory or 0) <= room.memory, why_not="short of memory"),
)

STANDING = frozenset({"pool", "node", "zone", "labels"})
"""Filters that a host with the attempt already on it must still meet; the others are about room for more."""

LASTING = STANDING | {processor.FACT, "size"}
"""Filters that waiting does not help against."""


EXPLAINED = {"containers": container.NO_ENGINE, "engine": container.NO_CHECKPOINTS}
"""Filters that a host fails for a reason that it knows: how that condition of it begins."""


def stands(job: model.Job, view: observed.HostView) -> bool:
    """Return whether an attempt on this host is still where the Job wants it."""
    room = Room(view=view, cpu=0, memory=0)
    return all(each.fits(Wish(job=job), room) for each in FILTERS if each.name in STANDING)


class Rooms:
    """Free room per (target, host), used up as attempts are placed. Private to one computation of a plan.

    A host may belong to several targets, each of which may see less of it than there is: what is used is used for all.
    """

    def __init__(self, by_target: dict[str, dict[str, Room]]) -> None:
        self.by_target = by_target
        self._refused: dict[bytes, Refusal] = {}

    def choose(self, job: model.Job, needed: str = "") -> str | Refusal:
        """Return the host with the most room that passes every filter, and take the room; or why there is none.

        `needed` is what the checkpoint that it continues from needs of a processor. Room only shrinks, so that what was refused
        once is refused to all that ask for the same.
        """
        asked = codec.encode(
            [job.target, job.pool, job.placement, job.resources, bool(job.workload.image), job.checkpoint.engine, needed]
        )
        host = self._refused.get(asked) or self._choose(Wish(job=job, processor=needed))
        if isinstance(host, Refusal):
            self._refused[asked] = host
        return host

    def _choose(self, wish: Wish) -> str | Refusal:
        job = wish.job
        rooms = self.by_target.get(job.target, {})
        if not rooms:
            return Refusal(text=f"target {job.target} has no host that was heard")
        fitting = [room for room in rooms.values() if all(each.fits(wish, room) for each in FILTERS)]
        if not fitting:
            return _refusal(wish, tuple(rooms.values()))
        best = min(fitting, key=lambda room: (-_share(room), room.attempts, room.view.state.host))
        self.take(best.view.state.host, job.resources)
        return best.view.state.host

    def take(self, host: str, wanted: model.Resources) -> None:
        """Use up room on a host; unknown hosts have none to use."""
        for rooms in self.by_target.values():
            room = rooms.get(host)
            if room is not None:
                rooms[host] = Room(
                    view=room.view,
                    cpu=room.cpu - (wanted.cpu or 0),
                    memory=room.memory - (wanted.memory or 0),
                    attempts=room.attempts + 1,
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No host fits, and how many failed on what, most common first."""

    text: str
    processor: bool = False
    """It is the processor alone that waiting does not help against: without a checkpoint there would be a host."""


def _refusal(wish: Wish, rooms: tuple[Room, ...]) -> Refusal:
    """Say what each host fails on first; where waiting cannot help, only what it cannot help against."""
    lasting = tuple(each for each in FILTERS if each.name in LASTING)
    never = all(_failed(wish, room, lasting) is not None for room in rooms)
    failed = (_failed(wish, room, lasting if never else FILTERS) for room in rooms)
    count = collections.Counter(why for why in failed if why is not None)
    text = ", ".join(f"{hosts} of {len(rooms)} hosts {why}" for why, hosts in count.most_common())
    if not never:
        return Refusal(text=text)
    anew = Wish(job=wish.job)
    if any(_failed(anew, room, lasting) is None for room in rooms):
        target = wish.job.target
        text = f"no host of target {target} has the processor features that the checkpoint needs: {text}"
        return Refusal(text=text, processor=True)
    return Refusal(text=f"no host of target {wish.job.target} can hold it: {text}")


def _failed(wish: Wish, room: Room, filters: Iterable[Filter]) -> str | None:
    bad = next((each for each in filters if not each.fits(wish, room)), None)
    if bad is None:
        return None
    if bad.name == processor.FACT:
        return f"{bad.why_not} (lacking {processor.told(_lacking(wish, room))})"
    if bad.name in EXPLAINED and (said := room.view.state.says_of(EXPLAINED[bad.name])):
        return f"{bad.why_not} ({said})"
    return room.view.closed or bad.why_not if bad.name == "open" else bad.why_not


def _lacking(wish: Wish, room: Room) -> tuple[str, ...]:
    return processor.lacking(wish.processor, room.view.state.facts.get(processor.FACT, ""))


def rooms(world: observed.World, records: Iterable[record.Record]) -> Rooms:
    """Return the room left on every host after the live attempts of the ledger and given-up ones that still run."""
    result = Rooms(
        {
            name: {
                host: Room(view=view, cpu=view.state.cpu - view.held_cpu, memory=view.state.memory - view.held_memory)
                for host, view in target.hosts.items()
                if target.known
            }
            for name, target in world.targets.items()
        }
    )
    taken: set[spec.AttemptRef] = set()
    for run in records:
        attempt = run.live
        if attempt is not None:
            taken.add(spec.AttemptRef(run=run.run, attempt=attempt.number))
            result.take(attempt.host, run.applied.resources)
    for target in world.targets.values():
        for ref, item in target.items.items():
            if ref not in taken and item.state is not observed.ItemState.ENDED and item.spec:
                taken.add(ref)
                result.take(item.host, item.spec.resources)
    return result


def _share(room: Room) -> float:
    """The smaller of the free shares of cpu and memory: balanced hosts stay balanced."""
    state = room.view.state
    return min(room.cpu / state.cpu if state.cpu else 0.0, room.memory / state.memory if state.memory else 0.0)
