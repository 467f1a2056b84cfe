"""`perdure wait`: for scripts."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable

import click

from reconciler.cli import complete, compose, following, looking, options, output, selection, standing
from reconciler.core import model, record, transition

GOALS = ("finished", "running", "checkpointed")

NEVER = 1
"""Exit code when the goal was not reached."""


@click.command(
    epilog=options.examples(
        "perdure wait train --for finished --timeout 2h && ./publish",
        "perdure wait train --for checkpointed      a checkpoint newer than this command",
    )
)
@options.argument("job", metavar="JOB", shell_complete=complete.jobs)
@click.option("--for", "goal", type=click.Choice(GOALS), default="finished", show_default=True, help="What to wait for.")
@click.option("--timeout", metavar="DURATION", default=None, help="Give up after this time, e.g. 90s or 2h.")
@options.common("text", "json", "yaml")
@click.pass_obj
def wait(flags: options.Flags, *, job: str, goal: str, timeout: str | None) -> int:
    """Wait until every replica of a job is finished, running, or checkpointed.

    Exits with 0 when that is reached, and with 1 when the time is over or it can never be reached.
    """
    until = time.monotonic() + options.duration(timeout, "--timeout") if timeout is not None else None
    began = time.monotonic()
    known: frozenset[str] | None = None
    found: list[standing.Standing] = []
    looker = looking.Looker(compose.settings(flags))
    for seen in following.views(looker, until=until):
        found = [standing.of(each, seen) for each in selection.one(job, seen.subjects())]
        known = saved(found) if known is None else known
        if all(reached(each, goal, known) for each in found):
            return _told(flags, job, goal, found, text=f"{job} is {goal}")
        if never := next((text for each in found if (text := hopeless(each, goal, known))), ""):
            return _told(flags, job, goal, found, text=never, code=NEVER)
    waited = transition.duration(time.monotonic() - began)
    return _told(flags, job, goal, found, text=f"{job} is not {goal} after {waited}", code=NEVER)


def saved(found: Iterable[standing.Standing]) -> frozenset[str]:
    """Return the checkpoints that are known now. Those that come later are newer, whatever the clocks of their hosts say."""
    recorded = {one.taken.digest for each in found if each.subject.recorded for one in each.subject.recorded.checkpoints}
    return frozenset(recorded.union(taken.digest for each in found if each.item for taken in each.item.checkpoints))


def reached(each: standing.Standing, goal: str, known: Container[str]) -> bool:
    """Return whether the goal holds for one replica; a checkpoint counts when it is its own and not `known`."""
    if goal == "finished":
        return each.phase is record.Phase.FINISHED
    if goal == "running":
        return each.attempt is not None and each.attempt.live and each.attempt.started_at is not None
    return each.checkpoint is not None and each.checkpoint.attempt > 0 and each.checkpoint.digest not in known


def hopeless(each: standing.Standing, goal: str, known: Container[str]) -> str:
    """Return why the goal can never be reached without a person's doing; empty: it can."""
    if reached(each, goal, known):
        return ""
    if each.phase is record.Phase.FAILED:
        return f"{each.name} has failed: {each.sentence}"
    if each.phase is record.Phase.FINISHED:
        return f"{each.name} has finished"
    if each.reason == "DependencyFailed":
        return f"{each.name} waits for a job that failed: {each.sentence}"
    if each.subject.job is None:
        return f"{each.name} is not declared any more"
    if each.subject.job.state is model.JobState.STOPPED and each.phase is not record.Phase.RUNNING:
        return f"{each.name} is stopped"
    if each.subject.job.checkpoint.engine is model.EngineName.NONE and goal == "checkpointed":
        return f"{each.name} takes no checkpoints (`checkpoint.engine` is none)"
    return ""


def _told(flags: options.Flags, job: str, goal: str, found: list[standing.Standing], *, text: str, code: int = 0) -> int:
    document = {"job": job, "for": goal, "reached": code == 0, "text": text, "jobs": [standing.machine(each) for each in found]}
    output.show(flags.output, document, lambda: output.clean(text))
    return code
