"""The figures of docs/performance.md: `python -m tests.bench [NAME...]`, all of them without a name.

Exits with 0 whatever the figures are: they say themselves whether they were reached. With 1 when one could not be measured.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import appends, commands, criu, crowds, figures, images, interposer, passes, reclaims, start, validation
from tests.bench.options import Options
from tests.lab import ability

FOREIGN = ("GIT_", "PERDURE_")
"""Variables of the surrounding shell that would reach what is measured."""

ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Perdure Bench",
    "GIT_AUTHOR_EMAIL": "bench@perdure.invalid",
    "GIT_COMMITTER_NAME": "Perdure Bench",
    "GIT_COMMITTER_EMAIL": "bench@perdure.invalid",
    "LC_ALL": "C.UTF-8",
}

BUSY = 0.5
"""Load per core above which other work on the machine spoils what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One row of the command line."""

    name: str
    requires: tuple[str, ...]
    measure: Callable[[Options], Iterator[figures.Figure]]
    lab: bool = False
    """It measures real engines in the lab."""


BENCHMARKS = (
    Benchmark(name="validate", requires=validation.REQUIRES, measure=validation.measure),
    Benchmark(name="passes", requires=passes.REQUIRES, measure=passes.measure),
    Benchmark(name="append", requires=appends.REQUIRES, measure=appends.measure),
    Benchmark(name="store", requires=images.REQUIRES, measure=images.measure),
    Benchmark(name="criu", requires=criu.REQUIRES, measure=criu.measure, lab=True),
    Benchmark(name="crowds", requires=crowds.REQUIRES, measure=crowds.measure, lab=True),
    Benchmark(name="reclaims", requires=reclaims.REQUIRES, measure=reclaims.measure, lab=True),
    Benchmark(name="interposer", requires=interposer.REQUIRES, measure=interposer.measure, lab=True),
    Benchmark(name="help", requires=start.REQUIRES, measure=start.measure),
)


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for, print each table as soon as it is known, and say what could not be measured."""
    asked = _parser().parse_args(arguments)
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ.update(ENVIRONMENT)
    about = machine()
    print(" · ".join(str(value) for value in about.values()))
    if os.getloadavg()[0] > BUSY * (os.cpu_count() or 1):
        print("this machine has other work to do now: times will be longer than they are, ratios may still hold")
    found: list[figures.Figure] = []
    failed = False
    for each in [one for one in BENCHMARKS if not asked.names or one.name in asked.names]:
        try:
            commands.require(*each.requires)
            if each.lab and (why := ability.reason()):
                raise ability.LabUnable(why)
            for figure in _measured(each, asked):
                found.append(figure)
                print(f"\n{figures.table(figure)}", flush=True)
        except (commands.Missing, ability.LabUnable, AssertionError) as error:
            failed = True
            print(f"\n{each.name}: not measured: {error}", file=sys.stderr)
    if asked.json:
        Path(asked.json).write_text(figures.document(found, about) + "\n", encoding="utf-8")
    _sum_up(found)
    return 1 if failed else 0


def machine() -> dict[str, Any]:
    """Return when and on what is measured."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cores": f"{os.cpu_count()} cores",
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": f"Python {platform.python_version()}",
        "load": f"load {os.getloadavg()[0]:.2f}",
    }


def _parser() -> argparse.ArgumentParser:
    names = [each.name for each in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the figures of docs/performance.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", type=_name, help=f"of {', '.join(names)}; none: all")
    parser.add_argument("--seed", type=int, default=0, help="of all that is generated [0]")
    parser.add_argument("--rounds", type=int, help="how often each measurement is repeated [as the benchmark finds right]")
    parser.add_argument("--count", type=int, default=10_000, help="manifests, jobs, runs of the large ledger [10000]")
    parser.add_argument("--size", type=_bytes, default=2 << 30, help="bytes of a checkpoint, with M or G [2G]")
    parser.add_argument("--folder", help="where to measure: on the disk that matters [the system's folder for temporary files]")
    parser.add_argument("--json", metavar="FILE", help="write every value that was measured to a file")
    return parser


def _name(text: str) -> str:
    if text not in {each.name for each in BENCHMARKS}:
        raise argparse.ArgumentTypeError(f"there is no benchmark {text!r}")
    return text


def _bytes(text: str) -> int:
    factor = {"M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper())
    size = int(text[:-1]) * factor if factor else int(text)
    if size <= 0 or size % (8 << 20):
        raise argparse.ArgumentTypeError("must be a multiple of 8M")
    return size


def _measured(each: Benchmark, asked: argparse.Namespace) -> Iterator[figures.Figure]:
    with tempfile.TemporaryDirectory(prefix=f"perdure-bench-{each.name}-", dir=asked.folder) as folder:
        yield from each.measure(
            Options(folder=Path(folder), seed=asked.seed, rounds=asked.rounds, count=asked.count, size=asked.size)
        )


def _sum_up(found: list[figures.Figure]) -> None:
    missed = [(figure, series) for figure in found for series in figure.series if series.reached is False]
    bounds = sum(series.bound is not None for figure in found for series in figure.series)
    print(f"\n{bounds - len(missed)} of {bounds} bounds reached")
    for figure, series in missed:
        print(f"  not reached: {figure.work}: {series.what}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
