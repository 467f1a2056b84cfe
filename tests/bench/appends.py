"""One transition into a ledger, until another clone can fetch it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.bench import commands, figures
from tests.bench.options import Options

REQUIRES = ("git",)
ROUNDS = 20
SMALL = 100
LIMIT = 60.0


def measure(options: Options) -> Iterator[figures.Figure]:
    """Append to a small and to a large ledger, in processes of their own."""
    for runs in (SMALL, options.count):
        command = commands.worker(
            "appends_worker", options.folder / f"ledger-{runs}", str(runs), str(options.times(ROUNDS)), str(options.seed)
        )
        found = json.loads(commands.run(command).output.splitlines()[-1])
        yield figures.Figure(
            work=f"append one transition, at {runs:,} runs",
            series=(
                figures.Series(
                    what="until another clone can fetch it", unit="ms", values=found["append"], bound=figures.at_most(LIMIT)
                ),
                figures.Series(what="until another clone has fetched it", unit="ms", values=found["fetched"]),
                figures.Series(what="plain `git commit` and `git push` of a line", unit="ms", values=found["plain"]),
                figures.ratios("the append, against that", found["append"], found["plain"]),
            ),
            note="the push is accepted; that a plain `git fetch` of another clone brings it is checked after each one",
        )
