"""Agents as processes of their own, over mutual TLS on loopback: a host is lost, and the work goes on elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.cli.site import Site
from tests.conditions import eventually

CONFIGURATION = """
loop: {poll: 500ms, backoff: 500ms, lostAfter: 3s, lostTries: 2}
agents: {embedded: false, listen: "127.0.0.1:PORT"}
"""


class Hosts:
    """Hosts of a site, each with a data directory of its own."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def data(self, name: str) -> Path:
        return self._site.root / name

    def join(self, name: str) -> None:
        token = json.loads(self._site.run("token", "create", name, "-o", "json").stdout)["token"]
        agent = [sys.executable, "-c", "from agent import cli; cli.main()"]
        folder = ["--data", str(self.data(name))]
        subprocess.run([*agent, "join", "-", "--name", name, *folder], input=token, text=True, check=True, timeout=60)
        with (self._site.root / f"{name}.out").open("wb") as out:
            self.running[name] = subprocess.Popen([*agent, "run", *folder], stdout=out, stderr=out)

    def lose(self, name: str) -> None:
        """What a power cut takes: the agent, its supervisors, their programs, and the disk."""
        self.running[name].kill()
        self.running[name].wait(30)
        for pid in self._supervisors(name):
            below = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            for each in (pid, *below):
                os.kill(each, signal.SIGKILL)
        shutil.rmtree(self.data(name))

    def close(self) -> None:
        for name, process in self.running.items():
            process.terminate()
            process.wait(30)
            eventually(lambda name=name: not self._supervisors(name), timeout=60)  # type: ignore[misc]

    def _supervisors(self, name: str) -> list[int]:
        found = processes.with_environment("HOME", os.environ["HOME"])
        return [one.pid for one in found if f"{self.data(name)}/attempts/" in one.command]


def free_port() -> int:
    """Return a port that is free now, and so is the one after it."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture
def hosts(site: Site) -> Iterator[Hosts]:
    site.config.write_text(CONFIGURATION.replace("PORT", str(free_port())))
    one = Hosts(site)
    try:
        yield one
    finally:
        site.gate.touch()
        one.close()


def test_a_lost_host_costs_what_was_not_saved(site: Site, hosts: Hosts) -> None:
    site.job(more="onLost: replace")
    manifest = site.work / "jobs" / "count.yaml"
    manifest.write_text(manifest.read_text().replace("{store: checkpoints}", "{store: checkpoints, interval: 500ms}"))
    commit = site.push()
    site.start("reconcile")
    eventually(lambda: "agents may dial" in site.loop(), timeout=60, message=site.loop)
    for name in ("a", "b"):
        hosts.join(name)
    site.says("Attempt 1 of count started", commit)
    eventually(lambda: site.json("checkpoints", "count")["runs"][0]["checkpoints"], timeout=60)
    host = site.json("status", "count")["jobs"][0]["host"]
    assert site.json("doctor", "--target", "machines")["ok"]

    hosts.lose(host)
    site.says("Attempt 2 of count started", commit)
    site.gate.touch()
    site.says("count finished in attempt 2", commit)

    [run] = site.json("history", "count")["runs"]
    first, second = run["attempts"]
    assert (first["host"], first["ending"], second["ending"]) == (host, "lost", "finished")
    assert second["host"] != host
    assert second["restoredFrom"] == run["checkpoints"][0]["digest"]
    assert second["firstStep"] == run["checkpoints"][0]["step"] + 1
    assert site.run("logs", "count").stdout.splitlines()[-2:] == [f"from {run['checkpoints'][0]['step']}", "done"]
