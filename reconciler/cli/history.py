"""`perdure history` and `perdure events`: what became of a job, and what has happened at all."""

from __future__ import annotations

from typing import Any

import click

from reconciler.cli import complete, compose, following, looking, options, output, selection, status, telling, view
from reconciler.core import record, transition


@click.command(epilog=options.examples("perdure history train", "perdure history train -o json"))
@options.argument("job", metavar="JOB", shell_complete=complete.jobs)
@options.common("text", "json", "yaml")
@click.pass_obj
def history(flags: options.Flags, *, job: str) -> None:
    """Show every run of a job with its attempts, what each continued from, and how it ended."""
    seen = looking.look(compose.settings(flags))
    found = selection.one(job, seen.subjects())
    runs = [run for each in found for run in (*each.earlier, *((each.recorded,) if each.recorded else ()))]
    document = {**status.heading(seen), "runs": [machine(run) for run in runs]}
    output.show(flags.output, document, lambda: "\n\n".join(told(run, seen) for run in runs) or "It has not been run yet.")
    status.remark(seen)


def machine(run: record.Record) -> dict[str, Any]:
    """Return a run as machine output has it."""
    return {
        "run": run.run,
        "tenant": run.tenant,
        "job": run.job,
        "replica": run.replica,
        "revision": run.revision,
        "phase": run.phase.value,
        "createdAt": output.moment(run.created_at),
        "endedAt": output.moment(run.ended_at),
        "failures": run.failures,
        "preemptions": run.preemptions,
        "attempts": [_attempt(attempt) for attempt in run.attempts],
        "checkpoints": [saved(each) for each in run.checkpoints],
    }


def _attempt(attempt: record.Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "target": attempt.target,
        "host": attempt.host,
        "intendedAt": output.moment(attempt.intended_at),
        "startedAt": output.moment(attempt.started_at),
        "endedAt": output.moment(attempt.ended_at),
        "ending": attempt.ending.value if attempt.ending else None,
        "failure": attempt.failure or None,
        "detail": attempt.detail or None,
        "exitCode": attempt.exit.code if attempt.exit else None,
        "signal": attempt.exit.signal if attempt.exit else None,
        "restoredFrom": attempt.restored_from or None,
        "firstStep": attempt.first_step,
        "lastStep": attempt.last_step,
        "of": attempt.of,
    }


def saved(each: record.Saved) -> dict[str, Any]:
    """Return a checkpoint as machine output has it."""
    taken = each.taken
    return {
        "digest": taken.digest,
        "attempt": taken.attempt,
        "takenAt": output.moment(taken.taken_at),
        "purpose": taken.purpose.value,
        "step": taken.step,
        "parent": taken.parent or None,
        "logicalBytes": taken.logical_bytes,
        "storedBytes": taken.stored_bytes,
        "seconds": round(taken.seconds, 3),
        "frozenSeconds": round(taken.frozen, 3),
        "pinnedBy": list(each.pinned_by),
        "tombstonedAt": output.moment(each.tombstoned_at),
        "damaged": each.damaged,
    }


def told(run: record.Record, seen: view.View) -> str:
    """Return a run as people read it."""
    ended = f", ended {output.clock(run.ended_at)}" if run.ended_at is not None else ""
    lines = [
        f"{transition.name(run)}: run {run.run[:12]}, {run.phase.value}",
        f"  planned {output.clock(run.created_at)} at revision {run.revision[:12]}{ended}",
    ]
    for attempt in run.attempts:
        lines.append(f"  attempt {attempt.number} on {attempt.host or attempt.target}: {_course(attempt, seen)}")
        if attempt.restored_from:
            lines.append(f"    continued from checkpoint {status.short(attempt.restored_from)}")
        own = [each for each in run.checkpoints if each.taken.attempt == attempt.number]
        lines += [f"    saved {_checkpoint(each)}" for each in own]
    return "\n".join(lines)


def _course(attempt: record.Attempt, seen: view.View) -> str:
    if attempt.started_at is None:
        text = "not started yet" if attempt.live else "never started"
    else:
        end = attempt.ended_at if attempt.ended_at is not None else seen.now
        text = f"{output.clock(attempt.started_at)}, {transition.duration(end - attempt.started_at)}"
    if attempt.last_step is not None:
        text += f", step {attempt.last_step}" + (f" of {attempt.of}" if attempt.of is not None else "")
    if attempt.ending is not None:
        text += f", {attempt.ending.value}"
    return text + (f": {output.clean(attempt.detail)}" if attempt.detail else "")


def _checkpoint(each: record.Saved) -> str:
    taken = each.taken
    text = f"{status.short(taken.digest)}{transition.at_step(taken)}, {output.clock(taken.taken_at)} ({taken.purpose.value})"
    marks = [*(f"pinned by {name}" for name in each.pinned_by), *(["to be deleted"] if each.tombstoned_at else [])]
    marks += ["damaged"] if each.damaged else []
    return f"{text} [{', '.join(marks)}]" if marks else text


@click.command(
    epilog=options.examples(
        "perdure events                 everything that was noted, oldest first",
        "perdure events -f              and whatever happens next, until Ctrl-C",
        "perdure events -o json | jq -r 'select(.what == \"lost\") | .say'",
    )
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens next.")
@click.option("--job", metavar="JOB", default=None, help="Only of this job.", shell_complete=complete.jobs)
@options.common("text", "json")
@click.pass_obj
def events(flags: options.Flags, *, follow: bool, job: str | None) -> None:
    """Show the transitions that the ledger's notes tell, oldest first; as JSON lines with `-o json`."""
    told_already: set[str] = set()
    looker = looking.Looker(compose.settings(flags))
    for seen in following.views(looker, once=not follow):
        for line in _wanted(looker.lines(), job, seen):
            text = telling.shown(line, flags.output)
            if text not in told_already:
                told_already.add(text)
                output.line(text)


def _wanted(lines: tuple[record.Line, ...], job: str | None, seen: view.View) -> list[record.Line]:
    keys = {each.key for each in selection.one(job, seen.subjects())} if job is not None else None
    chosen = [line for line in lines if keys is None or (line.tenant, line.job, line.replica) in keys]
    return sorted(chosen, key=lambda line: line.at)
