"""`perdure-agent install`, `upgrade` and `uninstall`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from agent.install.installing import Done

F = TypeVar("F", bound=Callable[..., Any])

ENGINES = ("docker", "containerd", "podman")


def _options(function: F) -> F:
    """Give a command the flags that all three take."""
    for option in (
        click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="Form of the answer."),
        click.option("--dry-run", is_flag=True, help="Print what would change as a diff, and change nothing."),
        click.option("--restart", is_flag=True, help="Restart the engines; dockerd takes it without, by a reload."),
        click.option("--engine", "engines", multiple=True, type=click.Choice(ENGINES), help="Only this engine; repeatable."),
    ):
        function = option(function)
    return function


@click.command(short_help="Put the interposer in place for this machine's container engines.")
@_options
@click.option("--runc", default="", metavar="FILE", help="The real runtime.  [default: the one in PATH]")
@click.option("--criu", default="", metavar="FILE", help="The criu build to put in place.  [default: the one in PATH]")
@click.option(
    "--arch-root",
    "roots",
    multiple=True,
    metavar="DIR",
    help="Folder below which the variables of ARCH and Tardis may name paths; repeatable.  [default: none, they do nothing]",
)
def install(*, roots: tuple[str, ...], runc: str, criu: str, **flags: Any) -> None:
    """Put the interposer and one criu build in place for this machine's container engines.

    Refuses before it changes anything, looks whether each engine uses it, and takes everything back otherwise. Containers go
    on. Doing it again changes nothing.

    \b
    Example: perdure-agent install --dry-run
    """
    from agent.install import installing, machine

    wanted = _wanted(flags, runc=runc, criu=criu, arch_roots=roots or None)
    _show(flags, installing.install(machine.System(), wanted))


@click.command(short_help="Put a newer interposer in place, with containers running.")
@_options
@click.option("--criu", default="", metavar="FILE", help="Another criu build.  [default: the one that is in place]")
def upgrade(*, criu: str, **flags: Any) -> None:
    """Put this version's interposer in the place of the installed one. Containers that run keep theirs to their end.

    \b
    Example: perdure-agent upgrade
    """
    from agent.install import installing, machine

    _show(flags, installing.upgrade(machine.System(), _wanted(flags, criu=criu)))


@click.command(short_help="Give the container engines their own runtime back.")
@_options
def uninstall(**flags: Any) -> None:
    """Give the container engines their own runtime back. What running containers need stays until their end, and is named.

    \b
    Example: perdure-agent uninstall --dry-run
    """
    from agent.install import installing, machine

    _show(flags, installing.uninstall(machine.System(), _wanted(flags)))


def _wanted(flags: dict[str, Any], **more: Any) -> Any:
    from agent.install import installing

    return installing.Options(engines=flags["engines"], restart=flags["restart"], dry_run=flags["dry_run"], **more)


def _show(flags: dict[str, Any], done: Done) -> None:
    document = {
        "version": done.version or None,
        "changed": bool(done.diff or done.put) and not flags["dry_run"],
        "diff": done.diff,
        "said": list(done.said),
        "kept": [{"version": use.version, "holder": use.holder} for use in done.kept],
    }
    if flags["output"] == "json":
        click.echo(json.dumps(document, indent=2))
    elif flags["output"] == "yaml":
        import yaml

        click.echo(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False), nl=False)
    elif flags["dry_run"]:
        click.echo(done.diff, nl=False)
    else:
        click.echo("\n".join(_told(done)))


def _told(done: Done) -> list[str]:
    from agent.install import versions

    where = f"{versions.FOLDER}/{done.version}"
    first = f"the interposer is {where}/{versions.PROGRAM}" if done.version else "the engines use their own runtime"
    last = "next: perdure doctor --host" if done.version and done.put else ""
    nothing = "" if done.diff or done.put else "nothing had to be changed"
    return [first, *(f"  {said}" for said in done.said), *(line for line in (nothing, last) if line)]
