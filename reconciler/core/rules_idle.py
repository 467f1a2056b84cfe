"""Rules for runs without a live attempt, first match decides: over, unwanted, held, waiting, or the next attempt."""

from __future__ import annotations

import dataclasses

from reconciler.core import action, lineage, model, observed, record, ruling, situation, transition


def _over(case: ruling.Case) -> ruling.Decision | None:
    run = case.run
    number = run.attempts[-1].number if run.attempts else 0
    if run.phase is record.Phase.FINISHED:
        again = "; a later run of this Job exists: set `rerun` to a new text to run it once more" if case.followed else ""
        return ruling.keep("Finished", f"finished in attempt {number}{again}")
    if run.phase is record.Phase.FAILED:
        detail = run.attempts[-1].detail if run.attempts else ""
        return ruling.keep("Failed", f"attempt {number} {detail}" if detail else "failed")
    return None


def _superseded(case: ruling.Case) -> ruling.Decision | None:
    """The manifest asks for another run: this one gives way if it has nothing to lose or the manifest says so."""
    if case.job is not None or case.successor is None:
        return None
    if case.run.phase is record.Phase.STOPPED or case.run.unbegun:
        return ruling.keep("Superseded", "the manifest asks for another run now", record.Phase.STOPPED)
    if case.successor.on_change is model.OnChange.RESTART:
        ends = ruling.keep("Superseded", ruling.restarted(case), record.Phase.STOPPED)
        return dataclasses.replace(ends, changes=case.changes)
    return None


def _removed(case: ruling.Case) -> ruling.Decision | None:
    if case.declared is not None:
        return None
    if case.frozen:
        return ruling.keep("Invalid", case.frozen)
    return ruling.keep("Removed", ruling.unwanted(case), record.Phase.STOPPED)


def _stopped(case: ruling.Case) -> ruling.Decision | None:
    if case.declared is not None and case.declared.state is model.JobState.STOPPED:
        return ruling.keep("Stopped", "`state` is `Stopped`", record.Phase.STOPPED)
    return None


def _suspended(case: ruling.Case) -> ruling.Decision | None:
    job = case.declared
    if job is None or not situation.suspended(job, case.now):
        return None
    why = f": {job.suspend.reason}" if job.suspend.reason else ""
    return ruling.keep("Suspended", f"`state` is `Suspended`{why}", record.Phase.SUSPENDED)


def _held(case: ruling.Case) -> ruling.Decision | None:
    """A Checkpoint manifest with `stop` holds a run stopped for as long as it exists, also one that had nothing to save."""
    holding = next((manifest.name for _, manifest in case.requests if manifest.stop), None)
    if holding is None:
        return None
    return ruling.keep("Stopped", f"Checkpoint {holding} with `stop` holds it stopped", record.Phase.STOPPED)


def _perhaps_held(case: ruling.Case) -> ruling.Decision | None:
    """A run that a Checkpoint manifest has stopped stays so while nobody knows whether that manifest still exists."""
    lacking = set(case.run.served) - {name for name, _ in case.requests}
    if not case.unsure or not lacking or case.run.phase is not record.Phase.STOPPED:
        return None
    return ruling.keep("Invalid", f"{case.unsure}, and may declare the Checkpoint that holds it stopped")


def _halted(case: ruling.Case) -> ruling.Decision | None:
    """A halted run whose manifest has turned into another run is not taken up again by itself."""
    if case.run.phase is not record.Phase.SUSPENDED:
        return None
    return ruling.changed_run_refused(case)


def _one_at_a_time(case: ruling.Case) -> ruling.Decision | None:
    """Two runs of one Job and replica never run at once."""
    if case.before is None:
        return None
    return ruling.wait("WaitingForPredecessor", f"waits for run {case.before.run[:12]} of the same Job to end")


def _dependencies(case: ruling.Case) -> ruling.Decision | None:
    if not case.waits_for or case.run.attempts:
        return None
    failed = any(held.phase is record.Phase.FAILED for held in case.waits_for)
    names = ", ".join(str(held) for held in case.waits_for)
    return ruling.wait("DependencyFailed" if failed else "WaitingForDependency", f"waits for {names}")


def _backing_off(case: ruling.Case) -> ruling.Decision | None:
    until = case.run.not_before
    if until is None or case.now >= until or until - case.now > case.budgets.backoff_cap:
        return None
    last = case.run.newest
    why = f"; attempt {last.number} {last.detail}" if last is not None and last.detail else ""
    return ruling.wait("BackingOff", f"another attempt follows in {transition.duration(until - case.now)}{why}")


def _named(case: ruling.Case) -> ruling.Decision | None:
    """`restore.from` names a checkpoint: it is restored once, and what follows continues from there."""
    wanted = case.manifest.restore_from
    if not wanted.startswith("sha256:") or (case.run.attempts and case.run.applied.restore_from == wanted):
        return None
    if case.store is None or not case.store.known:
        return _store_unavailable(case)
    own = next((taken for taken in case.offered or () if taken.digest == wanted), None)
    taken = own or case.store.named.get(case.run.tenant, {}).get(wanted)
    if taken is None:
        return ruling.wait("CheckpointMissing", f"store {case.store.name} does not offer {wanted}")
    return _start(case, taken)


def _anew(case: ruling.Case) -> ruling.Decision | None:
    """Nothing to continue from: the first attempt, or a manifest that says so."""
    job = case.manifest
    if not case.run.attempts or job.restore_from == "none" or job.checkpoint.engine is model.EngineName.NONE:
        return _start(case, None)
    return _start(case, None) if case.keeps is None else None


def _continued(case: ruling.Case) -> ruling.Decision | None:
    """The next attempt, from the newest checkpoint of the lineage. An unreadable or oddly empty store is not an empty one."""
    run = case.run
    if case.store is None or case.offered is None:
        return _store_unavailable(case)
    offered = (*case.store.named.get(run.tenant, {}).values(), *case.offered)
    taken = lineage.latest(run, offered)
    known = lineage.latest(run, (saved.taken for saved in run.checkpoints))
    if taken is not None:
        return _not_offered_yet(case, known, offered) or _start(case, taken, _missed(case, known, offered))
    if case.manifest.restore_from.startswith("sha256:"):
        return ruling.wait("CheckpointMissing", f"{case.manifest.restore_from} could not be restored, and nothing follows it")
    if known is not None:
        text = f"store {case.store.name} offers none of the {len(run.checkpoints)} checkpoints that the ledger has of it"
        return ruling.wait("CheckpointMissing", text)
    return _start(case, None)


def _not_offered_yet(
    case: ruling.Case, known: observed.Taken | None, offered: tuple[observed.Taken, ...]
) -> ruling.Decision | None:
    """A listing may lag behind a checkpoint just taken: for a while after the attempt's end it is waited for."""
    if known is None or any(taken.digest == known.digest for taken in offered):
        return None
    left = situation.lag_left(case.run, case.now, case.budgets)
    if left <= 0:
        return None
    text = f"checkpoint {known.digest[:19]}{transition.at_step(known)} is recorded and not offered yet"
    return ruling.wait("CheckpointMissing", f"{text}; the one before it is taken in {transition.duration(left)}")


def _missed(case: ruling.Case, known: observed.Taken | None, offered: tuple[observed.Taken, ...]) -> observed.Taken | None:
    """Return the newest checkpoint that the ledger knows where it would be the one to continue from, were it offered."""
    if known is None or any(taken.digest == known.digest for taken in offered):
        return None
    return known if lineage.latest(case.run, (*offered, known)) == known else None


def _store_unavailable(case: ruling.Case) -> ruling.Decision:
    name = case.keeps.name if case.keeps else case.manifest.checkpoint.store
    why = f": {case.store.error.rstrip('.')}" if case.store is not None and case.store.error else ""
    return ruling.wait("StoreUnavailable", f"store {name} cannot be listed now{why}; there may be work to continue from")


def _start(case: ruling.Case, taken: observed.Taken | None, missed: observed.Taken | None = None) -> ruling.Decision:
    newest = case.run.newest
    if newest is None:
        reason, because = "New", "it is wanted for the first time"
    elif newest.ending is record.Ending.LOST:
        reason, because = "Replacing", f"attempt {newest.number} was lost"
    elif newest.ending is record.Ending.FAILED:
        reason, because = "Retrying", f"attempt {newest.number} {newest.detail}"
    else:
        reason, because = "Continuing", f"attempt {newest.number} was ended by a checkpoint or a stop"
    source = f"from checkpoint {taken.digest[:19]}{transition.at_step(taken)}" if taken else "from the beginning"
    if missed is not None and case.store is not None:
        because += f"; store {case.store.name} does not offer the newer {missed.digest[:19]}{transition.at_step(missed)}"
    return ruling.Decision(
        verb=action.Verb.RESTORE if taken else action.Verb.START,
        effect=action.Effect.CREATE,
        reason=reason,
        sentence=f"attempt {newest.number + 1 if newest else 1} {source}: {because}",
        restore=taken,
        missed=missed,
        phase=record.Phase.RUNNING,
    )


TABLE: tuple[ruling.Rule, ...] = (
    _over,
    ruling.empty_refused,
    _superseded,
    _removed,
    _stopped,
    _suspended,
    _held,
    _perhaps_held,
    _halted,
    _one_at_a_time,
    _dependencies,
    _backing_off,
    _named,
    _anew,
    _continued,
)
"""In the order in which they are asked; the last one always decides."""
