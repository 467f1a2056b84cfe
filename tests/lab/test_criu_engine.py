"""The CRIU engine on real containers: what survives, and that nothing which fails harms a program."""

from __future__ import annotations

import json
import signal

import pytest

from tests import conditions
from tests.lab import criu_inside
from tests.lab.criu_rig import Container, Rig


def unharmed(container: Container) -> None:
    """Runs on: its state, every task's, the freezer, the network's rules; and nothing lies about."""
    said = container.goes_on()
    assert said["wrong"] == 0
    assert container.alive()
    node = container.rig.node
    freezer = f"/sys/fs/cgroup/freezer/criu/{container.name}"
    assert node.out("cat", f"{freezer}/freezer.state") == "THAWED"

    def states() -> set[str]:
        tasks = node.out("sh", "-c", f"for t in $(cat {freezer}/tasks); do cat /proc/$t/stat; done")
        return {line.rpartition(")")[2].split()[0] for line in tasks.splitlines()}

    seen = states()
    assert seen
    assert not seen & {"T", "t", "Z"}
    conditions.eventually(
        lambda: "D" not in states(), message="a task that is frozen stays so, one that waits for a disk does not"
    )
    net = f"/srv/lab/criu/{container.name}/home/net"
    for table in ("iptables", "ip6tables"):
        assert "CRIU" not in node.run(["nsenter", f"--net={net}", table, "-S"], check=False).stdout
    assert "CRIU" not in node.run(["nsenter", f"--net={net}", "nft", "list", "tables"], check=False).stdout


@pytest.mark.parametrize("moves", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_the_same_process_after_every_move(rig: Rig, moves: int) -> None:
    one = rig.start("same.py", "64")
    first = one.said()
    for _ in range(moves):
        one = one.moved()
        said = one.goes_on()
        assert said["id"] == first["id"]
        assert said["sum"] == said["then"] == first["then"]
        assert said["wrong"] == 0


def test_a_program_that_goes_on_is_the_same_here_and_there(rig: Rig) -> None:
    one = rig.start("same.py", "16")
    first = one.said()
    taken = one.take()
    assert taken["frozen"] < taken["seconds"]
    there = one.continued(taken["digest"])
    for each in (one, there):
        said = each.goes_on()
        assert said["id"] == first["id"]
        assert said["wrong"] == 0
    unharmed(one)


@pytest.mark.parametrize("stop", [True, False], ids=["ending", "going on"])
def test_an_agent_of_many_containers_can_save_them(rig: Rig, stop: bool) -> None:
    one = rig.start("same.py", "16")
    one.said()
    assert "digest" in one.take(stop=stop, open=1100)


@pytest.mark.parametrize("stop", [True, False], ids=["ending", "going on"])
@pytest.mark.parametrize("stage", ["pages", "commit"])
def test_a_store_that_fails_harms_nobody(rig: Rig, stage: str, stop: bool) -> None:
    one = rig.start("same.py", "16")
    one.said()
    failed = one.take(stop=stop, fault=f"raise at {stage}")
    assert "No space left" in failed["failed"]
    unharmed(one)
    assert "digest" in one.take()


@pytest.mark.parametrize("stop", [True, False], ids=["ending", "going on"])
@pytest.mark.parametrize("stage", ["pages", "commit", "committed"])
def test_an_agent_that_is_killed_harms_nobody(rig: Rig, stage: str, stop: bool) -> None:
    one = rig.start("same.py", "16")
    one.said()
    hang(one, stage, stop=stop)
    unharmed(one)
    rig.ask("sweep")
    unharmed(one)
    assert rig.ask("sweep") == {"swept": [], "left": []}
    assert "digest" in one.take()


def test_standing_still_for_too_long_is_given_up(rig: Rig) -> None:
    one = rig.start("same.py", "16")
    one.said()
    failed = one.take(stop=True, max_frozen=0.5, fault="slow at commit")
    assert "checkpoint.maxFrozen" in failed["failed"]
    unharmed(one)


def test_ending_the_agents_cgroup_ends_no_criu(rig: Rig) -> None:
    one = rig.start("same.py", "16")
    one.said()
    group = "/sys/fs/cgroup/pids/agent"
    with rig.asking("take", cgroup=group, **one.about(stop=True, fault="hang at commit")) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline().strip() == '{"at": "commit"}'
        (trace,) = rig.node.path(str(criu_inside.STATE)).glob("*/trace.json")
        inside = rig.node.out("cat", f"{group}/cgroup.procs").split()
        assert inside
        assert str(json.loads(trace.read_text())["criu"]) not in inside
        rig.node.run(["kill", "-9", *inside])
    unharmed(one)
    rig.ask("sweep")


@pytest.mark.parametrize("stage", ["pages", "commit"])
def test_an_agent_that_is_stopped_keeps_nobody_still(rig: Rig, stage: str) -> None:
    one = rig.start("same.py", "64")
    one.said()
    with rig.asking("take", **one.about(stop=True, fault=f"hang at {stage}", max_frozen=5.0)) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline().strip() == f'{{"at": "{stage}"}}'
        asker.send_signal(signal.SIGSTOP)
        unharmed(one)
        asker.kill()
    rig.ask("sweep")


@pytest.mark.parametrize("stage", ["pages", "commit"])
def test_agent_and_criu_killed_is_swept(rig: Rig, stage: str) -> None:
    one = rig.start("same.py", "16")
    one.said()
    hang(one, stage, stop=True, criu_too=True)
    assert rig.ask("sweep") == {"swept": [one.name], "left": []}
    unharmed(one)
    assert "digest" in one.take()


def hang(one: Container, stage: str, *, stop: bool, criu_too: bool = False) -> None:
    """Have a checkpoint stop at a stage, and kill who takes it."""
    rig = one.rig
    with rig.asking("take", **one.about(stop=stop, fault=f"hang at {stage}")) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline().strip() == f'{{"at": "{stage}"}}'
        (trace,) = rig.node.path(str(criu_inside.STATE)).glob("*/trace.json")
        if criu_too:
            rig.node.run(["kill", "-9", str(json.loads(trace.read_text())["criu"])])
        asker.kill()
