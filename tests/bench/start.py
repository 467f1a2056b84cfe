"""How long a person waits for `perdure --help`."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench import commands, figures
from tests.bench.options import Options

REQUIRES = ()
ROUNDS = 20


def measure(options: Options) -> Iterator[figures.Figure]:
    """Start the command again and again, after a first time that fills the caches."""
    command: commands.Words = [commands.SCRIPTS / "perdure", "--help"]
    commands.run(command)
    taken = [commands.run(command).seconds * 1e3 for _ in range(options.times(ROUNDS))]
    yield figures.Figure(
        work="perdure --help",
        series=(figures.Series(what="wall", unit="ms", values=taken, bound=figures.at_most(250)),),
    )
