"""The plan of one pass: a computation from desired state, ledger, observation and time to actions and intents. Nothing else."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.core import (
    absorb,
    action,
    cases,
    codec,
    decide,
    demands,
    endings,
    facts,
    intend,
    launches,
    orphans,
    record,
    resting,
    retention,
    ruling,
    situation,
    wake,
)
from reconciler.core.facts import Facts

__all__ = ["Facts", "compute", "follow"]


def compute(given: Facts) -> action.Plan:
    """Return the plan. Equal facts give an equal plan, with an equal digest."""
    return follow(given, {})[0]


def follow(given: Facts, before: resting.Resting) -> tuple[action.Plan, resting.Resting]:
    """Return the same plan as `compute`, sooner: what was at rest in the pass that returned `before` is taken over."""
    frozen = facts.frozen(given)
    wanted = facts.standing(given.wanted or facts.wanted(given.instance, given.desired), given, frozen)
    absorbed = _absorbed(given, wanted, resting.usable(before, given, frozen))
    records, lines, rested = absorbed.records, absorbed.lines, absorbed.rested
    about = cases.Gathered(given=given, wanted=wanted, frozen=frozen, records=records, sightings=absorbed.sightings)
    for run in list(cases.planned(about)):
        records[run.run] = run
        lines.append(cases.planned_line(run))
    actions = [each.act for each in rested.values()]
    waiting: list[tuple[ruling.Case, ruling.Decision]] = []
    for case in cases.gather(about, rested):
        decision = decide.decide(case)
        if decision.phase is record.Phase.RUNNING:
            waiting.append((case, decision))
            continue
        after, act, more = intend.plain(case, decision)
        records[after.run] = after
        actions.append(act)
        lines += more
        if after is given.records.get(after.run) and (still := resting.rest(case, act)) is not None:
            rested[after.run] = still
    window = launches.window(given, given.records.values()) if waiting else launches.Window(left=0, opens_at=None)
    for after, act, more in launches.place_all(given, list(records.values()), waiting, window.left):
        records[after.run] = after
        actions.append(act)
        lines += more
    actions += cases.unplanned(about)
    actions += orphans.find(given.instance, records, given.world)
    concerned = retention.concerned(records.values(), given.desired)
    actions += _prunes(given, concerned)
    actions.sort(key=_step)
    actions.sort(key=_place)
    changed = {run: each for run, each in records.items() if given.records.get(run) is not each}
    planned = action.Plan(
        revision=given.desired.revision,
        actions=tuple(actions),
        records=changed,
        lines=tuple(lines),
        wake_at=_wake_at(about, window, actions, changed, concerned),
        digest=_digest(given.desired.revision, actions),
    )
    return planned, rested


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absorbed:
    """The ledger with what the observation proves; the plan goes on to write its intents into it."""

    records: dict[str, record.Record]
    sightings: dict[str, situation.Sighting]
    """Of live attempts that are not at rest."""
    lines: list[record.Line]
    rested: dict[str, resting.Rest]


def _absorbed(given: Facts, wanted: facts.Wanted, before: resting.Resting) -> _Absorbed:
    records: dict[str, record.Record] = {}
    sightings: dict[str, situation.Sighting] = {}
    lines: list[record.Line] = []
    rested: dict[str, resting.Rest] = {}
    for name, known in given.records.items():
        rest = before.get(name)
        still = resting.again(rest, known, given, wanted) if rest is not None else None
        if still is not None:
            records[name], rested[name] = known, still
            continue
        run, live = known, known.live
        if live is not None:
            asked = wanted.by_run.get(name)
            look = endings.Look(job=asked[0] if asked else run.applied, now=given.now, budgets=given.budgets)
            sightings[name] = situation.locate(name, live, given.world)
            run, more = absorb.absorb(run, sightings[name], look)
            lines += more
        records[name] = demands.remembered(given.desired, run)
    return _Absorbed(records=records, sightings=sightings, lines=lines, rested=rested)


def _wake_at(
    about: cases.Gathered,
    window: launches.Window,
    actions: Iterable[action.Action],
    changed: Mapping[str, record.Record],
    concerned: Iterable[retention.Concerned],
) -> float | None:
    """The next moment at which the plan may be another one; at once where a run waits for what this very plan changes."""
    if any(cases.makes_way(about, run) for run in changed.values() if run.phase is record.Phase.STOPPED):
        return about.given.now
    updated = {act.run for act in actions if act.verb is action.Verb.UPDATE}
    if any(_taken_back(about.given.records[run], changed[run]) for run in updated & changed.keys()):
        return about.given.now
    limited = any(act.reason == "LaunchLimit" for act in actions)
    moments = (
        wake.at(about.given, about.records.values(), about.sightings.values(), concerned),
        window.opens_at if limited else None,
    )
    return min((moment for moment in moments if moment is not None), default=None)


def _taken_back(before: record.Record, after: record.Record) -> bool:
    """Whether a plan ends a request that is not wanted any more: now another one may be made."""
    return before.pending is not None and after.pending is None


def _prunes(given: Facts, concerned: Sequence[retention.Concerned]) -> Iterator[action.Action]:
    """Plan deletions, where the store answers. What an unreadable revision pins is not known, so all pins hold then."""
    pins = {demands.request_id(manifest) for manifest in given.desired.checkpoints.values() if manifest.keep}
    unsure = bool(demands.unsure(given.desired)) or not (given.desired.jobs or given.desired.allow_empty)
    lent = retention.lent(given.records.values(), given.desired) if concerned else frozenset()
    for run, kept in concerned:
        act = retention.prune(run, kept, None if unsure else pins, given.now, lent)
        if act is not None:
            yield act


_RANK: Mapping[action.Verb, int] = {verb: rank for rank, verb in enumerate(action.Verb)}

_place = operator.attrgetter("tenant", "job", "replica", "run")
"""Where an action stands among all. Those of one run stay in the order of their steps: sorting is stable."""


def _step(act: action.Action) -> tuple[int, int]:
    return (act.attempt or 0, _RANK[act.verb])


def _digest(revision: str, actions: Iterable[action.Action]) -> str:
    """Cover the revision and the facts that reviewed actions read; what merely waits or stands does not enter."""
    read = [
        [
            act.verb.value,
            act.run,
            act.attempt,
            act.target,
            act.host,
            act.store,
            list(act.digests),
            list(act.keep),
            act.assignment.spec.digest() if act.assignment else "",
            act.assignment.want.value if act.assignment else "",
        ]
        for act in actions
        if act.reviewed
    ]
    return codec.digest([revision, read])
