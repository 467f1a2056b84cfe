"""`perdure-agent`: what a person can do on a host."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import shlex
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agent import places
from agent.install import commands
from reconciler import __version__, errors
from reconciler.core import quantities
from reconciler.seams import ending


class Quantity(click.ParamType[float]):
    """A quantity as manifests write it."""

    def __init__(self, name: str, form: re.Pattern[str], read: Callable[[str], float], examples: str) -> None:
        self.name = name
        self._form = form
        self._read = read
        self._examples = examples

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the quantity in the units of `core.model`; a usage error for anything else."""
        text = str(value).strip()
        if not self._form.fullmatch(text):
            self.fail(f"{value!r} is not a {self.name}: write {self._examples}", param, ctx)
        return self._read(text)


DURATION = Quantity("duration", quantities.DURATION, quantities.seconds, "30s, 2m or 1h30m")
CORES = Quantity("number of cores", quantities.CORES, quantities.millicores, "2, 0.5 or 500m")
SIZE = Quantity("size", quantities.BYTES, quantities.size, "512Mi, 2Gi or 1000000")


def _data(command: Callable[..., Any]) -> Callable[..., Any]:
    usual = places.ROOT_DATA if os.geteuid() == 0 else places.USER_DATA
    return click.option(
        "--data",
        type=click.Path(path_type=Path, readable=False),  # who may not read it is told so by what needs it
        default=places.default,
        help=f"The agent's data directory.  [default: {usual}]",
    )(command)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "PERDURE_AGENT", "max_content_width": 110}
)
@click.option("--trace", is_flag=True, expose_value=False, help="Show a stack trace when something unexpected happens.")
@click.version_option(__version__, "-V", "--version", message="perdure-agent %(version)s")
def cli() -> None:
    """Run jobs on this host for a reconciler, and keep what they save.

    \b
    perdure-agent join TOKEN       once, with a token from `perdure token create`
    perdure-agent run              then, for as long as the host serves
    """


@cli.command(short_help="Trade a one-time token for a certificate.")
@click.argument("token")
@click.option("--name", default=socket.gethostname, help="Name of this host.  [default: this machine's name]")
@_data
def join(token: str, name: str, data: Path) -> None:
    """Trade a one-time TOKEN (`-` reads it from stdin) for a certificate.

    \b
    Example: perdure token create berlin | ssh berlin perdure-agent join - --name berlin
    """
    from agent import join as joining

    text = sys.stdin.readline() if token == "-" else token
    joined = joining.join(text.strip(), name, data)
    then = shlex.join(["perdure-agent", "run", "--data", str(data)])
    click.echo(f"host {joined.host} has joined {joined.instance} at {joined.address}; next: {then}")


@cli.command(short_help="Serve the reconciler that this host has joined.")
@_data
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of this host; may be repeated.")
@click.option("--cpu", type=CORES, metavar="CORES", help="Cores offered, e.g. 8 or 500m.  [default: all]")
@click.option("--memory", type=SIZE, metavar="SIZE", help="Memory offered, e.g. 16Gi.  [default: all]")
@click.option("--user", default="", help="User that runs jobs when the agent is root.  [default: nobody]")
@click.option("--secrets", type=click.Path(path_type=Path), help="Folder of job secrets.  [default: DATA/secrets]")
@click.option("--keys", type=click.Path(path_type=Path), help="Folder of key files.  [default: DATA/keys]")
@click.option("--docker", default="", metavar="SOCKET|none", help="Socket of a container engine.  [default: dockerd's]")
def run(
    data: Path,
    labels: tuple[str, ...],
    cpu: int | None,
    memory: int | None,
    user: str,
    secrets: Path | None,
    keys: Path | None,
    docker: str,
) -> int:
    """Serve the reconciler that this host has joined, until Ctrl-C or SIGTERM. Jobs go on; the next start finds them.

    \b
    Example: perdure-agent run --label zone=a --cpu 8 --memory 16Gi
    """
    from agent import dial, identity, service
    from agent.install import installing, machine
    from reconciler.seams import clock

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="perdure-agent: %(message)s")
    own = identity.load(data)
    if os.geteuid() == 0:
        installing.tidy(machine.System())
    options = service.Options(
        data=data,
        name=own.host,
        pool=own.pool,
        labels=dict(_label(text) for text in labels),
        cpu=cpu,
        memory=memory,
        user=user,
        secrets=secrets,
        keys=keys,
        docker=docker,
    )
    time = clock.System()
    link = dial.Dial(data, time)
    woken = _signals()
    with service.running(options, link, time) as agent:
        link.start()
        try:
            return _wait(woken, lambda: agent.over)
        finally:
            link.stop()


@cli.command()
@_data
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="Form of the answer.")
def status(data: Path, output: str) -> None:
    """Show what this host runs.

    \b
    Example: perdure-agent status -o json
    """
    from agent import doorbell

    state = doorbell.ask(data / "agent.sock", {"do": "status"})
    if output == "json":
        click.echo(json.dumps(state, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.dump(state, Dumper=yaml.CSafeDumper, sort_keys=False), nl=False)
    else:
        click.echo(_table(state), nl=False)


@cli.command(short_help="Announce that this host goes away.")
@_data
@click.option("--in", "seconds", type=DURATION, metavar="DURATION", required=True, help="When the host goes away, e.g. 30s.")
@click.option("--reason", default="", help="Why; it is told to the jobs.")
def notice(data: Path, seconds: float, reason: str) -> None:
    """Announce that this host goes away: every job that can is saved in time and ended. Also the rehearsal of a reclaim.

    \b
    Example: perdure-agent notice --in 30s
    """
    from agent import doorbell
    from reconciler.core import transition

    doorbell.ask(data / "agent.sock", {"do": "notice", "seconds": seconds, "reason": reason})
    click.echo(f"noticed: this host goes away in {transition.duration(seconds)}; `perdure-agent status` shows what is saved")


@cli.command(short_help="Empty this host.")
@_data
@click.option("--off", is_flag=True, help="Let the host take jobs again.")
def drain(data: Path, off: bool) -> None:
    """Empty this host: nothing new is started, each job ends once it is saved, and those that cannot save run to their end.

    \b
    Example: perdure-agent drain
    """
    from agent import doorbell

    doorbell.ask(data / "agent.sock", {"do": "drain", "on": not off})
    click.echo("this host takes jobs again" if off else "draining; `perdure-agent status` shows what is left")


for command in (commands.install, commands.upgrade, commands.uninstall):
    cli.add_command(command)


def main() -> None:
    """Run `perdure-agent` with the process's own arguments; never returns."""
    sys.exit(ending.run(cli, "perdure-agent", sys.argv[1:]))


def _signals() -> int:
    """Have Ctrl-C and SIGTERM write to a pipe, and return its reading end: a handler may not take locks that threads take."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return woken


def _wait(woken: int, over: Callable[[], bool]) -> int:
    """Wait for a signal, or for the agent's end, which is a failure when nobody asked for it."""
    signals = select.poll()
    signals.register(woken, select.POLLIN)
    while not over():
        if signals.poll(1000):
            return ending.INTERRUPTED if os.read(woken, 1)[0] == signal.SIGINT else 0
    return 2


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise errors.UsageError(f"{text!r} is not a label", where="--label", remedy="Write KEY=VALUE.")
    return key, value


def _table(state: dict[str, Any]) -> str:
    from reconciler.core import transition

    mark = " (draining)" if state["draining"] else " (going away)" if state["notice"] else ""
    lines = [f"host {state['host']}{mark}: {transition.cores(state['cpu'])}, {state['memory'] / 2**30:.1f} GiB offered"]
    lines += [f"  ! {text}" for text in state["conditions"]]
    rows = [("JOB", "ATTEMPT", "STATE", "STEP", "CHECKPOINTS", "")]
    for item in state["items"]:
        job = f"{item['spec']['tenant']}/{item['spec']['job']}" if item["spec"] else item["ref"]["run"]
        progress = item["progress"] or {"step": "-", "of": None}
        step = f"{progress['step']}/{progress['of']}" if progress["of"] else str(progress["step"])
        ended = f"{item['exit']['kind']} {item['exit']['detail']}".strip() if item["exit"] else item["condition"]
        rows.append((job, str(item["ref"]["attempt"]), item["state"], step, str(len(item["checkpoints"])), ended))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    if len(rows) == 1:
        lines.append("  no jobs")
        rows.clear()
    for *cells, said in rows:
        lines.append("  ".join([*map(str.ljust, cells, widths), said]).rstrip())
    return "\n".join(lines) + "\n"
