"""`perdure status` and `perdure why`: where jobs stand, and why."""

from __future__ import annotations

from typing import Any

import click

from reconciler.cli import complete, compose, looking, options, output, selection, standing, view
from reconciler.core import reasons, record, situation, transition

NARROW = ("JOB", "PHASE", "STEP", "HOST", "TIME", "REASON")
WIDE = (*NARROW, "ATTEMPT", "CHECKPOINT", "RUN", "TARGET", "REVISION", "EVIDENCE")


@click.command(
    epilog=options.examples(
        "perdure status                      every job that is declared or unfinished",
        "perdure status train -o wide        with attempt, checkpoint, run and evidence",
        "perdure status -o json | jq '.jobs[] | select(.phase == \"failed\")'",
    )
)
@options.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=complete.jobs)
@options.common("text", "wide", "json", "yaml")
@click.pass_obj
def status(flags: options.Flags, *, jobs: tuple[str, ...]) -> None:
    """Show where jobs stand. JOB is NAME, TENANT/NAME or NAME[replica]."""
    seen = looking.look(compose.settings(flags))
    found = [standing.of(each, seen) for each in selection.pick(jobs, seen.subjects())]
    document = {**heading(seen), "jobs": [standing.machine(each) for each in found]}
    output.show(flags.output, document, lambda: table(found, seen, wide=flags.output == "wide"))
    remark(seen)


def heading(seen: view.View) -> dict[str, Any]:
    """Return what every machine output about jobs begins with."""
    return {
        "instance": seen.instance,
        "revision": seen.desired.revision if seen.desired else None,
        "observedAt": output.moment(seen.world.at or None),
        "notice": seen.notice or None,
    }


def remark(seen: view.View) -> None:
    """Say on stderr what limits the answer: a repository that does not answer, an old observation, problems."""
    if seen.notice:
        output.note(seen.notice)
    if seen.desired is not None and seen.desired.problems:
        count = len(seen.desired.problems)
        output.note(f"{count} problem{'s' if count > 1 else ''} in the manifests; `perdure validate` shows them")
    if seen.age is not None and seen.age > STALE and any(run.live for run in seen.snapshot.records.values()):
        output.note(f"the newest observation is {transition.duration(seen.age)} old; is `perdure reconcile` running?")


STALE = 120.0
"""Seconds after which the age of an observation is worth a remark."""


def table(found: list[standing.Standing], seen: view.View, *, wide: bool) -> str:
    """Return the standings in columns."""
    if not found:
        return "No job is declared or unfinished."
    rows = [row(each, seen.now) for each in found]
    if not wide:
        return output.columns(NARROW, rows, output.width())
    more = [
        (
            str(each.attempt.number) if each.attempt else "",
            short(each.checkpoint.digest) if each.checkpoint else "",
            each.subject.run[:12],
            each.attempt.target if each.attempt else "",
            each.subject.recorded.revision[:12] if each.subject.recorded else "",
            each.sentence,
        )
        for each in found
    ]
    return output.columns(WIDE, [(*row, *rest) for row, rest in zip(rows, more, strict=True)])


def row(each: standing.Standing, now: float) -> tuple[str, ...]:
    """Return the cells of NARROW."""
    host = each.attempt.host if each.attempt and each.attempt.live else ""
    reason = each.reason if each.subject.job is not None else f"{each.reason} (not declared)"
    return (each.name, each.phase.value, each.progress, host, standing.age(each, now), reason)


def short(digest: str) -> str:
    """Return a digest as people read it: its first twelve digits."""
    return digest.removeprefix("sha256:")[:12]


@click.command(
    epilog=options.examples("perdure why train", "perdure why team-a/train[2] -o json"),
)
@options.argument("job", metavar="JOB", shell_complete=complete.jobs)
@options.common("text", "json", "yaml")
@click.pass_obj
def why(flags: options.Flags, *, job: str) -> None:
    """Explain why a job stands where it stands: the reason, its evidence, what a person can do, and what happens next."""
    seen = looking.look(compose.settings(flags))
    found = [standing.of(each, seen) for each in selection.one(job, seen.subjects())]
    document = {**heading(seen), "jobs": [explained(each, seen) for each in found]}
    output.show(flags.output, document, lambda: "\n\n".join(explanation(each, seen) for each in found))
    remark(seen)


def explained(each: standing.Standing, seen: view.View) -> dict[str, Any]:
    """Return an explanation as machine output has it."""
    row = reasons.of(each.reason)
    return {
        **standing.machine(each),
        "text": row.text,
        "remedy": row.remedy or None,
        "silence": standing.silence(each, seen) or None,
        "observedAt": output.moment(seen.world.at or None),
        "nextAt": output.moment(upcoming(each, seen)),
    }


def upcoming(each: standing.Standing, seen: view.View) -> float | None:
    """Return the next moment at which time alone may change something for this run."""
    run, job = each.subject.recorded, each.subject.job
    moments = [job.suspend.until if job else None]
    if run is not None:
        moments.append(run.not_before if run.phase is record.Phase.PENDING else None)
        if run.pending is not None and run.pending.failed_at is not None:
            moments.append(run.pending.failed_at + seen.budgets.delay(run.pending.tries))
        silence = standing.silence_of(each, seen)
        moments.append(situation.next_look(silence, seen.now, seen.budgets) if silence else None)
    return min((moment for moment in moments if moment is not None and moment > seen.now), default=None)


def explanation(each: standing.Standing, seen: view.View) -> str:
    """Return an explanation as people read it."""
    row = reasons.of(each.reason)
    lines = [
        f"{each.name} is {row.text}.",
        f"  Reason:    {each.reason}",
        f"  Evidence:  {output.clean(each.sentence)}",
    ]
    if each.attempt is not None:
        lines.append(f"  Attempt:   {_attempt(each)}")
    if each.checkpoint is not None:
        when = transition.duration(seen.now - each.checkpoint.taken_at)
        lines.append(
            f"  Saved:     checkpoint {short(each.checkpoint.digest)}{transition.at_step(each.checkpoint)}, {when} ago"
        )
    for label, text in (("Silence", standing.silence(each, seen)), ("Besides", standing.besides(each))):
        if text:
            lines.append(f"  {label + ':':<10} {output.clean(text)}")
    if row.remedy:
        lines.append(f"  Remedy:    {row.remedy}")
    seen_text = f"{transition.duration(seen.age)} ago" if seen.age is not None else "never"
    lines.append(f"  Observed:  {seen_text}")
    if (next_at := upcoming(each, seen)) is not None:
        lines.append(f"  Next:      at {output.clock(next_at)} (in {transition.duration(next_at - seen.now)})")
    return "\n".join(lines)


def _attempt(each: standing.Standing) -> str:
    """Return which attempt it is, where, how far it has come, and how it ended unless the evidence says so already."""
    attempt = each.attempt
    if attempt is None:
        return "none yet"
    text = f"{attempt.number} on {attempt.host or attempt.target}"
    if each.progress:
        text += f", step {each.progress}"
    if attempt.ending is not None:
        text += f", {attempt.ending.value}"
        told = not attempt.detail or attempt.detail in each.sentence
        text += "" if told else f" ({output.clean(attempt.detail)})"
    return text
