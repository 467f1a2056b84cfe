"""`perdure doctor`: what works here, what does not, why, and the command that mends it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import click

from reconciler import errors
from reconciler.cli import checks, compose, findings, looking, options, output, view

State = findings.State

HERE = "."
"""What `--host` without a name means: no host can be called so."""


@click.command(
    epilog=options.examples(
        "perdure doctor --repo ssh://git@example.org/jobs.git",
        "perdure doctor --target machines       only what this target needs, host by host",
        "perdure doctor --host berlin           only what was heard of this host",
        "sudo perdure doctor --host             whether this machine can take checkpoints of containers",
        "perdure doctor -o json | jq '.findings[] | select(.state != \"ok\")'",
    )
)
@click.option("--target", metavar="TARGET", default=None, help="Look at the hosts of this target only.")
@click.option(
    "--host",
    metavar="[HOST]",
    is_flag=False,
    flag_value=HERE,
    default=None,
    help="Look at this host only. Without a name: what this machine lacks for checkpoints of containers.",
)
@options.common("text", "json", "yaml")
@click.pass_obj
def doctor(flags: options.Flags, *, target: str | None, host: str | None) -> int:
    """Check what works here. Each finding says what does not, why, and the command that mends it. Exits with 1 if one fails."""
    found = list(_machine_itself() if host == HERE else _installation(flags, target or "", host or ""))
    failed = any(finding.state is State.FAIL for finding in found)
    document = {"ok": not failed, "findings": [_machine(finding) for finding in found]}
    output.show(flags.output, document, lambda: "\n".join(_told(finding) for finding in found))
    return 1 if failed else 0


def _machine_itself() -> Iterator[findings.Finding]:
    """Look at what this machine has for checkpoints of containers. Neither configuration nor repository matters for it."""
    from reconciler.cli import embedded

    for subject, state, text, remedy in embedded.prerequisites():
        yield findings.Finding(subject=subject, state=State(state), text=text, remedy=remedy)


def _installation(flags: options.Flags, target: str, host: str) -> Iterator[findings.Finding]:
    settings = compose.settings(flags)
    surroundings = findings.Surroundings(settings=settings, data=compose.data(settings), target=target, host=host)
    return examine(surroundings, checks.TABLE)


def examine(surroundings: findings.Surroundings, table: tuple[findings.Check, ...]) -> Iterator[findings.Finding]:
    """Make each check of the table; one that stumbles is a finding itself, and those that need its answer are passed over."""
    seen: view.View | None = None
    try:
        looker = looking.Looker(surroundings.settings)
        surroundings = dataclasses.replace(surroundings, looker=looker)
        seen = looker.look()
    except errors.PerdureError as error:
        broken: errors.PerdureError | None = error
    else:
        broken = None
    surroundings = dataclasses.replace(surroundings, seen=seen, broken=broken)
    for check in table:
        try:
            yield from (dataclasses.replace(finding, subject=check.subject) for finding in check.look(surroundings))
        except (errors.PerdureError, OSError) as error:
            remedy = error.remedy if isinstance(error, errors.PerdureError) else ""
            text = error.message if isinstance(error, errors.PerdureError) else str(error)
            yield findings.Finding(subject=check.subject, state=State.FAIL, text=text, remedy=remedy)


def _machine(finding: findings.Finding) -> dict[str, Any]:
    return {
        "subject": finding.subject,
        "state": finding.state.value,
        "text": finding.text,
        "remedy": finding.remedy or None,
    }


SIGNS: dict[findings.State, tuple[str, Callable[[str], str]]] = {
    State.OK: ("ok  ", lambda text: click.style(text, fg="green")),
    State.WARN: ("warn", lambda text: click.style(text, fg="yellow")),
    State.FAIL: ("FAIL", lambda text: click.style(text, fg="red")),
}


def _told(finding: findings.Finding) -> str:
    sign, paint = SIGNS[finding.state]
    line = f"{paint(sign)}  {finding.subject}: {output.clean(finding.text)}"
    return f"{line}\n      {output.clean(finding.remedy)}" if finding.remedy else line
