"""Passes of the loop over many jobs: cold from nothing, without any change, and with one job changed by a push."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import commands, figures
from tests.bench.options import Options

REQUIRES = ("git",)
ROUNDS = 3
"""Processes; each is cold once."""
PASSES = 5
"""Passes of each kind in each process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    cold: float
    """Seconds from its start to the end of its first pass."""
    rest: dict[str, Any]


def measure(options: Options) -> Iterator[figures.Figure]:
    """Make the fleet, then measure processes that begin with nothing but the repository and what the hosts say."""
    fleet = options.folder / "fleet"
    commands.run(commands.worker("passes_worker", "prepare", fleet, str(options.count), str(options.seed)))
    ran = [_process(fleet, options.folder / f"data-{number}") for number in range(options.times(ROUNDS))]
    every = {name: [value for one in ran for value in one.rest[name]] for name in ("noop", "heard", "changed")}
    yield figures.Figure(
        work=f"pass over {options.count:,} running jobs",
        series=(
            figures.Series(what="no-op", unit="s", values=every["noop"], bound=figures.at_most(0.5)),
            figures.Series(what="no-op, hosts heard anew", unit="s", values=every["heard"], bound=figures.at_most(0.5)),
            figures.Series(
                what="one job changed, ledger pushed", unit="s", values=every["changed"], bound=figures.at_most(0.7)
            ),
            figures.Series(
                what="cold, from a fresh clone", unit="s", values=[one.cold for one in ran], bound=figures.at_most(10)
            ),
            figures.Series(
                what="memory", unit="MB", values=[one.rest["peak"] / 1e6 for one in ran], bound=figures.at_most(300)
            ),
        ),
        note="each pass asks the server; “heard anew”: every host has sent a new state with new progress; a change publishes\n"
        "  the observation of all jobs; that the pass after them sees a job killed without a commit is checked",
    )


def _process(fleet: Path, data: Path) -> _Process:
    command = commands.worker("passes_worker", "measure", fleet, data, str(PASSES))
    began = time.perf_counter()
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout or ())
        next(lines, "")  # it has made its first pass
        cold = time.perf_counter() - began
        last = "".join(lines)
    if process.returncode:
        raise AssertionError(f"the process that makes passes ended with {process.returncode}")
    return _Process(cold=cold, rest=json.loads(last))
