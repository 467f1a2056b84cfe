"""What the demo shows: a live table on a terminal, plain lines otherwise."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

from rich import console, live, table, text


class _Console(console.Console):
    def on_broken_pipe(self) -> None:
        """Tell who plays, so that everything is ended and removed; rich would end the process with status 1."""
        raise BrokenPipeError


class Stage:
    """Prints the story. On a terminal a table of the jobs stays below it."""

    def __init__(self) -> None:
        self._console = _Console(highlight=False, no_color=bool(os.environ.get("NO_COLOR")))
        self._live: live.Live | None = None
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self.failed = False

    def scene(self, number: int, title: str) -> None:
        """Begin a scene."""
        self._print(text.Text(f"\n{number}. {title}", style="bold"))

    def say(self, line: str, style: str = "") -> None:
        """Print one line with the time since the beginning."""
        stamp = f"{time.monotonic() - self._began:5.1f}s  "
        self._print(text.Text(stamp, style="dim").append(line, style=style or "default"))

    def command(self, line: str, output: str = "") -> None:
        """Show a command as a person would type it, and what it printed."""
        self._print(text.Text(f"        $ {line}", style="cyan"))
        for each in output.rstrip("\n").splitlines():
            self._print(text.Text(f"        {each}"))

    def claim(self, line: str, *, held: bool) -> None:
        """Print a checked claim."""
        self.failed = self.failed or not held
        mark, style = ("✓", "green") if held else ("✗", "bold red")
        self._print(text.Text(f"  {mark} {line}", style=style))

    def fail(self, line: str) -> None:
        """Print what went wrong."""
        self.failed = True
        self._print(text.Text(f"✗ {line}", style="bold red"))

    def show(self, jobs: list[dict[str, Any]]) -> None:
        """Update the live table; without a terminal nothing is printed."""
        if not self._console.is_terminal:
            return
        grid = table.Table(box=None, pad_edge=False, header_style="dim")
        for head in ("JOB", "PHASE", "STEP", "HOST", "REASON"):
            grid.add_column(head)
        for job in jobs:
            host = str(job["host"] or "") if job["phase"] == "running" else ""
            grid.add_row(job["name"], job["phase"], _progress(job), host, job["reason"])
        with self._lock:
            if self._live is None:
                self._live = live.Live(grid, console=self._console, transient=True, refresh_per_second=4)
                self._live.start()
            else:
                self._live.update(grid)

    def close(self) -> None:
        """Take the table away."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
                self._live = None

    def _print(self, line: text.Text) -> None:
        self._console.print(line, soft_wrap=True)
        sys.stdout.flush()


def _progress(job: dict[str, Any]) -> str:
    step, of = job["step"], job["of"]
    return "" if step is None else f"{step}/{of}" if of else str(step)
