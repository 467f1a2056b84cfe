"""Rules for runs with a live attempt, first match decides: reading the table at the end is reading the policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from reconciler.core import action, classify, model, place, ruling, situation, spec, transition


def _unseen(case: ruling.Case) -> ruling.Decision | None:
    """Nothing is concluded and nothing is asked of an attempt that cannot be seen."""
    match case.sighting:
        case situation.Unknown(reason=reason, detail=detail, silence=silence):
            if situation.spent(silence, case.now, case.budgets):
                return ruling.wait("HostGivenUp", f"{detail}; both budgets are spent and `onLost` is `wait`")
            if silence is not None:
                detail += (
                    f" for {transition.duration(case.now - silence.since)} of {transition.duration(case.budgets.lost_after)} "
                    f"and {silence.tries} of {case.budgets.lost_tries} observations"
                )
            return ruling.wait(reason, detail)
    return None


def _ending(case: ruling.Case) -> ruling.Decision | None:
    """A request that ends the attempt is under way: take it back when nothing wants it any more, and respect its back-off."""
    pending = case.run.pending
    if pending is None or not pending.request.then_stop:
        return None
    wanted = _why_end(case)
    if wanted is None:
        return ruling.Decision(
            verb=action.Verb.UPDATE,
            effect=action.Effect.CHANGE,
            reason="Running",
            sentence="what it was being stopped for is not wanted any more",
        )
    return _again(case, wanted.base)


def _again(case: ruling.Case, base: str) -> ruling.Decision | None:
    """Wait out the back-off of the same request's last failure."""
    pending = case.run.pending
    if pending is None or pending.base != base or pending.failed_at is None:
        return None
    left = pending.failed_at + case.budgets.delay(pending.tries) - case.now
    if left <= 0 or left > case.budgets.backoff_cap:
        return None
    return ruling.wait("CheckpointFailed", f"{pending.detail}; asked again in {transition.duration(left)}")


def _end(case: ruling.Case) -> ruling.Decision | None:
    """End the attempt. One that has not reached its host has nothing to save."""
    wanted = _why_end(case)
    if wanted is not None and isinstance(case.sighting, situation.Absent):
        return dataclasses.replace(wanted, verb=action.Verb.STOP)
    return wanted


def _why_end(case: ruling.Case) -> ruling.Decision | None:
    """The first reason to end the live attempt, or None."""
    return next((decision for rule in ENDS if (decision := rule(case)) is not None), None)


def _superseded(case: ruling.Case) -> ruling.Decision | None:
    if case.job is not None or case.successor is None:
        return None
    changes = classify.changes(case.run.applied, case.successor)
    if case.successor.on_change is model.OnChange.REFUSE:
        return None
    text = f"{ruling.new_run_paths(changes)} changed, which means a new run, and `onChange` is `restart`"
    return dataclasses.replace(_stop(case, spec.Purpose.STOP, "Superseded", text, action.Effect.REPLACE), changes=changes)


def _removed(case: ruling.Case) -> ruling.Decision | None:
    if case.job is not None or case.successor is not None or case.frozen:
        return None
    return _stop(case, spec.Purpose.STOP, "Removed", "it is not declared any more", action.Effect.DELETE)


def _stopped(case: ruling.Case) -> ruling.Decision | None:
    if case.job is None or case.job.state is not model.JobState.STOPPED:
        return None
    return _stop(case, spec.Purpose.STOP, "Stopping", "`state` is `Stopped`", action.Effect.DELETE)


def _suspended(case: ruling.Case) -> ruling.Decision | None:
    if case.job is None or not situation.suspended(case.job, case.now):
        return None
    why = f": {case.job.suspend.reason}" if case.job.suspend.reason else ""
    return _stop(case, spec.Purpose.SUSPEND, "Suspending", f"`state` is `Suspended`{why}", action.Effect.CHANGE)


def _demanded_stop(case: ruling.Case) -> ruling.Decision | None:
    """A Checkpoint manifest with `stop` ends the run once, and holds it stopped for as long as the manifest exists."""
    for request, manifest in case.requests:
        if manifest.stop:
            text = f"Checkpoint {manifest.name} asks for a checkpoint and a stop"
            return dataclasses.replace(_stop(case, spec.Purpose.DEMAND, "Stopping", text, action.Effect.DELETE), base=request)
    return None


def _recreate(case: ruling.Case) -> ruling.Decision | None:
    """Changes that a live attempt cannot take, and a host that does not fit the placement any more."""
    if case.job is None:
        return None
    changes = classify.changes(case.run.applied, case.job)
    breaking = tuple(change for change in changes if _breaks(change, case))
    if not breaking:
        return None
    moves = all(change.path in MOVING for change in breaking)
    purpose = spec.Purpose.MOVE if moves else spec.Purpose.UPDATE
    text = f"{', '.join(change.path for change in breaking)} changed: {classify.FieldClass.RECREATE.value}"
    decision = _stop(case, purpose, "Moving" if moves else "Recreating", text, action.Effect.REPLACE)
    return dataclasses.replace(decision, changes=changes)


MOVING = frozenset({"spec.target", "spec.pool", "spec.placement"})


def _breaks(change: classify.FieldChange, case: ruling.Case) -> bool:
    if change.field_class is not classify.FieldClass.RECREATE or case.job is None:
        return False
    if change.path == "spec.restore.from":
        wanted = case.job.restore_from
        return wanted.startswith("sha256:") and not any(attempt.restored_from == wanted for attempt in case.run.attempts)
    if change.path in ("spec.pool", "spec.placement"):
        view = getattr(case.sighting, "view", None)
        return view is not None and not place.stands(case.job, view)
    return True


def _stop(case: ruling.Case, purpose: spec.Purpose, reason: str, sentence: str, effect: action.Effect) -> ruling.Decision:
    """End the attempt: through a checkpoint where the policy has one for this occasion, else at once."""
    policy = (case.job or case.run.applied).checkpoint
    saves = policy.engine is not model.EngineName.NONE and case.run.store is not None
    if purpose in OCCASIONS:
        saves = saves and OCCASIONS[purpose] in policy.on
    return ruling.Decision(
        verb=action.Verb.CHECKPOINT if saves else action.Verb.STOP,
        reason=reason,
        sentence=sentence,
        effect=effect,
        purpose=purpose,
        then_stop=True,
        base=purpose.value,
    )


OCCASIONS: Mapping[spec.Purpose, model.Occasion] = {
    spec.Purpose.SUSPEND: model.Occasion.SUSPEND,
    spec.Purpose.UPDATE: model.Occasion.UPDATE,
    spec.Purpose.MOVE: model.Occasion.UPDATE,
}
"""Purposes that the policy's `on` can switch off; a stop and a demand are always saved if they can be."""

ENDS: tuple[ruling.Rule, ...] = (_superseded, _removed, _stopped, _suspended, _demanded_stop, _recreate)
"""Reasons to end a live attempt, most final first."""


def _not_arrived(case: ruling.Case) -> ruling.Decision | None:
    """Intended, and the host does not list it yet: the same attempt is asked for again, under the same number."""
    attempt = case.run.live
    if not isinstance(case.sighting, situation.Absent) or attempt is None:
        return None
    restore = next((saved.taken for saved in case.run.checkpoints if saved.taken.digest == attempt.restored_from), None)
    return ruling.Decision(
        verb=action.Verb.RESTORE if attempt.restored_from else action.Verb.START,
        effect=action.Effect.CREATE,
        reason="Starting",
        sentence=f"attempt {attempt.number} is recorded for host {attempt.host} and has not been reported there",
        restore=restore,
    )


def _demanded(case: ruling.Case) -> ruling.Decision | None:
    """A Checkpoint manifest that has not been served."""
    for request, manifest in case.requests:
        if manifest.stop or request in case.run.served:
            continue
        policy = (case.job or case.run.applied).checkpoint
        if policy.engine is model.EngineName.NONE or case.run.store is None:
            text = f"Checkpoint {manifest.name} asks for a checkpoint, but `checkpoint.engine` is `none`"
            return ruling.refuse("CheckpointMissing", text)
        return _again(case, request) or ruling.Decision(
            verb=action.Verb.CHECKPOINT,
            effect=action.Effect.CHANGE,
            reason="Checkpointing",
            sentence=f"Checkpoint {manifest.name} asks for one" + (f": {manifest.reason}" if manifest.reason else ""),
            purpose=spec.Purpose.DEMAND,
            base=request,
        )
    return None


def _in_place(case: ruling.Case) -> ruling.Decision | None:
    if case.job is None:
        return None
    changes = classify.changes(case.run.applied, case.job)
    if not changes:
        return None
    return ruling.Decision(
        verb=action.Verb.UPDATE,
        effect=action.Effect.CHANGE,
        reason="ChangedInPlace",
        sentence=f"{', '.join(change.path for change in changes)} changed: {classify.FieldClass.IN_PLACE.value}",
        changes=changes,
    )


def _running(case: ruling.Case) -> ruling.Decision | None:
    attempt = case.run.attempts[-1]
    where = f"attempt {attempt.number} on {attempt.host or attempt.target}"
    if case.frozen:
        return ruling.keep("Invalid", f"{where}; {case.frozen}")
    if attempt.started_at is None:
        return ruling.wait("Starting", f"{where} is being prepared")
    if isinstance(case.sighting, situation.Here):
        view, item = case.sighting.view, case.sighting.item
        if view is not None and (view.state.draining or view.state.notice is not None):
            return ruling.wait("HostDraining", f"{where}, which is going away")
        step = f" at step {item.progress.step}" if item.progress else ""
        of = f" of {item.progress.of}" if item.progress and item.progress.of else ""
        note = case.run.condition or item.condition
        return ruling.keep("Running", f"{where}{step}{of}" + (f"; {note}" if note else ""))
    return ruling.keep("Running", where)


TABLE: tuple[ruling.Rule, ...] = (
    _unseen,
    ruling.empty_refused,
    _ending,
    _end,
    _not_arrived,
    ruling.changed_run_refused,
    _demanded,
    _in_place,
    _running,
)
"""In the order in which they are asked."""
