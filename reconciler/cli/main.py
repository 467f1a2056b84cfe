"""`perdure`: the table of commands.

A command is one row. Its module is imported when the command runs, so that `perdure --help` imports nothing heavy.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from reconciler import __version__, errors
from reconciler.cli import options
from reconciler.seams import ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One command: where it is and what the list of commands says about it."""

    name: str
    where: str
    """module:attribute below `reconciler.cli`."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Commands that belong together in the list."""

    title: str
    rows: tuple[Row, ...]


SECTIONS = (
    Section(
        title="Write",
        rows=(
            Row(name="init", where="beginning:init", text="Make a desired-state repository."),
            Row(name="validate", where="manifests:validate", text="Show every problem of every manifest."),
            Row(name="schema", where="manifests:schema", text="Print the JSON Schema of a kind."),
            Row(name="explain", where="manifests:explain", text="Tell what a field means."),
        ),
    ),
    Section(
        title="Review and run",
        rows=(
            Row(name="diff", where="review:diff", text="Show what a pass would do, and why."),
            Row(name="apply", where="review:apply", text="Make one pass, or carry out a saved plan."),
            Row(name="reconcile", where="reconcile:reconcile", text="Run the loop."),
        ),
    ),
    Section(
        title="Look",
        rows=(
            Row(name="status", where="status:status", text="Show where jobs stand."),
            Row(name="why", where="status:why", text="Explain why a job stands where it stands."),
            Row(name="history", where="history:history", text="Show runs, attempts and checkpoints of a job."),
            Row(name="events", where="history:events", text="Show what has happened, oldest first."),
            Row(name="logs", where="logs:logs", text="Print what a job has written, over all its attempts."),
            Row(name="top", where="top:top", text="Watch jobs in a live table."),
            Row(name="wait", where="waiting:wait", text="Wait until a job is finished, running or checkpointed."),
        ),
    ),
    Section(
        title="Change what is wanted, by a commit",
        rows=(
            Row(name="run", where="intentions:run", text="Let a stopped or suspended job go on."),
            Row(name="suspend", where="intentions:suspend", text="Checkpoint a job and suspend it."),
            Row(name="resume", where="intentions:resume", text="Resume a suspended job."),
            Row(name="stop", where="intentions:stop", text="Checkpoint a job and stop it."),
            Row(name="rerun", where="intentions:rerun", text="Ask for one more run of a job."),
            Row(name="checkpoint", where="intentions:checkpoint", text="Take a checkpoint now and pin it."),
            Row(name="restore", where="intentions:restore", text="Continue a job from a chosen checkpoint."),
            Row(name="move", where="intentions:move", text="Move a job with its work to another host."),
        ),
    ),
    Section(
        title="Hosts",
        rows=(
            Row(name="token", where="tokens:token", text="Create one-time tokens with which hosts join."),
            Row(name="host", where="hosts:host", text="List hosts, and revoke them."),
            Row(name="render", where="rendering:render", text="Print user data, ECS tasks and AWS Batch jobs."),
        ),
    ),
    Section(
        title="Checkpoints",
        rows=(
            Row(name="checkpoints", where="checkpoints:checkpoints", text="List checkpoints with their lineage."),
            Row(name="verify", where="checkpoints:verify", text="Re-hash checkpoints and say which are good."),
        ),
    ),
    Section(
        title="This installation",
        rows=(
            Row(name="doctor", where="doctor:doctor", text="Check what works here, and what mends the rest."),
            Row(name="config", where="installation:config", text="Show the effective configuration and where it comes from."),
            Row(name="completion", where="installation:completion", text="Print the completion script of a shell."),
            Row(name="version", where="installation:version", text="Show the version."),
        ),
    ),
)


class Commands(click.Group):
    """The group: lists the table, imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return [row.name for section in SECTIONS for row in section.rows]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, importing its module."""
        row = next((row for section in SECTIONS for row in section.rows if row.name == cmd_name), None)
        if row is None:
            return None
        module, _, attribute = row.where.partition(":")
        command = getattr(importlib.import_module(f"reconciler.cli.{module}"), attribute)
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. A closed pipe is answered here: click would make it the exit code of an error."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            return ending.silenced()
        return result

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a misspelt one is answered with the nearest."""
        command = self.get_command(ctx, args[0])
        if command is None and not args[0].startswith("-"):
            from reconciler.load import suggest

            near = suggest.closest(args[0], self.list_commands(ctx))
            raise errors.UsageError(
                f"there is no command {args[0]!r}",
                remedy=f"Did you mean `perdure {near}`?" if near else "`perdure --help` lists every command.",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, section by section."""
        for section in SECTIONS:
            with formatter.section(section.title):
                formatter.write_dl([(row.name, row.text) for row in section.rows])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=options.examples(
        "perdure reconcile --repo ./jobs       keep the jobs of that repository running",
        "perdure diff --repo ./jobs            show what would change, and why",
        "perdure why train                     explain where one job stands",
    ),
)
@click.option("--trace", is_flag=True, help="Show a stack trace when something unexpected happens.")
@click.version_option(__version__, "-V", "--version", message="perdure %(version)s")
@options.common()
@click.pass_context
def cli(ctx: click.Context, *, trace: bool) -> None:
    """Keep jobs that are declared in Git running to their end, once, losing no work that could have been saved."""
    ctx.find_root().meta[options.TRACE] = trace


def main() -> None:
    """Run `perdure` with the process's own arguments; never returns."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    return ending.run(cli, "perdure", arguments)
