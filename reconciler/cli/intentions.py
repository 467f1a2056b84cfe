"""`run`, `suspend`, `resume`, `stop`, `rerun`, `checkpoint`, `restore`, `move`: what a person wants of a job, as a commit."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import click

from reconciler import errors
from reconciler.cli import complete, compose, editing, looking, options, output

STATE = ("spec", "state")
SUSPEND = ("spec", "suspend")

Command = Callable[..., None]


def _command(verb: str, *examples: str) -> Callable[[Command], click.Command]:
    """Make a command that takes a JOB, the common flags and --dry-run, and reports what became of its commit."""

    def decorate(function: Command) -> click.Command:
        made = click.pass_obj(function)
        made = options.common("text", "json", "yaml")(made)
        made = click.option("-n", "--dry-run", is_flag=True, help="Print the patch and change nothing.")(made)
        made = click.argument("job", metavar="JOB", shell_complete=complete.jobs)(made)
        return click.command(name=verb, epilog=options.examples(*examples))(made)

    return decorate


def _propose(flags: options.Flags, verb: str, job: str, change: editing.Change, *, dry_run: bool) -> None:
    looker = looking.Looker(compose.settings(flags))
    done = editing.propose(looker, job, verb, change, dry_run=dry_run)
    output.show(flags.output, _machine(verb, job, done), lambda: _told(job, done, dry_run=dry_run))


def _machine(verb: str, job: str, done: editing.Done) -> dict[str, Any]:
    return {
        "verb": verb,
        "job": job,
        "changed": bool(done.patch),
        "patch": done.patch,
        "commit": done.commit or None,
        "branch": done.branch or None,
        "topic": done.topic or None,
    }


def _told(job: str, done: editing.Done, *, dry_run: bool) -> str:
    if not done.patch:
        return f"Nothing to change: {job} is declared that way already."
    if dry_run:
        return done.patch
    if done.topic:
        return (
            f"{done.branch} is protected ({done.detail.strip()}).\n"
            f"Commit {done.commit[:12]} is on the branch {done.topic}. Open a pull request from it into {done.branch}, e.g.\n"
            f"  gh pr create --head {done.topic} --base {done.branch} --fill"
        )
    return f"Pushed {done.commit[:12]} to {done.branch}. `perdure why {job}` tells what becomes of it."


@_command("run", "perdure run train            let a stopped or suspended job run again from its last checkpoint")
def run(flags: options.Flags, *, job: str, dry_run: bool) -> None:
    """Let a job run: a stopped or suspended one goes on from its last checkpoint."""
    _propose(flags, "run", job, editing.fields({STATE: "Running", SUSPEND: None}), dry_run=dry_run)


@_command(
    "suspend",
    "perdure suspend train --reason 'the GPU is needed' --until 2026-12-01T08:00:00Z",
    "perdure suspend train --dry-run",
)
@click.option("--until", metavar="TIME", default=None, help="Run again by itself then, e.g. 2026-12-01T08:00:00Z.")
@click.option("--owner", metavar="WHO", default=None, help="Who asks for it.")
@click.option("--reason", metavar="TEXT", default=None, help="Why; shown by `perdure why`.")
def suspend(flags: options.Flags, *, job: str, dry_run: bool, reason: str | None, owner: str | None, until: str | None) -> None:
    """Suspend a job: checkpoint it, then end its attempt; `resume` goes on from there."""
    said = {name: text for name, text in (("reason", reason), ("owner", owner), ("until", _moment(until))) if text}
    change = editing.fields({STATE: "Suspended", SUSPEND: said or None})
    _propose(flags, "suspend", job, change, dry_run=dry_run)


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise errors.UsageError(f"{text!r} is not a moment", where="--until", remedy="Write it like 2026-12-01T08:00:00Z.")
    return text


@_command("resume", "perdure resume train")
def resume(flags: options.Flags, *, job: str, dry_run: bool) -> None:
    """Resume a suspended job from its last checkpoint."""
    _propose(flags, "resume", job, editing.fields({STATE: "Running", SUSPEND: None}), dry_run=dry_run)


@_command("stop", "perdure stop train           `perdure run train` continues it later")
def stop(flags: options.Flags, *, job: str, dry_run: bool) -> None:
    """Stop a job: checkpoint it if that works in time, and end its attempt in any case."""
    _propose(flags, "stop", job, editing.fields({STATE: "Stopped", SUSPEND: None}), dry_run=dry_run)


@_command("rerun", "perdure rerun train", "perdure rerun train --as second-seed")
@click.option("--as", "text", metavar="TEXT", default=None, help="The new text of `rerun`. [default: the time]")
def rerun(flags: options.Flags, *, job: str, dry_run: bool, text: str | None) -> None:
    """Ask for one more run of an unchanged job, from the beginning; a finished run itself is never executed again."""
    stamp = text or datetime.datetime.now(datetime.UTC).strftime("at-%Y%m%dT%H%M%S%fZ")
    _propose(flags, "rerun", job, editing.fields({("spec", "rerun"): stamp, STATE: "Running"}), dry_run=dry_run)


@_command(
    "checkpoint",
    "perdure checkpoint train --reason 'before the upgrade'",
    "perdure checkpoint train --stop              and end it once the checkpoint is safe",
)
@click.option("--reason", metavar="TEXT", default="", help="Why it is taken.")
@click.option("--stop", is_flag=True, help="End the job once the checkpoint is safe.")
@click.option("--name", metavar="NAME", default=None, help="Name of the Checkpoint. [default: the job and the time]")
def checkpoint(flags: options.Flags, *, job: str, dry_run: bool, reason: str, stop: bool, name: str | None) -> None:
    """Take a checkpoint now and pin it, for as long as the Checkpoint manifest that this adds is declared."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")

    def change(place: editing.Place) -> editing.Edited:
        called = name or f"{place.job.name}-{stamp}"[:63]
        text = _checkpoint_manifest(called, place, reason, stop=stop)
        return {editing.beside(place, f"checkpoint-{called}.yaml"): text.encode()}

    _propose(flags, "checkpoint", job, change, dry_run=dry_run)


def _checkpoint_manifest(called: str, place: editing.Place, reason: str, *, stop: bool) -> str:
    from reconciler.load import rewrite

    lines = ["apiVersion: perdure.dev/v1alpha1", "kind: Checkpoint", "metadata:", "  name: x", "spec:", "  job: x"]
    text = rewrite.set_field("\n".join(lines) + "\n", 0, ("metadata", "name"), called)
    values = {"job": place.job.name, "tenant": place.job.tenant if place.job.tenant != "default" else "", "reason": reason}
    for field, value in values.items():
        if value:
            text = rewrite.set_field(text, 0, ("spec", field), value)
    return text + ("  stop: true\n" if stop else "")


@_command(
    "restore",
    "perdure restore train --from sha256:…        go back to that checkpoint",
    "perdure restore train --from latest",
)
@click.option("--from", "digest", metavar="DIGEST", required=True, help="A checkpoint's digest, `latest` or `none`.")
def restore(flags: options.Flags, *, job: str, dry_run: bool, digest: str) -> None:
    """Continue a job from a checkpoint: a live attempt is checkpointed and ended first, so nothing is lost by going back."""
    if digest not in ("latest", "none") and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        digest = _completed(flags, job, digest)
    _propose(flags, "restore", job, editing.fields({("spec", "restore", "from"): digest, STATE: "Running"}), dry_run=dry_run)


def _completed(flags: options.Flags, job: str, start: str) -> str:
    """Return the one digest of the job's checkpoints that begins as given."""
    from reconciler.cli import selection

    seen = looking.look(compose.settings(flags))
    subjects = selection.one(job, seen.subjects())
    runs = [run for each in subjects for run in (*each.earlier, *((each.recorded,) if each.recorded else ()))]
    wanted = start.removeprefix("sha256:")
    found = {saved.taken.digest for run in runs for saved in run.checkpoints if saved.taken.digest[7:].startswith(wanted)}
    if len(found) != 1 or not wanted:
        problem = "no checkpoint of this job begins so" if not found else f"{len(found)} checkpoints begin so"
        raise errors.UsageError(f"{start!r}: {problem}", where="--from", remedy=f"`perdure checkpoints {job}` lists them.")
    return str(found.pop())


@_command("move", "perdure move train --to berlin", "perdure move train --pool large")
@click.option("--to", "node", metavar="HOST", default=None, help="The host to continue on; '' for any.")
@click.option("--pool", metavar="POOL", default=None, help="The pool to continue in; '' for any.")
@click.option("--target", metavar="TARGET", default=None, help="The target to continue on.")
def move(flags: options.Flags, *, job: str, dry_run: bool, node: str | None, pool: str | None, target: str | None) -> None:
    """Move a job with its work: checkpoint, end, and continue elsewhere."""
    wanted = {("spec", "placement", "node"): node, ("spec", "pool"): pool, ("spec", "target"): target}
    given = {path: value or None for path, value in wanted.items() if value is not None}
    if not given:
        raise errors.UsageError("where to?", where="perdure move", remedy="Give --to, --pool or --target.")
    _propose(flags, "move", job, editing.fields(given), dry_run=dry_run)
