"""Where one run stands, as a value: what `status`, `why`, `top` and `wait` show of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reconciler.cli import output, selection, view
from reconciler.core import model, observed, reasons, record, situation, transition

BY_PHASE = {
    record.Phase.PENDING: "New",
    record.Phase.RUNNING: "Running",
    record.Phase.SUSPENDED: "Suspended",
    record.Phase.STOPPED: "Stopped",
    record.Phase.FINISHED: "Finished",
    record.Phase.FAILED: "Failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One line of `status`."""

    subject: selection.Subject
    phase: record.Phase
    reason: str
    """Name of a row of `reasons.TABLE`."""
    sentence: str
    """The evidence."""
    attempt: record.Attempt | None = None
    item: observed.Item | None = None
    step: int | None = None
    of: int | None = None
    checkpoint: observed.Taken | None = None
    """The newest of the run."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.subject.name

    @property
    def progress(self) -> str:
        """Return "120/1000", "120" or nothing."""
        if self.step is None:
            return ""
        return f"{self.step}/{self.of}" if self.of is not None else str(self.step)

    @property
    def over(self) -> bool:
        """Whether the run is never executed again."""
        return self.phase in record.TERMINAL


def of(subject: selection.Subject, seen: view.View) -> Standing:
    """Return where a subject stands."""
    run = subject.recorded
    act = seen.said(subject.run)
    if run is None:
        reason, sentence = _unrecorded(subject)
        return Standing(
            subject=subject,
            phase=record.Phase.PENDING,
            reason=act.reason if act else reason,
            sentence=act.sentence if act else sentence,
        )
    item = seen.item(run)
    attempt = run.newest
    step = item.progress.step if item and item.progress else attempt.last_step if attempt else None
    total = item.progress.of if item and item.progress else attempt.of if attempt else None
    reason = act.reason if act else run.reason if run.reason in reasons.TABLE else BY_PHASE[run.phase]
    return Standing(
        subject=subject,
        phase=run.phase,
        reason=reason,
        sentence=act.sentence if act else _told(run),
        attempt=attempt,
        item=item,
        step=step,
        of=total,
        checkpoint=run.checkpoints[-1].taken if run.checkpoints else None,
    )


def _unrecorded(subject: selection.Subject) -> tuple[str, str]:
    job = subject.job
    if job is not None and job.state is model.JobState.STOPPED:
        return "Stopped", "its manifest says `state: Stopped`, and it was never started"
    if job is not None and job.state is model.JobState.SUSPENDED:
        return "Suspended", "its manifest says `state: Suspended`, and it was never started"
    return "New", "no pass has recorded it yet"


def _told(run: record.Record) -> str:
    """Return the evidence for a run that no plan speaks of any more."""
    attempt = run.newest
    if attempt is None or run.ended_at is None:
        return run.condition or reasons.of(BY_PHASE[run.phase]).text
    what = f"attempt {attempt.number} {attempt.ending.value if attempt.ending else 'ended'} on {attempt.host}"
    return f"{what}: {attempt.detail}" if attempt.detail else what


def machine(each: Standing) -> dict[str, Any]:
    """Return a standing as machine output has it."""
    tenant, job, replica = each.subject.key
    run, attempt, taken = each.subject.recorded, each.attempt, each.checkpoint
    return {
        "name": each.name,
        "tenant": tenant,
        "job": job,
        "replica": replica,
        "run": each.subject.run,
        "phase": each.phase.value,
        "reason": each.reason,
        "sentence": each.sentence,
        "declared": each.subject.job is not None,
        "revision": run.revision if run else None,
        "attempt": attempt.number if attempt else None,
        "target": attempt.target if attempt else None,
        "host": attempt.host if attempt else None,
        "startedAt": output.moment(attempt.started_at) if attempt else None,
        "endedAt": output.moment(run.ended_at) if run else None,
        "step": each.step,
        "of": each.of,
        "failures": run.failures if run else 0,
        "preemptions": run.preemptions if run else 0,
        "checkpoint": None
        if taken is None
        else {"digest": taken.digest, "step": taken.step, "takenAt": output.moment(taken.taken_at)},
        "notBefore": output.moment(run.not_before) if run else None,
        "condition": conditions(each),
    }


def conditions(each: Standing) -> str:
    """Return what does not stop the run but should be known."""
    return "; ".join(remarks(each))


def remarks(each: Standing) -> tuple[str, ...]:
    """Return the same, one text for each who says something: its host, and the ledger."""
    texts = (each.item.condition if each.item else "", each.subject.recorded.condition if each.subject.recorded else "")
    return tuple(dict.fromkeys(text for text in texts if text))


def age(each: Standing, now: float) -> str:
    """Return for how long the newest attempt has been running, or how long ago the run ended."""
    run, attempt = each.subject.recorded, each.attempt
    if run is not None and run.ended_at is not None:
        return f"{transition.duration(now - run.ended_at)} ago"
    if attempt is not None and attempt.live and attempt.started_at is not None:
        return transition.duration(now - attempt.started_at)
    return ""


def silence_of(each: Standing, seen: view.View) -> observed.Silence | None:
    """Return since when the run's host is not heard; None: it is heard, or there is none."""
    run, attempt = each.subject.recorded, each.attempt
    if run is None or attempt is None or not attempt.live:
        return None
    sighting = situation.locate(run.run, attempt, seen.world)
    return sighting.silence if isinstance(sighting, situation.Unknown) else None


def silence(each: Standing, seen: view.View) -> str:
    """Return the same in words; empty for None."""
    found = silence_of(each, seen)
    if found is None or each.attempt is None:
        return ""
    budgets = seen.budgets
    return (
        f"host {each.attempt.host} has not been heard for {transition.duration(seen.now - found.since)} "
        f"of {transition.duration(budgets.lost_after)}, in {found.tries} of {budgets.lost_tries} observations"
    )
