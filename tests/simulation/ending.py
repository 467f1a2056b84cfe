"""What must be true once the faults have stopped: every wanted run is as it was asked to be, and the loop is quiet."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from reconciler import load
from reconciler.core import action, failures, identity, model, record
from reconciler.source import fake
from tests.simulation import watch

if TYPE_CHECKING:
    from tests.simulation import world

AS_ASKED = {
    "WaitingForDependency": "a dependency is suspended or stopped",
    "DependencyFailed": "a dependency failed",
}
"""Reasons for which a wanted run may stand unfinished for ever, and when."""


def wanted(of: world.World) -> dict[str, model.Job]:
    """Return the runs that the last revision asks for."""
    return _wanted(of.source, of.person.revisions[-1])


@functools.lru_cache(maxsize=4)
def _wanted(source: fake.FakeSource, revision: str) -> dict[str, model.Job]:
    jobs = load.revision(source.tree(revision)).jobs.values()
    return {identity.run_id("sim", job, replica): job for job in jobs for replica in range(job.replicas)}


def unfinished(of: world.World) -> str:
    """Return what is not yet as it was asked to be; empty: nothing."""
    records = of.ledger.read().records
    for run, job in wanted(of).items():
        text = _run(of, job, records.get(run))
        if text:
            return f"{job.name}: {text}"
    for host in of.machines.values():
        for ref, entry in host.disk.entries.items():
            run_record = records.get(ref.run)
            live = run_record.live if run_record else None
            if live is None or live.number != ref.attempt:
                return f"{host.name} still has {of.call(ref)} ({entry.stage.value})"
    for name, each in records.items():
        if name not in wanted(of) and each.phase not in (*record.TERMINAL, record.Phase.STOPPED):
            return f"{each.job}: run {name[:8]} is not wanted and {each.phase.value}"
    for rival in of.reconcilers:
        if rival.last is None or rival.last.plan is None:
            return f"{rival.name} has made no pass"
        acting = [act for act, outcome in rival.last.outcomes if act.verb is not action.Verb.PRUNE]
        if acting:
            return f"{rival.name} is not quiet: {acting[0].verb.value} {acting[0].job}: {acting[0].sentence}"
    return ""


def _run(of: world.World, job: model.Job, run: record.Record | None) -> str:
    if run is None:
        return "" if job.state is not model.JobState.RUNNING else "was never planned"
    if run.phase in record.TERMINAL:
        return ""
    if job.state is model.JobState.STOPPED:
        return "" if run.phase is record.Phase.STOPPED else f"is {run.phase.value} and was to be stopped"
    if job.state is model.JobState.SUSPENDED:
        return "" if run.phase is record.Phase.SUSPENDED else f"is {run.phase.value} and was to be suspended"
    if _held(of, run):
        return ""
    return f"is {run.phase.value} ({_why(of, run)})"


def _held(of: world.World, run: record.Record) -> bool:
    return run.phase is record.Phase.PENDING and _reason(of, run) in AS_ASKED


def _reason(of: world.World, run: record.Record) -> str:
    act = _action(of, run)
    return act.reason if act else ""


def _why(of: world.World, run: record.Record) -> str:
    act = _action(of, run)
    return f"{act.reason}: {act.sentence}" if act else "no pass has said why"


def _action(of: world.World, run: record.Record) -> action.Action | None:
    for rival in of.reconcilers:
        if rival.last is not None and rival.last.plan is not None:
            for act in rival.last.plan.actions:
                if act.run == run.run:
                    return act
    return None


def check(of: world.World) -> None:
    """Check what holds at the very end."""
    records = of.ledger.read().records
    of.watch.check_notes({revision: of.ledger.note(revision) for revision in of.person.revisions})
    watch.insist(len(of.ledger.read().joins) == of.invited, "nobody else's commits are lost", "a token is gone")
    for run in records.values():
        counted, truly = run.failures, of.bad_ends.get(run.run, 0)
        watch.insist(counted <= truly, "only the program's failures count", f"{counted} of {truly} of {run.job}")
        if run.phase is record.Phase.FAILED:
            watch.insist(
                _may_fail(run), "a run fails only by its own fault", f"run {run.run[:8]} of {run.job}: {run.attempts[-1]}"
            )
        for host in of.machines.values():
            for ref, job in host.disk.jobs.items():
                live = run.live
                fits = live is not None and live.number == ref.attempt
                watch.insist(
                    ref.run != run.run or not job.alive or fits, "nothing is left running", f"{of.call(ref)} on {host.name}"
                )
        if run.store is not None:
            of.watch.offered(run.run, of.depot.truth().list(run.run))


def _may_fail(run: record.Record) -> bool:
    last = run.attempts[-1]
    retries = run.applied.retries
    by_itself = run.failures > retries.failure
    by_machines = retries.preemption is not None and run.preemptions > retries.preemption
    return (by_itself or by_machines) and last.failure in {*(row.name for row in failures.TABLE), *failures.MACHINE}
