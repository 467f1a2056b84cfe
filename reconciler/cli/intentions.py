"""`run`, `suspend`, `resume`, `stop`, `rerun`, `checkpoint`, `restore`, `move`: what a person wants of a job, as a commit."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

import click

from reconciler import errors
from reconciler.cli import complete, compose, draft, editing, hosts, looking, options, outcome, output, selection
from reconciler.core import model

STATE = ("spec", "state")
SUSPEND = ("spec", "suspend")
STOP = ("spec", "stop")

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""Names of objects, as the schemas have them."""

Command = Callable[..., None]


def _command(verb: str, *examples: str) -> Callable[[Command], click.Command]:
    """Make a command that takes a JOB, the common flags and --dry-run, and reports what became of its commit."""

    def decorate(function: Command) -> click.Command:
        made = click.pass_obj(function)
        made = options.common("text", "json", "yaml")(made)
        made = click.option("-n", "--dry-run", is_flag=True, help="Print the patch and change nothing.")(made)
        made = options.argument("job", metavar="JOB", shell_complete=complete.jobs)(made)
        return click.command(name=verb, epilog=options.examples(*examples))(made)

    return decorate


def _propose(flags: options.Flags, verb: str, job: str, change: editing.Change, *, dry_run: bool) -> editing.Done:
    looker = looking.Looker(compose.settings(flags))
    done = editing.propose(looker, job, verb, change, dry_run=dry_run)
    acts = outcome.follows(done)
    output.show(flags.output, outcome.machine(verb, done, acts), lambda: outcome.told(done, acts, dry_run=dry_run))
    if dry_run and flags.output == "text" and acts.actions:
        output.note(outcome.forecast(acts))
    return done


def _run(sketch: draft.Draft) -> None:
    """Let the job run: whatever holds it is taken out of its manifests, and nothing else."""
    if sketch.job.state is not model.JobState.RUNNING:
        sketch.set(STATE, "Running")
    sketch.set(SUSPEND, None)
    for request in _holding(sketch):
        sketch.set(STOP, None, request.origin)


def _holding(sketch: draft.Draft) -> list[model.CheckpointRequest]:
    """Return the Checkpoints with `stop` of the job: each keeps its run stopped for as long as it is declared."""
    own = (sketch.job.tenant, sketch.job.name)
    return [each for each in sketch.desired.checkpoints.values() if each.stop and (each.tenant, each.job) == own]


@_command("run", "perdure run train            a stopped or suspended job goes on from its last checkpoint")
def run(flags: options.Flags, *, job: str, dry_run: bool) -> None:
    """Let a job run: a stopped or suspended one goes on from its last checkpoint."""
    _propose(flags, "run", job, _run, dry_run=dry_run)


@_command("resume", "perdure resume train")
def resume(flags: options.Flags, *, job: str, dry_run: bool) -> None:
    """Resume a suspended job from its last checkpoint."""

    def change(sketch: draft.Draft) -> None:
        if sketch.job.state is model.JobState.STOPPED:
            raise errors.UsageError(
                f"{job} is stopped, not suspended", where="JOB", remedy=f"`perdure run {job}` lets it go on."
            )
        _run(sketch)

    _propose(flags, "resume", job, change, dry_run=dry_run)


@_command(
    "suspend",
    "perdure suspend train --reason 'the GPU is needed' --until 2026-12-01T08:00:00Z",
    "perdure suspend train --dry-run",
)
@click.option("--until", metavar="TIME", default=None, help="Run again by itself then, e.g. 2026-12-01T08:00:00Z.")
@click.option("--owner", metavar="WHO", default=None, help="Who asks for it.")
@click.option("--reason", metavar="TEXT", default=None, help="Why; shown by `perdure why`.")
def suspend(flags: options.Flags, *, job: str, dry_run: bool, reason: str | None, owner: str | None, until: str | None) -> None:
    """Suspend a job: checkpoint it, then end its attempt; `resume` goes on from there.

    Of one that is suspended already, --reason, --owner and --until change just that; '' removes it.
    """
    given = {"reason": reason, "owner": owner, "until": _moment(until)}
    said = {name: text for name, text in given.items() if text is not None}

    def change(sketch: draft.Draft) -> None:
        if sketch.job.state is not model.JobState.SUSPENDED:
            sketch.set(STATE, "Suspended")
            sketch.set(SUSPEND, {name: text for name, text in said.items() if text} or None)
            return
        for name, text in said.items():
            sketch.set((*SUSPEND, name), text or None)

    _propose(flags, "suspend", job, change, dry_run=dry_run)


def _moment(text: str | None) -> str | None:
    """Return a moment as manifests write it. Raises `errors.UsageError` for what is none, or is over."""
    if not text:
        return text
    try:
        given = datetime.datetime.fromisoformat(text)
        when = given.astimezone(datetime.UTC) if given.tzinfo is not None else None
    except (ValueError, OverflowError):
        when = None
    if when is None:
        raise errors.UsageError(f"{text!r} is not a moment", where="--until", remedy="Write it like 2026-12-01T08:00:00Z.")
    if when <= datetime.datetime.now(datetime.UTC):
        raise errors.UsageError(f"{text} is over", where="--until", remedy="Name a moment to come.")
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


@_command("stop", "perdure stop train           `perdure run train` continues it later")
def stop(flags: options.Flags, *, job: str, dry_run: bool) -> None:
    """Stop a job: checkpoint it if that works in time, and end its attempt in any case."""

    def change(sketch: draft.Draft) -> None:
        if sketch.job.state is not model.JobState.STOPPED:
            sketch.set(STATE, "Stopped")
        sketch.set(SUSPEND, None)

    _propose(flags, "stop", job, change, dry_run=dry_run)


@_command("rerun", "perdure rerun train", "perdure rerun train --as second-seed")
@click.option("--as", "text", metavar="TEXT", default=None, help="The new text of `rerun`. [default: the time]")
def rerun(flags: options.Flags, *, job: str, dry_run: bool, text: str | None) -> None:
    """Ask for one more run of an unchanged job, from the beginning; a finished run itself is never executed again.

    While a run of the job is unfinished, `onChange` says what becomes of the new one: refuse or restart.
    """
    stamp = text or datetime.datetime.now(datetime.UTC).strftime("at-%Y%m%dT%H%M%S%fZ")

    def change(sketch: draft.Draft) -> None:
        sketch.set(("spec", "rerun"), stamp)
        if sketch.job.restore_from.startswith("sha256:"):
            sketch.set(("spec", "restore", "from"), None)
        _run(sketch)

    _propose(flags, "rerun", job, change, dry_run=dry_run)


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
    if name is not None and not NAME.fullmatch(name):
        raise errors.UsageError(
            f"{name!r} cannot be the name of a Checkpoint",
            where="--name",
            remedy="Use lower-case letters, digits and hyphens, 63 at most, with a letter or digit at both ends.",
        )
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")

    def change(sketch: draft.Draft) -> None:
        called = name or _free(f"{sketch.job.name[:40].rstrip('-')}-{stamp}", sketch.desired)
        sketch.add(f"checkpoint-{called}.yaml", _manifest(called, sketch.job, reason, stop=stop))

    _propose(flags, "checkpoint", job, change, dry_run=dry_run)


def _free(name: str, declared: model.Desired) -> str:
    """Return `name`, with a number where a Checkpoint is called so already."""
    taken = {ref.name for ref in (*declared.checkpoints, *declared.frozen) if ref.kind == "Checkpoint"}
    number = 1
    while (called := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return called


def _manifest(called: str, job: model.Job, reason: str, *, stop: bool) -> str:
    from reconciler.load import rewrite

    of = selection.text((job.tenant, job.name, 0))
    text = f"apiVersion: {model.API_VERSION}\nkind: Checkpoint\nmetadata:\n  name: x\nspec:\n  job: x\n"
    fields = ((("metadata", "name"), called), (("spec", "job"), of), (("spec", "reason"), reason))
    for path, value in fields:
        text = rewrite.set_field(text, 0, path, value) if value else text
    return text + ("  stop: true\n" if stop else "")


@_command(
    "restore",
    "perdure restore train --from 3f9a1c          go back to that checkpoint",
    "perdure restore train --from latest",
)
@click.option("--from", "digest", metavar="DIGEST", required=True, help="A checkpoint's digest, `latest` or `none`.")
def restore(flags: options.Flags, *, job: str, dry_run: bool, digest: str) -> None:
    """Continue a job from a checkpoint: a live attempt is checkpointed and ended first, so nothing is lost by going back."""
    if digest not in ("latest", "none") and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        digest = _completed(flags, job, digest)

    def change(sketch: draft.Draft) -> None:
        if sketch.job.restore_from != digest:
            sketch.set(("spec", "restore", "from"), digest)
        _run(sketch)

    _propose(flags, "restore", job, change, dry_run=dry_run)


def _completed(flags: options.Flags, job: str, start: str) -> str:
    """Return the one digest of the job's checkpoints that begins as given."""
    seen = looking.look(compose.settings(flags))
    subjects = selection.one(job, seen.subjects())
    runs = [run for each in subjects for run in (*each.earlier, *((each.recorded,) if each.recorded else ()))]
    wanted = start.removeprefix("sha256:")
    found = {saved.taken.digest for run in runs for saved in run.checkpoints if saved.taken.digest[7:].startswith(wanted)}
    if len(found) != 1 or not wanted:
        problem = f"{len(found)} checkpoints of this job begin so" if found else "no checkpoint of this job begins so"
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

    def change(sketch: draft.Draft) -> None:
        for path, value in given.items():
            sketch.set(path, value)

    done = _propose(flags, "move", job, change, dry_run=dry_run)
    if node and done.seen.age is not None and node not in hosts.known(done.seen):
        output.note(f"no host {node!r} is known, and {done.name} waits until there is one: `perdure host list` lists them")
