"""Rules for runs without a live attempt, first match decides: over, unwanted, waiting, or the next attempt."""

from __future__ import annotations

from reconciler.core import action, lineage, model, observed, record, ruling, situation, transition


def _over(case: ruling.Case) -> ruling.Decision | None:
    run = case.run
    if run.phase is record.Phase.FINISHED:
        return ruling.keep("Finished", f"finished in attempt {run.attempts[-1].number if run.attempts else 0}")
    if run.phase is record.Phase.FAILED:
        detail = run.attempts[-1].detail if run.attempts else ""
        return ruling.keep("Failed", f"attempt {len(run.attempts)} {detail}" if detail else "failed")
    return None


def _idle_unwanted(case: ruling.Case) -> ruling.Decision | None:
    run, job = case.run, case.job
    if case.empty:
        return ruling.empty_refused(case)
    if job is None and case.successor is not None:
        stopped = run.phase is record.Phase.STOPPED or not run.attempts or case.successor.on_change is model.OnChange.RESTART
        return (
            ruling.keep("Superseded", "the manifest asks for another run now", record.Phase.STOPPED)
            if stopped
            else ruling.changed_run_refused(case)
        )
    if job is None and not case.frozen:
        return ruling.keep("Removed", "it is not declared any more", record.Phase.STOPPED)
    if job is None:
        return ruling.keep("Invalid", case.frozen)
    if job.state is model.JobState.STOPPED:
        return ruling.keep("Stopped", "`state` is `Stopped`", record.Phase.STOPPED)
    if situation.suspended(job, case.now):
        return ruling.keep("Suspended", "`state` is `Suspended`", record.Phase.SUSPENDED)
    if any(manifest.stop for _, manifest in case.requests) and run.phase is record.Phase.STOPPED:
        return ruling.keep("Stopped", "a Checkpoint manifest with `stop` holds it stopped")
    return None


def _dependencies(case: ruling.Case) -> ruling.Decision | None:
    if not case.waits_for or case.run.attempts:
        return None
    failed = any("failed" in each for each in case.waits_for)
    return ruling.wait("DependencyFailed" if failed else "WaitingForDependency", f"waits for {', '.join(case.waits_for)}")


def _backing_off(case: ruling.Case) -> ruling.Decision | None:
    until = case.run.not_before
    if until is None or case.now >= until or until - case.now > case.budgets.backoff_cap:
        return None
    return ruling.wait("BackingOff", f"attempt {len(case.run.attempts) + 1} follows in {transition.duration(until - case.now)}")


def _launch(case: ruling.Case) -> ruling.Decision | None:
    """Begin the next attempt, from the right checkpoint or not at all: an unreadable store is not an empty one."""
    run, job = case.run, case.job
    if job is None:
        return None
    number = len(run.attempts) + 1
    wanted = job.restore_from
    begun = any(attempt.restored_from == wanted for attempt in run.attempts)
    if wanted == "none" or job.checkpoint.engine is model.EngineName.NONE:
        return _start(case, number, None)
    if not run.attempts and wanted == "latest":
        return _start(case, number, None)
    if case.offered is None:
        return ruling.wait(
            "StoreUnavailable", f"store {job.checkpoint.store} cannot be listed now, and attempt {number} may have work there"
        )
    if wanted.startswith("sha256:") and not begun:
        if case.named is None:
            return ruling.wait("CheckpointMissing", f"store {job.checkpoint.store} does not offer {wanted}")
        taken = case.named
        return _start(case, number, taken)
    return _start(case, number, lineage.latest(run, case.offered))


def _start(case: ruling.Case, number: int, taken: observed.Taken | None) -> ruling.Decision:
    run = case.run
    newest = run.newest
    if newest is None:
        reason, because = "New", "it is wanted for the first time"
    elif newest.ending is record.Ending.LOST:
        reason, because = "Replacing", f"attempt {newest.number} was lost"
    elif newest.ending is record.Ending.FAILED:
        reason, because = "Retrying", f"attempt {newest.number} {newest.detail}"
    else:
        reason, because = "Continuing", f"attempt {newest.number} was ended by a checkpoint or a stop"
    source = f" from checkpoint {taken.digest[:19]}{transition.at_step(taken)}" if taken else " from the beginning"
    return ruling.Decision(
        verb=action.Verb.RESTORE if taken else action.Verb.START,
        effect=action.Effect.CREATE,
        reason=reason,
        sentence=f"attempt {number}{source}: {because}",
        restore=taken,
        phase=record.Phase.RUNNING,
    )


TABLE: tuple[ruling.Rule, ...] = (_over, _idle_unwanted, _dependencies, _backing_off, _launch)
"""In the order in which they are asked."""
