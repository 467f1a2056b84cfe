"""Hosts are reclaimed by a trace, half of them without a word. Needs the lab (root).

A real installation with a host for each reclaim and one more. Each step of the program appends its number and the moment to a
file outside, so that what was executed again is counted, not computed from what we say of ourselves. Without checkpoints
every reclaim would cost all steps since the last one: those that the attempt has executed.
"""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests import conditions
from tests.bench import figures
from tests.bench.options import Options
from tests.lab import fleet
from tests.lab.lab import Lab

REQUIRES = ()
NOTICED = (True, False, True, False)
"""Of each reclaim: whether it is announced."""
USUAL = 10_000
GAP = (150.0, 210.0)
"""Seconds between two reclaims, at the usual `--count`."""
WARNING = 30.0
"""Seconds of a notice, as the dearest clouds give them."""

STEPS = """
import os, time
n, memory = 0, bytearray(os.urandom(32 << 20))
while True:
    n += 1
    memory[n % len(memory)] = n % 256
    with open("/out/steps", "a") as file:
        file.write(f"{n} {time.time():.3f} {os.environ['PERDURE_ATTEMPT']}\\n")
    time.sleep(0.1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    number: int
    at: float


def measure(options: Options) -> Iterator[figures.Figure]:
    """One trace."""
    scale = min(1.0, options.count / USUAL)
    noticed = NOTICED if scale == 1.0 else NOTICED[:2]
    chance = random.Random(options.seed)
    with Lab() as lab:
        site = fleet.Fleet(lab)
        try:
            yield _trace(site, [(each, max(chance.uniform(*GAP) * scale, 8.0)) for each in noticed], scale)
        finally:
            site.close()


def _trace(site: fleet.Fleet, reclaims: list[tuple[bool, float]], scale: float) -> figures.Figure:
    (site.outside / "out").mkdir()
    (site.outside / "out").chmod(0o777)
    for number in range(len(reclaims) + 1):
        site.host(f"host{number}")
    site.commit({"train.yaml": _job(site)})
    site.until("train", lambda run: _of(run, 1)["startedAt"], 300)
    conditions.eventually(lambda: _steps(site), 60)
    began, cuts = time.monotonic(), []
    for number, (noticed, gap) in enumerate(reclaims, 1):
        _wait(gap)
        host = site.hosts[_of(site.run("train"), number)["host"]]
        if noticed:
            warning = max(WARNING * scale, 8.0)
            host.node.run([str(fleet.BIN / "perdure-agent"), "notice", "--in", f"{warning:g}s"], env=fleet.PLAIN)
            cuts.append(len(_steps(site)))
            _wait(warning)
        else:
            cuts.append(len(_steps(site)))
        host.node.kill()
        _goes_on(site, number + 1)
    _wait(reclaims[0][1] / 4)
    seconds = time.monotonic() - began
    steps, run = _steps(site), site.run("train")
    again = len(steps) - len({each.number for each in steps})
    without = cuts[-1]  # each reclaim throws away what was executed since the one before it
    frozen = sum(each["frozenSeconds"] or 0.0 for each in run["checkpoints"])
    restores = [_restored(run, number, steps) for number in range(2, len(reclaims) + 2)]
    return figures.Figure(
        work=f"{len(reclaims)} reclaims in {seconds / 60:.0f} minutes, half of them without a word",
        series=(
            figures.Series(what="steps executed again", unit="steps", values=[max(again, 0.5)]),
            figures.Series(what="the same without checkpoints", unit="steps", values=[without]),
            figures.Series(what="fewer by", unit="%", values=[100 - 100 * again / without], bound=figures.at_least(90)),
            figures.Series(
                what="frozen and restoring, of the trace",
                unit="%",
                values=[100 * (frozen + sum(restores)) / seconds],
                bound=figures.at_most(10),
            ),
        ),
        note=f"`interval: auto`: {len(run['checkpoints'])} checkpoints; a restore counts from the plan to the next step",
    )


def _job(site: fleet.Fleet) -> str:
    volume = f"volumes: [{{source: {site.inside}/out, target: /out, shared: true}}]"
    text = fleet.job("train", STEPS, checkpoint="{interval: auto}", extra="onLost: replace\nretries: {preemption: 20}")
    return text.replace("workload: {", f"workload: {{{volume}, ")


def _goes_on(site: fleet.Fleet, attempt: int) -> None:
    known = len(_steps(site))
    site.until("train", lambda run: _of(run, attempt)["startedAt"], 300)
    conditions.eventually(lambda: len(_steps(site)) > known, 120)


def _of(run: dict[str, Any], number: int) -> dict[str, Any]:
    attempts: list[dict[str, Any]] = run["attempts"]
    return attempts[number - 1] if len(attempts) >= number else {"startedAt": None}


def _restored(run: dict[str, Any], number: int, steps: list[_Step]) -> float:
    """Seconds from the plan of an attempt to its first step."""
    intended = _posix(_of(run, number)["intendedAt"])
    return next((each.at for each in steps if each.at >= intended), intended) - intended


def _posix(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _steps(site: fleet.Fleet) -> list[_Step]:
    path = site.outside / "out/steps"
    lines = path.read_text().splitlines() if path.exists() else []
    return [_Step(number=int(words[0]), at=float(words[1])) for words in map(str.split, lines) if len(words) == 3]


def _wait(seconds: float) -> None:
    """Let the trace's time pass."""
    until = time.monotonic() + seconds
    conditions.eventually(lambda: time.monotonic() >= until, seconds + 60)
