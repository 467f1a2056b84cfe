"""Reasons to end a live attempt, most final first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from reconciler.core import action, classify, model, place, ruling, situation, spec


def why(case: ruling.Case) -> ruling.Decision | None:
    """Return how and why the live attempt is to be ended: the first reason that holds, or None."""
    return next((decision for rule in TABLE if (decision := rule(case)) is not None), None)


def _superseded(case: ruling.Case) -> ruling.Decision | None:
    if case.job is not None or case.successor is None or case.successor.on_change is model.OnChange.REFUSE:
        return None
    ending = _end(case, spec.Purpose.STOP, "Superseded", ruling.restarted(case), action.Effect.REPLACE)
    return dataclasses.replace(ending, changes=case.changes)


def _removed(case: ruling.Case) -> ruling.Decision | None:
    if case.declared is not None or case.frozen:
        return None
    return _end(case, spec.Purpose.STOP, "Removed", ruling.unwanted(case), action.Effect.DELETE)


def _stopped(case: ruling.Case) -> ruling.Decision | None:
    if case.declared is None or case.declared.state is not model.JobState.STOPPED:
        return None
    return _end(case, spec.Purpose.STOP, "Stopping", "`state` is `Stopped`", action.Effect.DELETE)


def _suspended(case: ruling.Case) -> ruling.Decision | None:
    job = case.declared
    if job is None or not situation.suspended(job, case.now):
        return None
    because = f": {job.suspend.reason}" if job.suspend.reason else ""
    return _end(case, spec.Purpose.SUSPEND, "Suspending", f"`state` is `Suspended`{because}", action.Effect.CHANGE)


def _demanded(case: ruling.Case) -> ruling.Decision | None:
    """A Checkpoint manifest with `stop` ends the run once, and holds it stopped for as long as the manifest exists."""
    for request, manifest in case.requests:
        if manifest.stop:
            text = f"Checkpoint {manifest.name} asks for a checkpoint and a stop"
            return dataclasses.replace(_end(case, spec.Purpose.DEMAND, "Stopping", text, action.Effect.DELETE), base=request)
    return None


def _recreated(case: ruling.Case) -> ruling.Decision | None:
    """Changes that a live attempt cannot take, and a host that does not fit the placement any more."""
    if case.job is None:
        return None
    changes = case.changes
    breaking = tuple(change.path for change in changes if _breaks(change, case.job, case.sighting))
    if not breaking:
        return None
    moves = all(path in MOVING for path in breaking)
    purpose = spec.Purpose.MOVE if moves else spec.Purpose.UPDATE
    text = f"{', '.join(breaking)} changed: {classify.FieldClass.RECREATE.value}"
    decision = _end(case, purpose, "Moving" if moves else "Recreating", text, action.Effect.REPLACE)
    return dataclasses.replace(decision, changes=changes)


TABLE: tuple[ruling.Rule, ...] = (_superseded, _removed, _stopped, _suspended, _demanded, _recreated)

MOVING = frozenset({"spec.target", "spec.pool", "spec.placement"})
"""Changes that take the attempt elsewhere and change nothing else."""

OCCASIONS: Mapping[spec.Purpose, model.Occasion] = {
    spec.Purpose.SUSPEND: model.Occasion.SUSPEND,
    spec.Purpose.UPDATE: model.Occasion.UPDATE,
    spec.Purpose.MOVE: model.Occasion.UPDATE,
}
"""Purposes that the policy's `on` can switch off; a stop and a demand are always saved if they can be."""


def _breaks(change: classify.FieldChange, job: model.Job, sighting: situation.Sighting | None) -> bool:
    if change.field_class is not classify.FieldClass.RECREATE:
        return False
    if change.path == "spec.restore.from":
        return job.restore_from.startswith("sha256:")
    if change.path in ("spec.pool", "spec.placement"):
        view = sighting.view if isinstance(sighting, situation.Here | situation.Absent) else None
        return view is not None and not place.stands(job, view)
    return True


def _end(case: ruling.Case, purpose: spec.Purpose, reason: str, sentence: str, effect: action.Effect) -> ruling.Decision:
    """End the attempt: through a checkpoint where the policy has one for this occasion, else at once."""
    saves = case.engine is not model.EngineName.NONE and case.run.store is not None
    if purpose in OCCASIONS:
        saves = saves and OCCASIONS[purpose] in case.manifest.checkpoint.on
    return ruling.Decision(
        verb=action.Verb.CHECKPOINT if saves else action.Verb.STOP,
        reason=reason,
        sentence=sentence,
        effect=effect,
        purpose=purpose,
        then_stop=True,
        base=purpose.value,
        changes=case.changes if case.job is not None else (),
    )
