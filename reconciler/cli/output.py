"""How answers look: text in columns, JSON or YAML; colour only on a terminal; times and sizes for people and for machines."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

GAP = "  "
"""Between two columns."""

FIRST, LAST = -62135596800, 253402300799
"""The calendar in POSIX seconds: years 1 to 9999."""
COLOURS = {
    "running": "green",
    "finished": "blue",
    "failed": "red",
    "pending": "yellow",
    "suspended": "yellow",
    "stopped": "yellow",
    "good": "green",
    "bad": "red",
    "unread": "yellow",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
}
"""Words that carry a colour wherever they stand as a whole cell."""


def show(form: str, document: Any, text: Callable[[], str]) -> None:
    """Print `document` as JSON or YAML, or else what `text` returns."""
    if form == "json":
        line(json.dumps(document, indent=2, ensure_ascii=False))
    elif form == "yaml":
        import yaml

        line(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True).rstrip("\n"))
    else:
        line(text().rstrip("\n"))


def line(text: str) -> None:
    """Print a line of the answer on stdout at once: a reader of a pipe does not wait for a full buffer."""
    click.echo(text, color=colourful())


def note(text: str) -> None:
    """Say something that is not part of the answer, on stderr. A full disk there is no reason to fail."""
    try:
        click.echo(f"perdure: {text}", err=True)
    except BrokenPipeError:
        raise
    except OSError:
        return


def colourful() -> bool:
    """Return whether stdout is a terminal that wants colour (https://no-color.org)."""
    return on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def on_terminal() -> bool:
    """Return whether a person looks at stdout."""
    return sys.stdout is not None and sys.stdout.isatty()


def width() -> int | None:
    """Return the columns of the terminal; None where nobody looks, and nothing needs to fit."""
    return shutil.get_terminal_size().columns if on_terminal() else None


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], fit: int | None = None) -> str:
    """Return a table; where it does not fit `fit` characters, each row as a block of lines instead. Nothing is ever cut off."""
    table = [tuple(clean(cell) for cell in row) for row in rows]
    lines = [tuple(header), *table]
    widths = [max(len(each[index]) for each in lines) for index in range(len(header))]
    if fit is not None and sum(widths) + len(GAP) * (len(widths) - 1) > fit:
        return "\n\n".join(_block(header, row) for row in table)
    return "\n".join(GAP.join(_cell(cell, size) for cell, size in zip(each, widths, strict=True)).rstrip() for each in lines)


def _block(header: Sequence[str], row: Sequence[str]) -> str:
    first, *rest = zip(header, row, strict=True)
    return "\n".join([_cell(first[1], 0), *(f"  {name.lower()}: {_cell(cell, 0)}" for name, cell in rest if cell)])


def _cell(text: str, size: int) -> str:
    colour = COLOURS.get(text)
    return (click.style(text, fg=colour) if colour else text) + " " * (size - len(text))


def clean(text: str) -> str:
    """Return `text` on one line and without control characters: what a job or a server says must not drive the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split("\n")))


def moment(seconds: float | None) -> str | None:
    """Return a POSIX time as machine output has it: RFC 3339 in UTC, whole seconds; None stays None.

    A host may have told any number: before and after the calendar it is the first or the last moment of that.
    """
    if seconds is None:
        return None
    told = int(min(max(seconds, FIRST), LAST))
    return datetime.datetime.fromtimestamp(told, datetime.UTC).replace(tzinfo=None).isoformat() + "Z"


def clock(seconds: float | None) -> str:
    """Return a POSIX time as people here read it: local date and time, UTC where the calendar ends before; empty for None."""
    if seconds is None:
        return ""
    try:
        return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return moment(seconds) or ""


def size(count: int | None) -> str:
    """Return bytes as people write them: 512 B, 3.4 MiB."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
