"""`perdure top`: jobs and hosts in a table that stays up to date."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from reconciler.cli import compose, following, looking, options, output, selection, standing, status, view
from reconciler.core import record, transition

if TYPE_CHECKING:
    from rich.console import RenderableType

PHASES = {
    record.Phase.RUNNING: "green",
    record.Phase.FINISHED: "blue",
    record.Phase.FAILED: "red",
}
"""Colours; every other phase waits, and is yellow."""


@click.command(
    epilog=options.examples(
        "perdure top                until Ctrl-C",
        "perdure top | tee log      not on a terminal: a table whenever something has changed",
    )
)
@options.argument("jobs", nargs=-1, metavar="[JOB]...")
@options.common("text")
@click.pass_obj
def top(flags: options.Flags, *, jobs: tuple[str, ...]) -> None:
    """Watch jobs and hosts in a live table."""
    looker = looking.Looker(compose.settings(flags))
    views = following.views(looker)
    if not output.colourful():
        _plain(views, jobs)
        return
    from rich.console import Console
    from rich.live import Live

    first = next(views)
    with Live(_screen(first, jobs), console=Console(), screen=True, auto_refresh=False) as live:
        for seen in views:
            live.update(_screen(seen, jobs), refresh=True)


def _plain(views: Iterator[view.View], jobs: tuple[str, ...]) -> None:
    said = ""
    for seen in views:
        found = [standing.of(each, seen) for each in selection.pick(jobs, seen.subjects())]
        rows = [(each.name, each.phase.value, each.progress, each.reason) for each in found]
        text = output.columns(("JOB", "PHASE", "STEP", "REASON"), rows, output.width())
        if text != said:
            output.line(f"{output.clock(seen.now)}\n{text}\n")
        said = text


def _screen(seen: view.View, jobs: tuple[str, ...]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    found = [standing.of(each, seen) for each in selection.pick(jobs, seen.subjects())]
    found.sort(key=lambda each: (each.over, each.phase is not record.Phase.RUNNING, each.subject.key))
    return Group(Text(_summary(found, seen)), Text(), _jobs(found, seen), Text(), _hosts(seen))


def _summary(found: list[standing.Standing], seen: view.View) -> str:
    counts = {phase: sum(each.phase is phase for each in found) for phase in record.Phase}
    parts = ", ".join(f"{count} {phase.value}" for phase, count in counts.items() if count)
    age = f"observed {transition.duration(seen.age)} ago" if seen.age is not None else "not observed yet"
    revision = seen.desired.revision[:12] if seen.desired else "no revision"
    return f"perdure {seen.instance} at {revision}: {parts or 'no jobs'}; {age}{'; ' + seen.notice if seen.notice else ''}"


def _jobs(found: list[standing.Standing], seen: view.View) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for name, ratio in (("JOB", 3), ("PHASE", 2), ("PROGRESS", 4), ("HOST", 2), ("TIME", 2), ("SAVED", 3), ("REASON", 2)):
        table.add_column(name, ratio=ratio, no_wrap=True, overflow="ellipsis")
    for each in found:
        name, phase, _, host, time, reason = status.row(each, seen.now)
        colour = PHASES.get(each.phase, "yellow")
        cells = (name, Text(phase, colour), _bar(each), host, time, _saved(each, seen), reason)
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table


def _bar(each: standing.Standing) -> str:
    if each.step is None or not each.of:
        return each.progress
    share = min(each.step / each.of, 1.0)
    return f"{'━' * round(share * 12):<12} {each.progress}"


def _saved(each: standing.Standing, seen: view.View) -> str:
    taken = each.checkpoint
    if taken is None:
        return ""
    step = f"step {taken.step}, " if taken.step is not None else ""
    return f"{step}{transition.duration(seen.now - taken.taken_at)} ago"


def _hosts(seen: view.View) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for name in ("HOST", "TARGET", "CORES", "MEMORY", "ATTEMPTS", "HEARD"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for target in seen.world.targets.values():
        for host in target.hosts.values():
            state = host.state
            live = sum(item.ended_at is None for item in target.items.values() if item.host == state.host)
            silent = host.silent_since is not None
            heard = f"silent for {transition.duration(seen.now - (host.silent_since or seen.now))}" if silent else "yes"
            cells = (state.host, target.name, f"{state.cpu / 1000:g}", output.size(state.memory), str(live))
            table.add_row(*(Text(cell) for cell in cells), Text(heard, "red" if silent else ""))
    return table
