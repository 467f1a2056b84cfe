"""Fold what was observed into the ledger's record of a run: what became of its attempt, said as transitions.

Pure and idempotent: absorbing the same observation twice changes nothing, so a crash between observing and recording loses
nothing.
"""

from __future__ import annotations

import dataclasses

from reconciler.core import endings, failures, model, observed, record, situation, spec, transition, work


def absorb(run: record.Record, sighting: situation.Sighting, look: endings.Look) -> endings.Absorbed:
    """Return the run with everything the sighting of its live attempt proves, and what is to be noted."""
    attempt = run.live
    if attempt is None:
        return run, ()
    match sighting:
        case situation.Here(item=item, view=view):
            return _seen(run, item, view, look)
        case situation.Absent() if attempt.started_at is not None:
            text = f"host {attempt.host} is well and does not know it any more"
            return endings.lost(run, failures.VANISHED, text, look)
        case situation.Unknown(silence=silence, last=last, lasting=lasting) if (
            look.job.on_lost is model.OnLost.REPLACE
            and silence is not None
            and situation.spent(silence, look.now, look.budgets)
        ):
            text = (
                f"host {attempt.host} {lasting} for {transition.duration(look.now - silence.since)} "
                f"(budget {transition.duration(look.budgets.lost_after)}) and {silence.tries} observations "
                f"(budget {look.budgets.lost_tries}); the old attempt may still run"
            )
            return endings.lost(_last_words(run, last), failures.LOST, text, look)
    return run, ()


def _seen(run: record.Record, item: observed.Item, view: observed.HostView | None, look: endings.Look) -> endings.Absorbed:
    lines: tuple[record.Line, ...] = ()
    run = _checkpoints(run, item)
    run = _request(run, item, look.now)
    attempt = run.attempts[-1]
    if attempt.started_at is None and item.started_at is not None:
        seen = (view.state.session, view.state.generation) if view else (0, 0)
        run = endings.with_newest(run, dataclasses.replace(attempt, started_at=item.started_at, seen=seen))
        lines = (_started(run, look.now),)
    if item.state is observed.ItemState.ENDED:
        run = endings.with_newest(run, _progress(run.attempts[-1], item))
        run, ended = endings.ended(run, item, look)
        lines += ended
    return run, lines


def _last_words(run: record.Record, item: observed.Item | None) -> record.Record:
    """What a silent host said last still tells how far the attempt had come."""
    if item is None:
        return run
    run = _checkpoints(run, item)
    return endings.with_newest(run, _progress(run.attempts[-1], item))


def _progress(attempt: record.Attempt, item: observed.Item) -> record.Attempt:
    """Steps are kept with a checkpoint, an end or a loss, not at each pass: the ledger is not a heartbeat."""
    progress = item.progress
    return dataclasses.replace(
        attempt,
        first_step=item.first_step if item.first_step is not None else attempt.first_step,
        last_step=progress.step if progress else attempt.last_step,
        of=progress.of if progress else attempt.of,
    )


def _checkpoints(run: record.Record, item: observed.Item) -> record.Record:
    if not item.checkpoints:
        return run
    known = {saved.taken.digest for saved in run.checkpoints}
    new = tuple(record.Saved(taken=taken) for taken in item.checkpoints if taken.digest not in known)
    if not new:
        return run
    attempt = _progress(run.attempts[-1], item)
    if item.progress is None and new[-1].taken.step is not None:
        attempt = dataclasses.replace(attempt, last_step=new[-1].taken.step)
    return endings.with_newest(dataclasses.replace(run, checkpoints=(*run.checkpoints, *new)), attempt)


def _request(run: record.Record, item: observed.Item, now: float) -> record.Record:
    """Take up what the host says of the request that is under way. One that ends the attempt stays until it has ended."""
    pending, report = run.pending, item.request
    if pending is None or report is None or report.id != pending.request.id or not report.done:
        return run
    if report.digest:
        pinned = _pinned(run, pending, report.digest)
        return pinned if pending.request.then_stop else dataclasses.replace(pinned, pending=None, condition="")
    if pending.failed_at is not None:
        return run
    # Our own clock, not the host's: the back-off is counted from it.
    failed = dataclasses.replace(pending, failed_at=now, detail=report.detail)
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
    reached = work.reached(run.attempts[:-1])
    if not attempt.restored_from:
        if not reached:
            return transition.line(run, "started", f"{where}.", now, host=attempt.host)
        text = f"{where} from the beginning: {transition.steps(reached)} lost."
        return transition.line(run, "started", text, now, host=attempt.host, stepsLost=reached)
    source = next((saved.taken for saved in run.checkpoints if saved.taken.digest == attempt.restored_from), None)
    text = f"{where} from checkpoint {attempt.restored_from[:19]}{transition.at_step(source)}"
    kept = source.step if source else None
    lost = work.beyond(reached, kept)
    text += f": {transition.steps(kept)} saved" if kept is not None else ""
    text += f", {transition.steps(lost)} lost" if lost is not None else ""
    return transition.line(
        run, "restored", f"{text}.", now, host=attempt.host, checkpoint=attempt.restored_from, stepsSaved=kept, stepsLost=lost
    )
