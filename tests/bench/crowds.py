"""Many containers on one host, and one notice: a real installation with dockerd, agent and loop. Needs the lab (root)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import conditions
from tests.bench import figures, image_data
from tests.bench.options import Options
from tests.lab import fleet
from tests.lab.lab import Lab

REQUIRES = ()
PER_COUNT = 50
"""Manifests of `--count` for each container: 200 of the usual 10,000."""
FEW = 10
MIB = 20
SHORT, APART = 30.0, 20.0
"""Seconds of the notice that cannot hold all, and by which the first half has more to lose."""
TINY = 10
"""Containers below which nothing is worth waiting for so long."""

HOLDS = """
import mmap, os, socket, sys, time
memory = mmap.mmap(-1, int(sys.argv[1]) << 20)
with open("/data/repeated", "rb") as file:
    file.readinto(memory)
open("/out/" + socket.gethostname(), "w").close()
while True:
    memory[0] = (memory[0] + 1) % 256
    time.sleep(0.05)
"""


def measure(options: Options) -> Iterator[figures.Figure]:
    """A crowd that the deadline holds, one that it does not, and a few large ones."""
    many = max(2, min(options.count // PER_COUNT, 200))
    few = max(2, min(many, FEW))
    with Lab() as lab:
        site = fleet.Fleet(lab, lost_after="600s")
        try:
            crowd = _Crowd(site, options)
            yield _all(crowd, many)
            yield _not_all(crowd, many)
            yield _large(crowd, few)
        finally:
            site.close()


class _Crowd:
    """Containers of one host, and what the store has of them, looked at from outside."""

    def __init__(self, site: fleet.Fleet, options: Options) -> None:
        self.site = site
        for name in ("data", "out"):
            (site.outside / name).mkdir()
        (site.outside / "out").chmod(0o777)
        largest = MIB * 10 << 20
        image_data.write(site.outside / "data/repeated", image_data.repeated(options.seed, largest))
        self.host = site.host("alpha")
        self._before: set[Path] = set()

    def runs(self, name: str, count: int, mib: int) -> None:
        """Start so many containers, and wait until each holds its memory."""
        before = len(self._out())
        workload = (
            f"image: perdure-lab/base:1, command: [python3, -c, {fleet.quoted(HOLDS)}, '{mib}'], volumes: ["
            f"{{source: {self.site.inside}/data, target: /data, readOnly: true}}, "
            f"{{source: {self.site.inside}/out, target: /out, shared: true}}]"
        )
        text = (
            f"apiVersion: perdure.dev/v1alpha1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  target: machines\n"
            f"  replicas: {count}\n  workload: {{{workload}}}\n"
        )
        self.site.commit({f"job-{name}.yaml": text})
        conditions.eventually(
            lambda: len(self._out()) >= before + count, 1800, interval=0.5, message=lambda: self.site.told(f"{name}[0]")
        )

    def notice(self, seconds: float) -> float:
        """Tell the host that it goes away; return when."""
        self.host.node.run([str(fleet.BIN / "perdure-agent"), "notice", "--in", f"{seconds:g}s"], env=fleet.PLAIN)
        return time.time()

    def saved(self) -> list[tuple[float, str]]:
        """When each checkpoint of this crowd was offered and the run it is of, oldest first."""
        return sorted((path.stat().st_mtime, path.parts[-4]) for path in self._offered() - self._before)

    def history(self, job: str) -> list[dict[str, Any]]:
        """What the ledger says of every run of a job."""
        runs: list[dict[str, Any]] = json.loads(self.site.perdure("history", job, "-o", "json"))["runs"]
        return runs

    def over(self) -> None:
        """Let the deadline pass and end everything."""
        left = {path.name: None for path in (self.site.outside / "desired").glob("job-*.yaml")}
        self.site.commit(left, "Nothing is to run\n\nPerdure-Allow-Empty: true")
        conditions.eventually(lambda: not self.host.containers(), 900, interval=1)
        self.notice(1)  # in place of the one before
        conditions.eventually(lambda: "going away" not in self._status(), 900, interval=1)
        self._before = self._offered()

    def peak(self) -> float:
        """The most memory that the agent has had, in MB."""
        assert self.host.agent
        text = self.host.node.path(f"/proc/{self.host.agent.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:")) * 1024 / 1e6

    def _offered(self) -> set[Path]:
        return set(self.site.outside.glob("store/runs/*/checkpoints/*/manifest.json"))

    def _out(self) -> list[str]:
        return [path.name for path in (self.site.outside / "out").iterdir()]

    def _status(self) -> str:
        return self.host.node.run([str(fleet.BIN / "perdure-agent"), "status"], env=fleet.PLAIN).stdout


def _all(crowd: _Crowd, count: int) -> figures.Figure:
    crowd.runs("crowd", count, MIB)
    began = crowd.notice(600)
    conditions.eventually(lambda: len(crowd.saved()) >= count, 600, interval=0.2, message=lambda: f"{len(crowd.saved())} saved")
    seconds = crowd.saved()[-1][0] - began

    def frozen() -> list[float]:
        found = [each["frozenSeconds"] for run in crowd.history("crowd") for each in run["checkpoints"]]
        return found if len(found) >= count and all(found) else []

    stood = conditions.eventually(frozen, 120, interval=1)
    peak = crowd.peak()
    crowd.over()
    return figures.Figure(
        work=f"{count} containers of {MIB} MiB on one host, one notice",
        series=(
            figures.Series(what="all durable and verified", unit="s", values=[seconds], bound=figures.at_most(60)),
            figures.Series(what="a program stands still", unit="s", values=stood, bound=figures.at_most(1)),
            figures.Series(what="memory of the agent with its receivers", unit="MB", values=[peak], bound=figures.at_most(300)),
        ),
        note="three quarters repeated pages; until the store offers the last one, while dockerd ends the containers",
    )


def _not_all(crowd: _Crowd, count: int) -> figures.Figure:
    """The first half has run for longer when the notice comes: what it loses is worth more."""
    short, apart = (SHORT, APART) if count > TINY else (6.0, 1.0)
    crowd.runs("older", count // 2, MIB)
    older = {run["run"] for run in crowd.history("older")}
    began = time.monotonic()
    crowd.runs("newer", count - count // 2, MIB)
    conditions.eventually(lambda: time.monotonic() > began + apart, 60)
    noticed = crowd.notice(short)
    conditions.eventually(lambda: time.time() > noticed + short + 5, 120)
    within = [run for at, run in crowd.saved() if at <= noticed + short]
    crowd.over()
    best = within[: count // 2]
    share = max(100 * sum(run in older for run in best) / max(len(best), 1), 1.0)
    return figures.Figure(
        work=f"the same {count}, and a deadline of {short:g} s",
        series=(
            figures.Series(
                what="durable in time", unit="containers", values=[len(within)], bound=figures.at_least(min(90, count * 0.45))
            ),
            figures.Series(
                what="of the first half, those with the most to lose", unit="%", values=[share], bound=figures.at_least(90)
            ),
        ),
        note=f"half of them had run longer by {apart:g} s or more",
    )


def _large(crowd: _Crowd, count: int) -> figures.Figure:
    crowd.runs("large", count, MIB * 10)
    began = crowd.notice(600)
    conditions.eventually(lambda: len(crowd.saved()) >= count, 600, interval=0.1, message=lambda: f"{len(crowd.saved())} saved")
    seconds = crowd.saved()[-1][0] - began
    crowd.over()
    return figures.Figure(
        work=f"{count} containers of {MIB * 10} MiB, one notice",
        series=(figures.Series(what="all durable and verified", unit="s", values=[seconds], bound=figures.at_most(6)),),
    )
