"""Turn decisions into intents: the record that the ledger must hold before anything is started, and the action."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core import action, classify, model, observed, record, ruling, situation, spec, transition, work

HALTED: Mapping[record.Phase, transition.What] = {
    record.Phase.STOPPED: "stopped",
    record.Phase.SUSPENDED: "suspended",
}
"""Phases that a run takes without an attempt that ends, and how that is noted."""

COSTS = 5
"""Checkpoints whose price tells that of the next."""

Intended = tuple[record.Record, action.Action, tuple[record.Line, ...]]


def plain(case: ruling.Case, decision: ruling.Decision) -> Intended:
    """Return the intent of a decision that needs no host: everything but the start of a further attempt."""
    match decision.verb:
        case action.Verb.CHECKPOINT | action.Verb.STOP:
            return _ask(case, decision)
        case action.Verb.UPDATE:
            run = _taken_up(case.run, case.manifest)
        case action.Verb.START | action.Verb.RESTORE:
            run = case.run
        case _:
            run, lines = _phase(case.run, decision, case.now)
            return run, _action(run, decision), lines
    return run, _action(run, decision, spec.Assignment(spec=attempt_spec(run, run.applied))), ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an attempt is to begin."""

    host: str
    agent: str
    boot: str
    creator: spec.Creator
    hazard: spec.Hazard


def launch(case: ruling.Case, decision: ruling.Decision, place: Place) -> Intended:
    """Return the intent of a further attempt at `place`: recorded first, started after the push."""
    run, job, before = case.run, case.manifest, case.run.newest
    restored = decision.restore.digest if decision.restore else ""
    attempt = record.Attempt(
        number=before.number + 1 if before else 1,
        target=job.target,
        host=place.host,
        intended_at=case.now,
        restored_from=restored,
        agent=place.agent,
        boot=place.boot,
        created_by=place.creator,
        hazard=place.hazard if job.checkpoint.interval == "auto" else None,
    )
    saved = run.checkpoints
    if decision.restore and restored not in {each.taken.digest for each in saved}:
        saved = (*saved, record.Saved(taken=decision.restore))
    lost, kept = work.on_launch(run, decision.restore)
    after = dataclasses.replace(
        run,
        attempts=(*run.attempts, attempt),
        checkpoints=saved,
        applied=job,
        store=case.keeps,
        phase=record.Phase.RUNNING,
        reason="Starting",
        not_before=None,
        pending=None,
        condition="",
    )
    lines: tuple[record.Line, ...] = ()
    if before is not None:
        what: transition.What = "retried" if before.ending in (record.Ending.FAILED, record.Ending.LOST) else "resumed"
        source = f"checkpoint {restored[:19]}{transition.at_step(decision.restore)}" if restored else "the beginning"
        text = f"{transition.name(after)} is {what} as attempt {attempt.number} on {place.host or job.target} from {source}"
        if (newer := decision.missed) is not None and case.keeps is not None:
            text += f", for store {case.keeps.name} does not offer the newer {newer.digest[:19]}{transition.at_step(newer)}"
            text += ": `perdure verify` says why"
        text += "."
        lines = (transition.line(after, what, text, case.now, host=place.host, checkpoint=restored, stepsLost=lost.steps),)
    act = _action(after, decision, spec.Assignment(spec=attempt_spec(after, job)))
    return after, dataclasses.replace(act, digests=(restored,) if restored else (), lost=lost, saved=kept), lines


def _taken_up(run: record.Record, job: model.Job) -> record.Record:
    """The manifest as it is now holds, and nothing else is asked. What stands so already is the same record."""
    if run.applied == job and run.pending is None and not run.condition:
        return run
    return dataclasses.replace(run, applied=job, pending=None, condition="")


def attempt_spec(run: record.Record, job: model.Job) -> spec.AttemptSpec:
    """Return what the target is given for the run's newest attempt under this version of the manifest."""
    attempt = run.attempts[-1]
    return spec.AttemptSpec(
        instance=run.instance,
        run=run.run,
        attempt=attempt.number,
        tenant=run.tenant,
        job=run.job,
        replica=run.replica,
        revision=run.revision,
        workload=job.workload,
        resources=job.resources,
        timeout=job.timeout,
        checkpoint=job.checkpoint,
        store=run.store,
        restore=attempt.restored_from,
        host=attempt.host,
        created_by=attempt.created_by,
        hazard=attempt.hazard,
        costs=_costs(run, attempt.number) if job.checkpoint.interval == "auto" else (),
        labels=job.labels,
        ledger=run.ledger,
    )


def _costs(run: record.Record, before: int) -> tuple[float, ...]:
    """Return what the latest checkpoints of attempts before number `before` took."""
    taken = [saved.taken for saved in run.checkpoints if saved.taken.attempt < before]
    return tuple(one.cost for one in taken if one.cost > 0)[-COSTS:]


def _ask(case: ruling.Case, decision: ruling.Decision) -> Intended:
    """Record the request, or carry on with the one recorded: the same request keeps its id however often it is planned."""
    run, attempt, pending = case.run, case.run.attempts[-1], case.run.pending
    if pending is None or pending.base != decision.base or pending.failed_at is not None:
        tries = pending.tries + 1 if pending is not None and pending.base == decision.base else 1
        request = spec.Request(
            id=f"{decision.base}.{attempt.number}.{tries}",
            purpose=decision.purpose or spec.Purpose.DEMAND,
            reason=decision.sentence,
            deadline=case.manifest.checkpoint.deadline,
            then_stop=decision.then_stop,
        )
        pending = record.Pending(request=request, base=decision.base, asked_at=case.now, tries=tries)
        run = dataclasses.replace(run, pending=pending, reason=decision.reason)
        if case.job is not None and all(change.field_class is classify.FieldClass.IN_PLACE for change in case.changes):
            run = dataclasses.replace(run, applied=case.job)
    stops_at_once = decision.verb is action.Verb.STOP
    assignment = spec.Assignment(
        spec=attempt_spec(run, run.applied),
        want=spec.Want.STOP if stops_at_once else spec.Want.RUN,
        request=None if stops_at_once else pending.request,
    )
    item = case.sighting.item if isinstance(case.sighting, situation.Here) else None
    lost, kept = _stake(run, item, case.now, decision)
    return run, dataclasses.replace(_action(run, decision, assignment), lost=lost, saved=kept), ()


def _stake(
    run: record.Record, item: observed.Item | None, now: float, decision: ruling.Decision
) -> tuple[action.Work, action.Work]:
    lost, kept = work.at_stake(run, item, now)
    if decision.verb is action.Verb.STOP:
        return lost, kept
    step = item.progress.step if item and item.progress else kept.steps
    return action.Work(steps=0), action.Work(steps=step)


def _phase(run: record.Record, decision: ruling.Decision, now: float) -> tuple[record.Record, tuple[record.Line, ...]]:
    """Take the phase a decision gives a run that is not alive; a run that waits again is pending."""
    phase = decision.phase
    if run.live is None and phase is None and decision.verb is action.Verb.WAIT and run.phase not in record.TERMINAL:
        phase = record.Phase.PENDING
    if phase is None or phase is run.phase:
        return run, ()
    changed = dataclasses.replace(run, phase=phase, reason=decision.reason)
    what = HALTED.get(phase)
    if what is None:
        return changed, ()
    return changed, (transition.line(changed, what, f"{transition.name(run)} is {what}: {decision.sentence}.", now),)


def _action(run: record.Record, decision: ruling.Decision, assignment: spec.Assignment | None = None) -> action.Action:
    attempt = run.newest
    return action.Action(
        verb=decision.verb,
        effect=decision.effect,
        tenant=run.tenant,
        job=run.job,
        replica=run.replica,
        run=run.run,
        attempt=attempt.number if attempt else None,
        target=attempt.target if attempt else run.applied.target,
        host=attempt.host if attempt else "",
        reason=decision.reason,
        sentence=decision.sentence,
        changes=decision.changes,
        assignment=assignment,
    )
