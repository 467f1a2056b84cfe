"""Fold what was observed into the ledger's record of a run: what became of its attempt, said as transitions.

Pure and idempotent: absorbing the same observation twice changes nothing, so a crash between observing and recording loses
nothing.
"""

from __future__ import annotations

import dataclasses

from reconciler.core import failures, lineage, model, observed, record, situation, spec, transition

Absorbed = tuple[record.Record, tuple[record.Line, ...]]


def absorb(run: record.Record, world: observed.World, now: float, budgets: situation.Budgets) -> Absorbed:
    """Return the run with everything the observation proves about its live attempt, and what is to be noted."""
    attempt = run.live
    if attempt is None:
        return run, ()
    sighting = situation.locate(run.run, attempt, world)
    match sighting:
        case situation.Here(item=item, view=view):
            return _seen(run, item, view, now, budgets)
        case situation.Absent(proven=True) if attempt.started_at is not None:
            text = f"host {attempt.host} is well and does not know it any more"
            return _lost(run, failures.VANISHED, text, now)
        case situation.Unknown(silence=silence) if situation.spent(silence, now, budgets) and silence is not None:
            if run.applied.on_lost is model.OnLost.REPLACE:
                text = (
                    f"host {attempt.host} was silent for {transition.duration(now - silence.since)} "
                    f"(budget {transition.duration(budgets.lost_after)}) and {silence.tries} observations "
                    f"(budget {budgets.lost_tries}); the old attempt may still run"
                )
                last = world.targets[attempt.target].items.get(spec.AttemptRef(run=run.run, attempt=attempt.number))
                return _lost(_last_words(run, last), failures.LOST, text, now)
    return run, ()


def _seen(
    run: record.Record, item: observed.Item, view: observed.HostView | None, now: float, budgets: situation.Budgets
) -> Absorbed:
    lines: tuple[record.Line, ...] = ()
    run = _checkpoints(run, item)
    run = _request(run, item)
    attempt = run.attempts[-1]
    if attempt.started_at is None and item.started_at is not None:
        seen = (view.state.session, view.state.generation) if view else (0, 0)
        run = _with(run, dataclasses.replace(attempt, started_at=item.started_at, seen=seen))
        lines = (_started(run, now),)
    if item.state is observed.ItemState.ENDED and item.exit is not None:
        run = _with(run, _progress(run.attempts[-1], item))
        run, ended = _ended(run, item, item.exit, now, budgets)
        lines += ended
    return run, lines


def _last_words(run: record.Record, item: observed.Item | None) -> record.Record:
    """What a silent host said last still tells how far the attempt had come."""
    if item is None:
        return run
    run = _checkpoints(run, item)
    return _with(run, _progress(run.attempts[-1], item))


def _with(run: record.Record, attempt: record.Attempt) -> record.Record:
    return dataclasses.replace(run, attempts=(*run.attempts[:-1], attempt))


def _progress(attempt: record.Attempt, item: observed.Item) -> record.Attempt:
    """Steps are kept when an attempt ends or is given up, not at each pass: the ledger is not a heartbeat."""
    progress = item.progress
    return dataclasses.replace(
        attempt,
        first_step=item.first_step if item.first_step is not None else attempt.first_step,
        last_step=progress.step if progress else attempt.last_step,
        of=progress.of if progress else attempt.of,
    )


def _checkpoints(run: record.Record, item: observed.Item) -> record.Record:
    known = {saved.taken.digest for saved in run.checkpoints}
    new = tuple(record.Saved(taken=taken) for taken in item.checkpoints if taken.digest not in known)
    if not new:
        return run
    last = item.checkpoints[-1]
    attempt = run.attempts[-1]
    step = item.progress.step if item.progress else last.step
    attempt = dataclasses.replace(
        attempt,
        last_step=step if step is not None else attempt.last_step,
        of=item.progress.of if item.progress else attempt.of,
        first_step=item.first_step if item.first_step is not None else attempt.first_step,
    )
    return _with(dataclasses.replace(run, checkpoints=(*run.checkpoints, *new)), attempt)


def _request(run: record.Record, item: observed.Item) -> record.Record:
    pending, report = run.pending, item.request
    if pending is None or report is None or report.id != pending.request.id or not report.done:
        return run
    if report.digest:
        pinned = _pinned(run, pending, report.digest)
        if pending.request.then_stop:
            return pinned
        return dataclasses.replace(pinned, pending=None, condition="")
    if pending.failed_at is not None:
        return run
    failed = dataclasses.replace(pending, failed_at=report.at, detail=report.detail)
    return dataclasses.replace(run, pending=failed, condition=f"checkpoint failed: {report.detail}")


def _pinned(run: record.Record, pending: record.Pending, digest: str) -> record.Record:
    """A checkpoint asked for by a Checkpoint manifest is pinned under the manifest's id, and the manifest is served."""
    if pending.request.purpose is not spec.Purpose.DEMAND or pending.base in run.served:
        return run
    saved = tuple(
        dataclasses.replace(each, pinned_by=(*each.pinned_by, pending.base)) if each.taken.digest == digest else each
        for each in run.checkpoints
    )
    return dataclasses.replace(run, checkpoints=saved, served=(*run.served, pending.base))


def _started(run: record.Record, now: float) -> record.Line:
    attempt = run.attempts[-1]
    where = f"Attempt {attempt.number} of {transition.name(run)} started on {attempt.host or attempt.target}"
    if not attempt.restored_from:
        return transition.line(run, "started", f"{where}.", now, host=attempt.host)
    source = next((saved.taken for saved in run.checkpoints if saved.taken.digest == attempt.restored_from), None)
    text = f"{where} from checkpoint {attempt.restored_from[:19]}{transition.at_step(source)}"
    kept = source.step if source else None
    lost = _steps_lost(run, source)
    if lost is not None:
        text += f": {transition.steps(kept)} saved, {transition.steps(lost)} lost"
    return transition.line(
        run, "restored", f"{text}.", now, host=attempt.host, checkpoint=attempt.restored_from, stepsSaved=kept, stepsLost=lost
    )


def _steps_lost(run: record.Record, source: observed.Taken | None) -> int | None:
    """Steps done by the attempt before and not in the checkpoint; None where either is not known."""
    before = run.attempts[-2] if len(run.attempts) > 1 else None
    if before is None or before.last_step is None or source is None or source.step is None:
        return None
    return max(before.last_step - source.step, 0)


def _ended(run: record.Record, item: observed.Item, exit: observed.Exit, now: float, budgets: situation.Budgets) -> Absorbed:
    ended_at = item.ended_at if item.ended_at is not None else now
    if exit.kind is observed.ExitKind.EXITED and exit.code == 0 and not exit.stopped:
        run = _close(run, record.Ending.FINISHED, exit, ended_at)
        run = dataclasses.replace(
            run, phase=record.Phase.FINISHED, ended_at=ended_at, reason="Finished", pending=None, condition=""
        )
        attempt = run.attempts[-1]
        took = transition.duration(ended_at - run.created_at)
        text = f"{transition.name(run)} finished in attempt {attempt.number}, {took} after it was planned."
        return run, (transition.line(run, "finished", text, now, seconds=round(ended_at - run.created_at, 3)),)
    if exit.stopped:
        return _stopped(run, exit, ended_at, now)
    return _failed(run, exit, ended_at, now, budgets)


def _close(run: record.Record, ending: record.Ending, exit: observed.Exit | None, at: float) -> record.Record:
    return _with(run, dataclasses.replace(run.attempts[-1], ending=ending, exit=exit, ended_at=at))


def _stopped(run: record.Record, exit: observed.Exit, ended_at: float, now: float) -> Absorbed:
    """We ended it: the purpose recorded with the request says what it is now."""
    purpose = run.pending.request.purpose if run.pending else spec.Purpose.NOTICE
    own = lineage.head(saved.taken for saved in run.checkpoints if saved.taken.attempt == run.attempts[-1].number)
    asked = run.pending.request.id if run.pending else ""
    safe = own is not None and (own.request == asked if asked else own.purpose is spec.Purpose.NOTICE)
    run = _close(run, record.Ending.CHECKPOINTED if safe else record.Ending.STOPPED, exit, ended_at)
    run = dataclasses.replace(run, pending=None, condition="", not_before=None)
    with_what = f"with a checkpoint{transition.at_step(own)}" if safe else "without a new checkpoint"
    called = transition.name(run)
    step = own.step if own else None
    if purpose is spec.Purpose.SUSPEND:
        run = dataclasses.replace(run, phase=record.Phase.SUSPENDED, reason="Suspended")
        return run, (transition.line(run, "suspended", f"{called} was suspended {with_what}.", now, step=step),)
    if purpose in (spec.Purpose.STOP, spec.Purpose.DEMAND):
        run = dataclasses.replace(run, phase=record.Phase.STOPPED, reason="Stopped")
        return run, (transition.line(run, "stopped", f"{called} was stopped {with_what}.", now, step=step),)
    counted = run.preemptions + (purpose is spec.Purpose.NOTICE)
    run = dataclasses.replace(run, phase=record.Phase.PENDING, reason="Continuing", preemptions=counted)
    why = {spec.Purpose.NOTICE: "its host goes away", spec.Purpose.MOVE: "it moves"}.get(purpose, "its declaration changed")
    text = f"Attempt {run.attempts[-1].number} of {called} was stopped {with_what} because {why}."
    return run, (transition.line(run, "stopped", text, now, step=step),)


def _failed(run: record.Record, exit: observed.Exit, ended_at: float, now: float, budgets: situation.Budgets) -> Absorbed:
    row = failures.classify(exit)
    run = _close(run, record.Ending.FAILED, exit, ended_at)
    run = _with(run, dataclasses.replace(run.attempts[-1], failure=row.name, detail=row.tell(exit)))
    if exit.damaged:
        saved = tuple(
            dataclasses.replace(each, damaged=True) if each.taken.digest == exit.damaged else each for each in run.checkpoints
        )
        run = dataclasses.replace(run, checkpoints=saved)
    delay = budgets.delay(run.failures + 1) if row.fault is failures.Fault.PROGRAM else 0.0
    run = _counted(run, row.fault, now, delay)
    text = f"Attempt {run.attempts[-1].number} of {transition.name(run)} {row.tell(exit)}; {_next(run, row.fault, now)}."
    return run, (transition.line(run, "failed", text, now, failure=row.name, exit=exit.code),)


def _lost(run: record.Record, failure: str, detail: str, now: float) -> Absorbed:
    run = _close(run, record.Ending.LOST, None, now)
    run = _with(run, dataclasses.replace(run.attempts[-1], failure=failure, detail=detail))
    run = _counted(run, failures.Fault.MACHINE, now, delay=0.0)
    attempt = run.attempts[-1]
    after = _next(run, failures.Fault.MACHINE, now)
    text = f"Attempt {attempt.number} of {transition.name(run)} was given up: {detail}; {after}."
    may_run = int(failure == failures.LOST)
    return run, (transition.line(run, "lost", text, now, failure=failure, host=attempt.host, mayStillRun=may_run),)


def _counted(run: record.Record, fault: failures.Fault, now: float, delay: float) -> record.Record:
    """Draw on the budget that the fault names, and decide between another attempt and the end."""
    retries = run.applied.retries
    program = run.failures + (fault is failures.Fault.PROGRAM)
    machine = run.preemptions + (fault is failures.Fault.MACHINE)
    over = (
        fault is failures.Fault.FINAL
        or program > retries.failure
        or (retries.preemption is not None and machine > retries.preemption)
    )
    return dataclasses.replace(
        run,
        failures=program,
        preemptions=machine,
        pending=None,
        condition="",
        phase=record.Phase.FAILED if over else record.Phase.PENDING,
        reason="Failed" if over else "BackingOff" if delay else "Replacing",
        ended_at=now if over else None,
        not_before=now + delay if delay and not over else None,
    )


def _next(run: record.Record, fault: failures.Fault, now: float) -> str:
    if run.phase is record.Phase.FAILED:
        if fault is failures.Fault.FINAL:
            return "trying again cannot help, so the run failed"
        used = run.failures - 1 if fault is failures.Fault.PROGRAM else run.preemptions - 1
        return f"no retry is left after {used}, so the run failed"
    if fault is failures.Fault.PROGRAM:
        wait = transition.duration((run.not_before or now) - now)
        return f"retry {run.failures} of {run.applied.retries.failure} follows in {wait}"
    return "another attempt follows"
