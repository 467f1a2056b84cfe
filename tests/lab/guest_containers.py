"""Runs in the guest: containers of dockerd on cgroup v2, with AppArmor, and of other users than root, moved by our engine.

Each is checkpointed by the engine as an agent does it, and goes on through the interposer in an ordinary `docker run`; the
agent's end of the interposer's socket is played by the test. One dockerd and one process for the engine serve all of it.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import verdicts
from tests import conditions
from tests.agent.runtime.place import Answers
from tests.lab import installed, recipe
from tests.lab.criu_rig import PROGRAMS, STORE
from tests.lab.lab import CHECKOUT, Lab

COUNT = """
nonce=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n') n=0
while :; do echo $nonce $n; n=$((n+1)); sleep 0.1; done
"""
LIMITS = ("--memory", "64m", "--cpus", "0.5")
OTHER = "profile lab-other flags=(attach_disconnected,mediate_deleted) { file, network, capability, signal, ptrace, umount, }"
PUBLISHED = ("--publish", "5432:5432", recipe.SERVICES_IMAGE, "sh", "-c", (PROGRAMS / "postgres.sh.txt").read_text())


class Host:
    """A node whose dockerd was given the interposer by `perdure-agent install`, and the engine beside it."""

    def __init__(self, lab: Lab) -> None:
        self.node = lab.node("inner")
        self.node.run(["mount", "-t", "securityfs", "securityfs", "/sys/kernel/security"])
        self.docker = self.node.docker(images=[image.tag for image in recipe.IMAGES])
        self.done = installed.agent(self.node, "install")
        (lab.shared / "store").mkdir()
        self.answers = Answers()
        self.run_id = ""
        """Each test's own: an attempt of one number publishes nothing once a higher one was claimed."""
        self._inside = self.node.popen(
            [sys.executable, "-m", "tests.lab.criu_inside"],
            cwd=str(CHECKOUT),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def ask(self, verb: str, **about: Any) -> dict[str, Any]:
        """What the engine answers."""
        assert self._inside.stdin
        assert self._inside.stdout
        self._inside.stdin.write(json.dumps([verb, {"name": "unused", "store": STORE, "run": self.run_id, **about}]) + "\n")
        self._inside.stdin.flush()
        line = self._inside.stdout.readline()
        assert line, self._inside.communicate()[1]
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, name: str, attempt: int, *words: str) -> str:
        """`docker run` of a container that the agent knows; its id."""
        return self.docker.cli("run", "--detach", "--name", name, "--env", f"PERDURE_ATTEMPT={self.run_id}-{attempt}", *words)

    def saved(self, identity: str, attempt: int) -> str:
        """Takes a checkpoint that ends a container, and answers the folder that the agent has restored from now on."""
        taken = self.ask("take", docker=identity, attempt=attempt, stop=True)
        assert "digest" in taken, taken
        conditions.eventually(lambda: not self.docker.inspect(identity)["State"]["Running"])
        folder = f"/run/perdure/image-{identity[:12]}"
        self.ask("lay_out", digest=taken["digest"], directory=folder)
        self.answers.verdict = verdicts.Restore(directory=Path(folder))
        return folder

    def printed(self, identity: str) -> list[str]:
        """The lines of a container, without asking dockerd."""
        folder = self.node.path(f"/var/lib/docker/containers/{identity}/{identity}-json.log")
        return [json.loads(line)["log"].rstrip("\n") for line in folder.read_text().splitlines()]

    def told(self, identity: str, file: str) -> str:
        """A file of a container's first process in /proc."""
        return self.node.path(f"/proc/{self.docker.inspect(identity)['State']['Pid']}/{file}").read_text().strip()

    def limits(self, identity: str) -> dict[str, str]:
        """What a container's own group says, and who is in it."""
        names = ("memory.max", "cpu.max", "cgroup.procs")
        return {name: self.node.out("cat", f"/sys/fs/cgroup/docker/{identity}/{name}") for name in names}

    def counts_on(self, identity: str) -> list[str]:
        """Waits until it counts, and returns what it has printed."""
        before = len(self.printed(identity))
        conditions.eventually(lambda: len(self.printed(identity)) > before + 3)
        return self.printed(identity)


@pytest.fixture(scope="module")
def shared_host(lab: Lab) -> Iterator[Host]:
    made = Host(lab)
    yield made
    lab.remove(made.node)


@pytest.fixture
def host(shared_host: Host) -> Iterator[Host]:
    shared_host.run_id = secrets.token_hex(16)
    with verdicts.serve(shared_host.node.path("/run/perdure/runtime.sock"), shared_host.answers):
        yield shared_host
    shared_host.answers.verdict = verdicts.Create()
    shared_host.docker.clean()


def confined(host: Host, identity: str) -> None:
    """It runs under Docker's own profile and within its limits."""
    assert host.told(identity, "attr/current") == "docker-default (enforce)"
    found = host.limits(identity)
    assert (found["memory.max"], found["cpu.max"]) == (str(64 << 20), "50000 100000")
    assert host.told(identity, "cgroup").endswith(f"/docker/{identity}")
    assert str(host.docker.inspect(identity)["State"]["Pid"]) in found["cgroup.procs"].split()


def test_dockerd_takes_the_interposer_on_cgroup_v2(host: Host) -> None:
    told = host.docker.cli("info", "--format", "{{.CgroupVersion}} {{.CgroupDriver}} {{.DefaultRuntime}} {{.SecurityOptions}}")
    assert told.startswith("2 cgroupfs perdure ")
    assert "name=apparmor" in told


def test_a_container_of_another_user_goes_on_under_its_limits_and_its_profile(host: Host) -> None:
    flags = (*LIMITS, "--user", "1000:1000", recipe.TINY_IMAGE, "sh", "-c", COUNT)
    first = host.run("first", 1, *flags)
    host.counts_on(first)
    confined(host, first)
    assert "digest" in host.ask("take", docker=first, attempt=1), "one that goes on"
    host.counts_on(first)
    host.saved(first, 1)
    second = host.run("second", 2, *flags)
    host.counts_on(second)
    confined(host, second)
    assert {line.split()[1] for line in host.told(second, "status").splitlines() if line.startswith("Uid:")} == {"1000"}
    host.docker.cli("rm", "--force", "first")
    host.counts_on(second)
    host.saved(second, 2)
    third = host.run("third", 3, *flags)
    host.counts_on(third)
    confined(host, third)
    lines = [line for one in (second, third) for line in host.printed(one)]
    nonce = lines[0].split()[0]
    start = int(lines[0].split()[1])
    assert lines == [f"{nonce} {start + number}" for number in range(len(lines))]
    assert host.docker.cli("exec", third, "cat", "/proc/1/cgroup") == "0::/"


def test_a_container_under_another_profile_is_refused(host: Host) -> None:
    host.node.run(["apparmor_parser", "--replace", "--skip-cache"], input=OTHER)
    program = (recipe.TINY_IMAGE, "sh", "-c", COUNT)
    first = host.run("first", 1, *program)
    host.counts_on(first)
    host.saved(first, 1)
    for profile in ("unconfined", "lab-other"):
        marker = ("--env", f"PERDURE_ATTEMPT={host.run_id}-2", "--security-opt", f"apparmor={profile}")
        refused = host.node.run(["docker", "run", "--rm", *marker, *program], check=False)
        assert refused.returncode == 125
        assert "has another AppArmor profile" in refused.stderr
        assert "Give the job its old fields" in refused.stderr


def test_postgresql_goes_on_and_its_client_connects_again(host: Host) -> None:
    def ask(identity: str, query: str) -> str:
        return host.docker.cli("exec", identity, "psql", "-h", "127.0.0.1", "-U", "postgres", "-AtqX", "-c", query)

    def acknowledged() -> list[int]:
        return [int(line) for line in host.printed(client) if line.isdigit()]

    first = host.run("first", 1, *PUBLISHED)
    program = (PROGRAMS / "client.sh.txt").read_text()
    client = host.docker.cli("run", "--detach", "--network", "host", recipe.SERVICES_IMAGE, "sh", "-c", program)
    conditions.eventually(lambda: len(acknowledged()) > 10, message=lambda: f"{host.printed(client)}{host.printed(first)}")
    begun = ask(first, "select pg_postmaster_start_time()")
    host.saved(first, 1)
    before = len(acknowledged())
    second = host.run("second", 2, *PUBLISHED)
    conditions.eventually(lambda: len(acknowledged()) > before + 10, message=lambda: f"{host.printed(client)}")
    assert host.printed(client).count("connects") > 1
    host.docker.cli("stop", "--time", "0", client)
    told = acknowledged()
    assert told == sorted(set(told))
    count, last, whole = ask(second, "select count(*), max(n), bool_and(half = md5(n::text)) from t").split("|")
    assert (count, whole) == (last, "t"), "no row is missing or half"
    assert told[-1] <= int(last), "what was acknowledged is there"
    assert ask(second, "select pg_postmaster_start_time()") == begun, "it is the same process, which has recovered nothing"
