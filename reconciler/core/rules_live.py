"""Rules for runs with a live attempt, first match decides: reading the table at the end is reading the policy."""

from __future__ import annotations

import dataclasses

from reconciler.core import action, classify, ends, model, observed, record, ruling, situation, spec, transition


def _unseen(case: ruling.Case) -> ruling.Decision | None:
    """Nothing is concluded and nothing is asked of an attempt that cannot be seen."""
    match case.sighting:
        case situation.Unknown(reason=reason, detail=detail, silence=silence):
            if silence is None:
                return ruling.wait(reason, detail)
            if situation.spent(silence, case.now, case.budgets):
                return ruling.wait("HostGivenUp", f"{detail}; both budgets are spent and `onLost` is `wait`")
            detail += (
                f" for {transition.duration(case.now - silence.since)} of {transition.duration(case.budgets.lost_after)} "
                f"and {silence.tries} of {case.budgets.lost_tries} observations"
            )
            return ruling.wait(reason, detail)
    return None


def _ending(case: ruling.Case) -> ruling.Decision | None:
    """End the attempt, if anything asks for that; a request that failed is repeated after its back-off.

    Also one that is not reported yet is asked for its checkpoint and not simply stopped: it may have begun since it was seen.
    """
    wanted = ends.why(case)
    if wanted is None:
        return None
    if isinstance(case.sighting, situation.Here) and case.sighting.item.want is spec.Want.STOP and case.run.pending is not None:
        return ruling.wait(wanted.reason, f"{wanted.sentence}; it is being ended")
    return _again(case, wanted.base) or wanted


def _taken_back(case: ruling.Case) -> ruling.Decision | None:
    """A request is under way that nothing asks for any more."""
    pending = case.run.pending
    if pending is None or (case.frozen and pending.request.then_stop):
        return None
    if not pending.request.then_stop and any(name == pending.base for name, _ in case.requests):
        return None
    if case.unsure and pending.request.purpose is spec.Purpose.DEMAND:
        return None
    if isinstance(case.sighting, situation.Here) and case.sighting.item.want is spec.Want.STOP:
        return ruling.wait("Stopping", "it is being ended, and goes on afterwards")
    sentence = f"what `{pending.base}` asked for is not wanted any more"
    return ruling.Decision(verb=action.Verb.UPDATE, effect=action.Effect.CHANGE, reason="Running", sentence=sentence)


def _again(case: ruling.Case, base: str) -> ruling.Decision | None:
    """Wait out the back-off of the same request's last failure."""
    pending = case.run.pending
    if pending is None or pending.base != base or pending.failed_at is None:
        return None
    left = pending.failed_at + case.budgets.delay(pending.tries) - case.now
    if left <= 0 or left > case.budgets.backoff_cap:
        return None
    return ruling.wait("CheckpointFailed", f"{pending.detail.rstrip('.')}; asked again in {transition.duration(left)}")


def _not_arrived(case: ruling.Case) -> ruling.Decision | None:
    """Intended, and the host does not list it yet: the same attempt is asked for again, under the same number."""
    attempt = case.run.live
    if not isinstance(case.sighting, situation.Absent) or attempt is None:
        return None
    view = case.sighting.view
    hindered = view.state.says_of(observed.ASSIGNMENTS) if view is not None else ""
    return ruling.Decision(
        verb=action.Verb.RESTORE if attempt.restored_from else action.Verb.START,
        effect=action.Effect.CREATE,
        reason="Starting",
        sentence=f"attempt {attempt.number} is recorded for host {attempt.host} and has not been reported there"
        + (f", which says: {hindered}" if hindered else ""),
        restore=_source(case.run, attempt),
    )


def _told_again(case: ruling.Case) -> ruling.Decision | None:
    """Its host cannot read its own journal of it: it is told what it has, and then sees by its processes how it stands."""
    attempt = case.run.live
    if not isinstance(case.sighting, situation.Here) or not case.sighting.item.damaged or attempt is None:
        return None
    return ruling.Decision(
        verb=action.Verb.UPDATE,
        effect=action.Effect.CHANGE,
        reason="Running",
        sentence=f"{_where(attempt)} is told to its host again: {case.sighting.item.condition}",
    )


def _awaited(case: ruling.Case) -> ruling.Decision | None:
    """Its host has prepared it and waits for the engine, which is told to create the container: again until it is seen to have.

    Only now: the engine could start it at once, and nothing would run that the ledger and the host do not know.
    """
    attempt = case.run.live
    if not isinstance(case.sighting, situation.Here) or not case.sighting.item.ready or attempt is None:
        return None
    return ruling.Decision(
        verb=action.Verb.RESTORE if attempt.restored_from else action.Verb.START,
        effect=action.Effect.CREATE,
        reason="Starting",
        sentence=f"host {attempt.host} is ready for attempt {attempt.number}: target {attempt.target} creates its container",
        restore=_source(case.run, attempt),
    )


def _source(run: record.Record, attempt: record.Attempt) -> observed.Taken | None:
    return next((saved.taken for saved in run.checkpoints if saved.taken.digest == attempt.restored_from), None)


def _demanded(case: ruling.Case) -> ruling.Decision | None:
    """A Checkpoint manifest that has not been served."""
    if case.run.attempts[-1].started_at is None:
        return None
    for request, manifest in case.requests:
        if manifest.stop or request in case.run.served:
            continue
        if case.engine is model.EngineName.NONE or case.run.store is None:
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
    """What is left of the changes when nothing has to end: also a move that turned out to be none."""
    changes = case.changes if case.job is not None else ()
    if not changes:
        return None
    here = tuple(dataclasses.replace(change, field_class=classify.FieldClass.IN_PLACE) for change in changes)
    return ruling.Decision(
        verb=action.Verb.UPDATE,
        effect=action.Effect.CHANGE,
        reason="ChangedInPlace",
        sentence=f"{', '.join(change.path for change in changes)} changed: {classify.FieldClass.IN_PLACE.value}",
        changes=here,
    )


def _outdated(case: ruling.Case) -> ruling.Decision | None:
    """The host works with older policies than the ledger has: a change in place was recorded and did not arrive."""
    held = case.sighting.item.spec if isinstance(case.sighting, situation.Here) else None
    job = case.run.applied
    if held is None:
        return None
    policy = held.checkpoint
    if policy != job.checkpoint and policy.engine is not job.checkpoint.engine:
        policy = dataclasses.replace(policy, engine=job.checkpoint.engine)
    if (held.timeout, policy, held.labels) == (job.timeout, job.checkpoint, job.labels):
        return None
    return ruling.Decision(
        verb=action.Verb.UPDATE,
        effect=action.Effect.CHANGE,
        reason="ChangedInPlace",
        sentence=f"host {case.run.attempts[-1].host} still has an older version of the manifest",
    )


def _running(case: ruling.Case) -> ruling.Decision | None:
    attempt = case.run.attempts[-1]
    where = _where(attempt)
    if case.frozen:
        return ruling.keep("Invalid", f"{where}; {case.frozen}")
    if attempt.started_at is None:
        said = case.sighting.item.condition if isinstance(case.sighting, situation.Here) else ""
        return ruling.wait("Starting", f"{where} is being prepared" + (f"; {said}" if said else ""))
    if not isinstance(case.sighting, situation.Here):
        return ruling.keep("Running", where)
    view, item = case.sighting.view, case.sighting.item
    if view is not None and (view.state.draining or view.state.notice is not None):
        return ruling.wait("HostDraining", f"{where}, which is going away")
    return ruling.keep("Running", progress(case.run, item))


def progress(run: record.Record, item: observed.Item) -> str:
    """Return how far a run's live attempt has come, and what is remarkable about it, as its host tells."""
    done, note = item.progress, run.condition or item.condition
    step = f" at step {done.step}" + (f" of {done.of}" if done.of else "") if done else ""
    return f"{_where(run.attempts[-1])}{step}" + (f"; {note}" if note else "")


def _where(attempt: record.Attempt) -> str:
    return f"attempt {attempt.number} on {attempt.host or attempt.target}"


TABLE: tuple[ruling.Rule, ...] = (
    _unseen,
    ruling.empty_refused,
    _ending,
    _not_arrived,
    _taken_back,
    _told_again,
    _awaited,
    ruling.changed_run_refused,
    _demanded,
    _in_place,
    _outdated,
    _running,
)
"""In the order in which they are asked; the last one always decides."""
