"""The plan of one pass: a computation from desired state, ledger, observation and time to actions and intents. Nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.core import (
    absorb,
    action,
    codec,
    decide,
    identity,
    intend,
    model,
    observed,
    order,
    orphans,
    place,
    record,
    retention,
    ruling,
    situation,
    transition,
)

Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All a plan depends on."""

    instance: str
    desired: model.Desired
    records: Mapping[str, record.Record]
    """The ledger as read, by run."""
    world: observed.World
    now: float
    """POSIX time in seconds."""
    budgets: situation.Budgets = field(default_factory=situation.Budgets)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Which runs the manifests ask for."""

    by_run: Mapping[str, tuple[model.Job, int]]
    by_key: Mapping[Key, str]


def compute(facts: Facts) -> action.Plan:
    """Return the plan. Equal facts give an equal plan, with an equal digest."""
    frozen = _frozen(facts)
    wanted = _wanted(facts, frozen)
    records, lines = _absorbed(facts)
    fresh = dict(_planned(facts, wanted, records))
    lines += [_planned_line(run, facts.now) for run in fresh.values()]
    records.update(fresh)
    cases = _cases(facts, wanted, frozen, records)
    intended: list[intend.Intended] = []
    waiting: list[tuple[ruling.Case, ruling.Decision]] = []
    for case in cases:
        decision = decide.decide(case)
        if decision.phase is record.Phase.RUNNING and case.run.live is None and case.job is not None:
            waiting.append((case, decision))
        else:
            intended.append(intend.plain(case, decision))
    intended += _launches(facts, records, waiting)
    actions = [act for _, act, _ in intended]
    for run, _, more in intended:
        records[run.run] = run
        lines += more
    actions += orphans.find(facts.instance, records, facts.world, facts.records)
    actions += _prunes(facts, records)
    actions.sort(key=lambda act: (act.tenant, act.job, act.replica, act.attempt or 0, act.verb.value))
    return action.Plan(
        revision=facts.desired.revision,
        actions=tuple(actions),
        records={run: each for run, each in records.items() if facts.records.get(run) is not each},
        lines=tuple(lines),
        wake_at=_wake_at(facts, records.values()),
        digest=_digest(facts.desired.revision, actions),
    )


def _frozen(facts: Facts) -> Mapping[str, str]:
    """Return, by run, why its manifest stands at its last valid version.

    That is so when the loader says so, and when a Job is missing while the file that declared it has a problem: after a restart
    only the ledger still knows what an unreadable file held.
    """
    desired = facts.desired
    if not desired.frozen and not desired.problems:
        return {}
    broken = {problem.file: str(problem) for problem in reversed(desired.problems)}
    frozen: dict[str, str] = {}
    for name, run in facts.records.items():
        ref = run.applied.ref
        text = desired.frozen.get(ref) or ("" if ref in desired.jobs else broken.get(run.applied.origin.file, ""))
        if text:
            frozen[name] = text
    return frozen


def _wanted(facts: Facts, frozen: Mapping[str, str]) -> _Wanted:
    by_run: dict[str, tuple[model.Job, int]] = {}
    by_key: dict[Key, str] = {}
    for job in facts.desired.jobs.values():
        for replica in range(job.replicas):
            named = identity.run_id(facts.instance, job, replica)
            by_run[named] = (job, replica)
            by_key[job.tenant, job.name, replica] = named
    for name in frozen:
        run = facts.records[name]
        if run.applied.ref not in facts.desired.jobs and run.phase not in record.TERMINAL:
            by_run[name] = (run.applied, run.replica)
            by_key[run.key] = name
    return _Wanted(by_run=by_run, by_key=by_key)


def _absorbed(facts: Facts) -> tuple[dict[str, record.Record], list[record.Line]]:
    records: dict[str, record.Record] = {}
    lines: list[record.Line] = []
    for name, run in facts.records.items():
        if run.live is None:
            records[name] = run
            continue
        records[name], more = absorb.absorb(run, facts.world, facts.now, facts.budgets)
        lines += more
    return records, lines


def _planned(facts: Facts, wanted: _Wanted, records: Mapping[str, record.Record]) -> Iterator[tuple[str, record.Record]]:
    """Begin a record for every run that is wanted for the first time and that no unfinished run stands in the way of."""
    standing: dict[Key, record.Record] = {}
    if len(records) < len(wanted.by_run) or any(run not in records for run in wanted.by_run):
        standing = {run.key: run for run in records.values() if run.run not in wanted.by_run and _in_the_way(run)}
    for name, (job, replica) in wanted.by_run.items():
        if name in records or job.state is not model.JobState.RUNNING:
            continue
        before = standing.get((job.tenant, job.name, replica))
        if before is not None and (job.on_change is model.OnChange.REFUSE or before.live is not None):
            continue
        yield (
            name,
            record.Record(
                instance=facts.instance,
                run=name,
                tenant=job.tenant,
                job=job.name,
                replica=replica,
                identity=identity.VERSION,
                revision=facts.desired.revision,
                code=job.workload.code.tree if job.workload.code else "",
                created_at=facts.now,
                applied=job,
                store=facts.desired.stores.get(job.checkpoint.store),
                reason="New",
            ),
        )


def _in_the_way(run: record.Record) -> bool:
    """An unfinished run with work done stands in the way of another one of the same name; a stopped one does not."""
    return run.phase in (record.Phase.PENDING, record.Phase.RUNNING, record.Phase.SUSPENDED) and bool(run.attempts)


def _planned_line(run: record.Record, now: float) -> record.Line:
    text = f"{transition.name(run)} is planned as run {run.run[:12]}."
    return transition.line(run, "planned", text, now)


def _cases(
    facts: Facts, wanted: _Wanted, frozen: Mapping[str, str], records: Mapping[str, record.Record]
) -> Iterator[ruling.Case]:
    """Yield a case for each run that is unfinished or asked for; runs that are over and replaced have nothing more to say."""
    phases = _phases(wanted, records)
    requests = _requests(facts, records)
    empty = not facts.desired.jobs and not facts.desired.allow_empty and not frozen
    for name, run in records.items():
        job = wanted.by_run[name][0] if name in wanted.by_run else None
        live = run.live
        if job is None and live is None and (run.phase in record.TERMINAL or run.phase is record.Phase.STOPPED):
            continue
        successor = wanted.by_key.get(run.key) if job is None else None
        store = facts.world.stores.get(run.store.name) if run.store else None
        yield ruling.Case(
            run=run,
            job=job,
            successor=wanted.by_run[successor][0] if successor else None,
            frozen=frozen.get(name, ""),
            requests=requests.get(run.key, ()),
            sighting=situation.locate(name, live, facts.world) if live else None,
            offered=store.checkpoints.get(name) if store is not None and store.known else None,
            named=store.named.get(job.restore_from) if store is not None and job is not None else None,
            waits_for=order.unfinished(job, phases) if job is not None and job.depends_on and not run.attempts else (),
            empty=empty,
            now=facts.now,
            budgets=facts.budgets,
        )


def _phases(wanted: _Wanted, records: Mapping[str, record.Record]) -> Mapping[model.ObjectRef, tuple[record.Phase, ...]]:
    """Return, by Job, the phases of the runs its manifest asks for; one that is not recorded yet is pending."""
    phases: dict[model.ObjectRef, tuple[record.Phase, ...]] = {}
    for name, (job, _) in wanted.by_run.items():
        phase = records[name].phase if name in records else record.Phase.PENDING
        phases[job.ref] = (*phases.get(job.ref, ()), phase)
    return phases


def request_id(manifest: model.CheckpointRequest) -> str:
    """Return the id under which a Checkpoint manifest is served: another job, reason or `stop` is another request."""
    text = codec.digest([manifest.tenant, manifest.name, manifest.job, manifest.reason, manifest.stop])
    return f"{manifest.name}-{text.removeprefix('sha256:')[:12]}"


def _requests(
    facts: Facts, records: Mapping[str, record.Record]
) -> Mapping[Key, tuple[tuple[str, model.CheckpointRequest], ...]]:
    """Return the Checkpoint manifests by run key; one that an earlier run of the same Job has served is served."""
    if not facts.desired.checkpoints:
        return {}
    served: dict[Key, set[str]] = {}
    for run in records.values():
        if run.served:
            served.setdefault(run.key, set()).update(run.served)
    found: dict[Key, list[tuple[str, model.CheckpointRequest]]] = {}
    for run in records.values():
        for manifest in facts.desired.checkpoints.values():
            if (manifest.tenant, manifest.job) != (run.tenant, run.job):
                continue
            name = request_id(manifest)
            elsewhere = name in served.get(run.key, ()) and name not in run.served
            if not elsewhere and (name, manifest) not in found.setdefault(run.key, []):
                found[run.key].append((name, manifest))
    return {key: tuple(each) for key, each in found.items()}


def _launches(
    facts: Facts, records: Mapping[str, record.Record], waiting: list[tuple[ruling.Case, ruling.Decision]]
) -> Iterator[intend.Intended]:
    """Place the runs that may begin an attempt: higher priority first, then the one planned first."""
    if not waiting:
        return
    rooms = place.rooms(facts.world, records.values())
    left = facts.budgets.launches
    waiting.sort(key=lambda pair: (-_priority(pair[0]), pair[0].run.created_at, pair[0].run.key))
    for case, decision in waiting:
        job = case.job or case.run.applied
        target = facts.world.targets.get(job.target)
        if target is None or not target.known:
            why = target.error if target else "it has not been observed"
            yield intend.plain(case, ruling.wait("TargetUnknown", f"target {job.target} cannot be listed now: {why}"))
            continue
        if left <= 0:
            text = f"this pass began {facts.budgets.launches} attempts, the most that one pass may"
            yield intend.plain(case, ruling.wait("LaunchLimit", text))
            continue
        host = rooms.choose(job)
        if isinstance(host, place.Refusal):
            yield intend.plain(case, ruling.wait("WaitingForCapacity", host.text))
            continue
        left -= 1
        yield intend.launch(case, decision, job, host)


def _priority(case: ruling.Case) -> int:
    return (case.job or case.run.applied).priority


def _prunes(facts: Facts, records: Mapping[str, record.Record]) -> Iterator[action.Action]:
    pins = {request_id(manifest) for manifest in facts.desired.checkpoints.values() if manifest.keep}
    for run in records.values():
        if len(run.checkpoints) > 1:
            act = retention.prune(run, run.store, pins, facts.now)
            if act is not None:
                yield act


def _wake_at(facts: Facts, records: Iterable[record.Record]) -> float | None:
    """The next moment at which time alone changes the plan."""
    moments = [run.not_before for run in records if run.not_before is not None]
    moments += [job.suspend.until for job in facts.desired.jobs.values() if job.suspend.until is not None]
    moments += [
        run.pending.failed_at + facts.budgets.delay(run.pending.tries)
        for run in records
        if run.pending is not None and run.pending.failed_at is not None
    ]
    return min((moment for moment in moments if moment > facts.now), default=None)


def _digest(revision: str, actions: Iterable[action.Action]) -> str:
    """Cover the revision and the facts that acting actions read; what merely waits or stands does not enter."""
    read = [
        [
            act.verb.value,
            act.run,
            act.attempt,
            act.target,
            act.host,
            list(act.digests),
            dataclasses.replace(act.assignment, request=None).spec.digest() if act.assignment else "",
            act.assignment.want.value if act.assignment else "",
        ]
        for act in actions
        if act.acts or act.effect is action.Effect.REFUSE
    ]
    return codec.digest([revision, read])
