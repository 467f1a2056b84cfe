"""The plan of one pass: a computation from desired state, ledger, observation and time to actions and intents. Nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

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
    retention,
    ruling,
    situation,
    wake,
)
from reconciler.core.facts import Facts

__all__ = ["Facts", "compute"]


def compute(given: Facts) -> action.Plan:
    """Return the plan. Equal facts give an equal plan, with an equal digest."""
    frozen = facts.frozen(given)
    wanted = facts.standing(given.wanted or facts.wanted(given.instance, given.desired), given, frozen)
    records, sightings, lines = _absorbed(given, wanted)
    about = cases.Gathered(given=given, wanted=wanted, frozen=frozen, records=records, sightings=sightings)
    fresh = {run.run: run for run in cases.planned(about)}
    lines += [cases.planned_line(run) for run in fresh.values()]
    records.update(fresh)
    intended: list[intend.Intended] = []
    waiting: list[tuple[ruling.Case, ruling.Decision]] = []
    for case in cases.gather(about):
        decision = decide.decide(case)
        if decision.phase is record.Phase.RUNNING:
            waiting.append((case, decision))
        else:
            intended.append(intend.plain(case, decision))
    window = launches.window(given, given.records.values()) if waiting else launches.Window(left=0, opens_at=None)
    if waiting:
        intended += launches.place_all(given, records.values(), waiting, window.left)
    actions = [act for _, act, _ in intended]
    for run, _, more in intended:
        records[run.run] = run
        lines += more
    actions += cases.unplanned(about)
    actions += orphans.find(given.instance, records, given.world)
    actions += _prunes(given, records.values())
    actions.sort(key=_order)
    limited = any(act.reason == "LaunchLimit" for act in actions)
    moments = (wake.at(given, records.values(), sightings.values()), window.opens_at if limited else None)
    return action.Plan(
        revision=given.desired.revision,
        actions=tuple(actions),
        records={run: each for run, each in records.items() if given.records.get(run) is not each},
        lines=tuple(lines),
        wake_at=min((moment for moment in moments if moment is not None), default=None),
        digest=_digest(given.desired.revision, actions),
    )


def _absorbed(
    given: Facts, wanted: facts.Wanted
) -> tuple[dict[str, record.Record], dict[str, situation.Sighting], list[record.Line]]:
    """Return the ledger with what the observation proves, the sighting of each live attempt, and what is to be noted."""
    records: dict[str, record.Record] = {}
    sightings: dict[str, situation.Sighting] = {}
    lines: list[record.Line] = []
    for name, known in given.records.items():
        run = demands.forgotten(given.desired, known)
        live = run.live
        if live is not None:
            asked = wanted.by_run.get(name)
            look = endings.Look(job=asked[0] if asked else run.applied, now=given.now, budgets=given.budgets)
            sightings[name] = situation.locate(name, live, given.world)
            run, more = absorb.absorb(run, sightings[name], look)
            lines += more
        records[name] = run
    return records, sightings, lines


def _prunes(given: Facts, records: Iterable[record.Record]) -> Iterator[action.Action]:
    """Plan deletions, where the store answers. What an unreadable revision pins is not known, so all pins hold then."""
    pins = {demands.request_id(manifest) for manifest in given.desired.checkpoints.values() if manifest.keep}
    unsure = bool(given.desired.problems) or bool(given.desired.frozen) or not (given.desired.jobs or given.desired.allow_empty)
    for run in records:
        if len(run.checkpoints) > 1 and run.store is not None and run.store.name in given.desired.stores:
            act = retention.prune(run, None if unsure else pins, given.now)
            if act is not None:
                yield act


_RANK: Mapping[action.Verb, int] = {verb: rank for rank, verb in enumerate(action.Verb)}


def _order(act: action.Action) -> tuple[str, str, int, str, int, int]:
    return (act.tenant, act.job, act.replica, act.run, act.attempt or 0, _RANK[act.verb])


def _digest(revision: str, actions: Iterable[action.Action]) -> str:
    """Cover the revision and the facts that acting actions read; what merely waits or stands does not enter."""
    read = [
        [
            act.verb.value,
            act.run,
            act.attempt,
            act.target,
            act.host,
            act.store,
            list(act.digests),
            act.assignment.spec.digest() if act.assignment else "",
            act.assignment.want.value if act.assignment else "",
        ]
        for act in actions
        if act.acts or act.effect is action.Effect.REFUSE
    ]
    return codec.digest([revision, read])
