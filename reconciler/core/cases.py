"""From facts to cases: which runs there are to decide about, and what is known about each."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from reconciler.core import action, classify, demands, facts, identity, model, order, record, ruling, situation, transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """One pass's facts after absorption."""

    given: facts.Facts
    wanted: facts.Wanted
    frozen: Mapping[str, str]
    """By run: why its manifest stands at its last valid version."""
    records: Mapping[str, record.Record]
    sightings: Mapping[str, situation.Sighting]
    """By run, of those with a live attempt."""


def planned(about: Gathered) -> Iterator[record.Record]:
    """Begin a record for every run that is wanted for the first time and that no unfinished run stands in the way of."""
    given = about.given
    fresh = [(name, *asked) for name, asked in about.wanted.by_run.items() if name not in about.records]
    standing = _standing(about) if fresh else {}
    for name, job, replica in fresh:
        if _waits_with(job, given.now) or _in_the_way(job, standing.get((job.tenant, job.name, replica))):
            continue
        yield record.Record(
            instance=given.instance,
            run=name,
            tenant=job.tenant,
            job=job.name,
            replica=replica,
            identity=identity.VERSION,
            revision=given.desired.revision,
            code=job.workload.code.tree if job.workload.code else "",
            created_at=given.now,
            ledger=given.ledger,
            applied=job,
            store=given.desired.stores.get(job.checkpoint.store),
            reason="New",
        )


def planned_line(run: record.Record) -> record.Line:
    """Return the transition of a run that is planned now."""
    return transition.line(run, "planned", f"{transition.name(run)} is planned as run {run.run[:12]}.", run.created_at)


def unplanned(about: Gathered) -> Iterator[action.Action]:
    """Yield what is said of declared runs that are not begun: suspended or stopped before their first attempt."""
    for name, (job, replica) in about.wanted.by_run.items():
        if name in about.records or not (reason := _waits_with(job, about.given.now)):
            continue
        yield action.Action(
            verb=action.Verb.KEEP,
            tenant=job.tenant,
            job=job.name,
            replica=replica,
            run=name,
            target=job.target,
            reason=reason,
            sentence=f"`state` is `{job.state.value}`; it has not been started",
        )


def makes_way(about: Gathered, run: record.Record) -> bool:
    """Return whether a declared run waits for this one, of the same Job and replica, to end."""
    wanted = about.wanted.by_key.get(run.key)
    if wanted is None or wanted == run.run:
        return False
    waiting = about.records.get(wanted)
    return waiting is None or waiting.phase is record.Phase.PENDING


def gather(about: Gathered, rested: Container[str]) -> Iterator[ruling.Case]:
    """Yield a case for each run that is unfinished or asked for and not at rest.

    Runs that are over and replaced have nothing more to say.
    """
    given, by_run, records = about.given, about.wanted.by_run, about.records
    desired = given.desired
    phases = _phases(about) if any(job.depends_on for job in desired.jobs.values()) else {}
    requests = demands.by_run(desired, records.values())
    standing, newest = _standing(about), _newest(about)
    unsure = demands.unsure(desired)
    empty = not desired.jobs and not desired.allow_empty and not about.frozen
    for name, run in list(records.items()):
        if name in rested:
            continue
        asked = by_run.get(name)
        job = asked[0] if asked else None
        over = run.phase in record.TERMINAL or run.phase is record.Phase.STOPPED
        if job is None and over and run.live is None:
            continue
        named = desired.jobs.get(run.applied.ref) if job is None else job
        successor = about.wanted.by_key.get(run.key) if job is None else None
        declared = job or (by_run[successor][0] if successor else None)
        before = standing.get(run.key) if standing and job is not None else None
        keeps = desired.stores.get(run.store.name if run.store else (job or run.applied).checkpoint.store, run.store)
        yield ruling.Case(
            run=run,
            job=job,
            successor=declared if job is None else None,
            replicas=named.replicas if named else None,
            frozen=about.frozen.get(name, ""),
            changes=classify.changes(run.applied, declared) if declared is not None and not over else (),
            requests=requests.get(name, ()),
            unsure=unsure,
            sighting=about.sightings.get(name) if run.live is not None else None,
            keeps=keeps,
            store=given.world.stores.get(keeps.name) if keeps else None,
            waits_for=order.unfinished(job, phases) if job is not None and job.depends_on and not run.attempts else (),
            before=before if job is not None and _in_the_way(job, before) else None,
            followed=bool(newest) and newest.get(run.key, run.created_at) > run.created_at,
            empty=empty,
            now=given.now,
            budgets=given.budgets,
        )


def _waits_with(job: model.Job, now: float) -> str:
    """Return the reason why a Job's runs are not to be begun, or nothing."""
    if job.state is model.JobState.STOPPED:
        return "Stopped"
    return "Suspended" if situation.suspended(job, now) else ""


def _standing(about: Gathered) -> Mapping[facts.Key, record.Record]:
    """Return the unfinished runs with work done that no manifest asks for any more, a live one first."""
    found: dict[facts.Key, record.Record] = {}
    unfinished = (record.Phase.PENDING, record.Phase.RUNNING, record.Phase.SUSPENDED)
    for name, run in about.records.items():
        if name in about.wanted.by_run or run.phase not in unfinished or run.unbegun:
            continue
        if run.live is not None or run.key not in found:
            found[run.key] = run
    return found


def _in_the_way(job: model.Job, before: record.Record | None) -> bool:
    """Whether the run before has to end first: with `onChange: restart` one that is not alive gives way in this very pass."""
    return before is not None and (job.on_change is model.OnChange.REFUSE or before.live is not None)


def _newest(about: Gathered) -> Mapping[facts.Key, float]:
    """Return when the newest run was planned, by key, of those that no manifest asks for."""
    newest: dict[facts.Key, float] = {}
    for name, run in about.records.items():
        if name not in about.wanted.by_run:
            newest[run.key] = max(newest.get(run.key, run.created_at), run.created_at)
    return newest


def _phases(about: Gathered) -> Mapping[model.ObjectRef, tuple[record.Phase, ...]]:
    """Return, by Job, the phases of the runs its manifest asks for; one that is not recorded yet is pending."""
    phases: dict[model.ObjectRef, tuple[record.Phase, ...]] = {}
    for name, (job, _) in about.wanted.by_run.items():
        phase = about.records[name].phase if name in about.records else record.Phase.PENDING
        phases[job.ref] = (*phases.get(job.ref, ()), phase)
    return phases
