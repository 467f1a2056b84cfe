"""What the interposer costs a container that is not ours. Needs the lab (root)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from tests.bench import commands, figures
from tests.bench.options import Options
from tests.lab import interposer
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.recipe import TINY_IMAGE

REQUIRES = ()
CALLS, RUNS = 200, 150
CALL = ["--root", "/run/runc/moby", "--log", "/tmp/log.json", "--log-format", "json"]
BUNDLE = "/tmp/bundle"
VARIABLES = [f"VARIABLE_{number}={'value ' * 8}" for number in range(40)]


def measure(options: Options) -> Iterator[figures.Figure]:
    """First a call by itself, the most expensive one and another; then `docker run` with it and without."""
    with Lab() as lab:
        node = lab.node("bench")
        interposer.install(node)
        yield _calls(node, options.times(CALLS))
        docker = node.docker(interposer.OPTIONS, images=(TINY_IMAGE,))
        yield _runs(node, options.times(RUNS))
        docker.stop()


def _calls(node: Node, rounds: int) -> figures.Figure:
    """With a real runtime that ends at once."""
    node.write("/etc/perdure/programs", "/bin/true\n/usr/bin/python3\n")
    node.write(f"{BUNDLE}/config.json", json.dumps({"process": {"env": VARIABLES}, "mounts": "x" * 15_000}))
    create = [*CALL, "create", "--bundle", BUNDLE, "--pid-file", "/tmp/pid", "c0ffee"]
    kill = [*CALL, "kill", "--all", "c0ffee", "15"]
    created, killed = _timed(node, rounds, [[interposer.PROGRAM, *create], [interposer.PROGRAM, *kill]])
    interposer.install(node)
    return figures.Figure(
        work="the interposer, a call for another container",
        series=tuple(
            figures.Series(what=what, unit="ms", values=[one * 1e3 for one in taken], bound=figures.at_most(5))
            for what, taken in (("create", created), ("kill", killed))
        ),
        note="with a program in place of the real runtime that ends at once",
    )


def _runs(node: Node, rounds: int) -> figures.Figure:
    run = [["docker", "run", "--rm", "--runtime", name, TINY_IMAGE, "true"] for name in ("runc", "perdure-runc")]
    _timed(node, 1, run)
    alone, ours = _timed(node, rounds, run)
    return figures.Figure(
        work="docker run of true",
        series=(
            figures.Series(what="runc", unit="s", values=alone),
            figures.Series(what="perdure-runc", unit="s", values=ours),
            figures.ratios("perdure-runc ÷ runc", ours, alone, figures.at_most(1.04)),
        ),
    )


def _timed(node: Node, rounds: int, asked: list[list[str]]) -> list[list[float]]:
    worker = [sys.executable, "-m", "tests.bench.interposer_worker", str(rounds), json.dumps(asked)]
    taken: list[list[float]] = json.loads(node.run(worker, cwd=str(commands.ROOT), timeout=600).stdout)
    return taken
