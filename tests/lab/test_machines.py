"""Nodes are machines: apart from each other, joined by a network that can be cut, and really gone when they are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import conditions
from tests.lab.lab import CHECKOUT, Lab
from tests.lab.node import CommandFailed, Node


@contextmanager
def started(node: Node, script: str) -> Iterator[subprocess.Popen[str]]:
    """A shell in a node, killed from outside at the end."""
    with node.popen(["sh", "-c", script]) as process:
        try:
            yield process
        finally:
            process.kill()


def reaches(one: Node, address: str) -> bool:
    return one.run(["ping", "-c1", "-W1", address], check=False).returncode == 0


def test_nodes_reach_each_other_and_this_machine(lab: Lab, node: Node) -> None:
    other = lab.node()
    try:
        assert reaches(node, other.address)
        assert reaches(other, node.address)
        assert reaches(node, lab.gateway)
    finally:
        lab.remove(other)


def test_a_partition_parts_and_heals(lab: Lab, node: Node) -> None:
    other, third = lab.node(), lab.node()
    try:
        lab.partition(node)
        assert not reaches(node, other.address)
        assert not reaches(other, node.address)
        assert not reaches(node, lab.gateway)
        assert reaches(other, third.address)
        lab.heal(node)
        conditions.eventually(lambda: reaches(node, other.address))
    finally:
        lab.remove(other)
        lab.remove(third)


def test_a_killed_node_is_gone_with_all_its_processes_and_keeps_its_disk(node: Node) -> None:
    node.write("/var/kept", "yes")
    node.write("/run/lost", "yes")
    node.daemon(["sh", "-c", "trap '' TERM; unshare --pid --fork sleep 4242"], log="/var/log/stubborn")
    in_foreground = node.popen(["sleep", "4242"], stdout=subprocess.DEVNULL)
    inside = {Path(f"/proc/{pid}") for pid in pids(node)}
    assert len(inside) >= 4
    node.kill()
    assert in_foreground.wait(timeout=30) != 0
    assert not any(one.exists() for one in inside)
    node.start()
    assert node.out("cat", "/var/kept") == "yes"
    assert not node.path("/run/lost").exists()


def test_a_frozen_process_does_not_keep_a_node_alive(node: Node) -> None:
    if not node.path("/sys/fs/cgroup/freezer").exists():
        pytest.skip("a cgroup v1 matter")
    node.daemon(
        ["sh", "-c", "mkdir /sys/fs/cgroup/freezer/ice; echo $$ > /sys/fs/cgroup/freezer/ice/tasks; sleep 4242"], log="/log"
    )
    state, tasks = (node.path(f"/sys/fs/cgroup/freezer/ice/{name}") for name in ("freezer.state", "tasks"))
    conditions.eventually(lambda: tasks.exists() and len(tasks.read_text().split()) == 2)
    state.write_text("FROZEN")
    conditions.eventually(lambda: state.read_text().strip() == "FROZEN")
    frozen = pids(node)
    node.kill()
    assert not any(Path(f"/proc/{pid}").exists() for pid in frozen)


def test_a_command_answers_as_it_would_outside(node: Node) -> None:
    assert node.run(["sh", "-c", "cat; echo wrong >&2; exit 7"], check=False, input="given").args
    answer = node.run(["sh", "-c", "cat; echo wrong >&2; exit 7"], check=False, input="given")
    assert (answer.returncode, answer.stdout, answer.stderr) == (7, "given", "wrong\n")
    assert node.run(["sh", "-c", "kill -USR1 $$"], check=False).returncode == -10
    assert node.run(["nothing-of-that-name"], check=False).returncode == 127
    with pytest.raises(CommandFailed, match="ended with 3\nsorry"):
        node.run(["sh", "-c", "echo sorry; exit 3"])


def test_a_signal_reaches_the_command(node: Node) -> None:
    with started(node, "trap 'echo heard; exit 5' TERM; echo ready; while :; do sleep 0.05; done") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "heard\n"
        assert process.wait(timeout=30) == 5


def test_a_command_ends_with_what_started_it(node: Node) -> None:
    with started(node, "echo $$; exec sleep 4243") as process:
        assert process.stdout
        inside = process.stdout.readline().strip()
        assert node.path(f"/proc/{inside}").exists()
    conditions.eventually(lambda: not node.path(f"/proc/{inside}").exists())


def test_our_own_programs_run_in_a_node(node: Node) -> None:
    answer = node.out(sys.executable, "-c", "import grpc, reconciler, sys; print(sys.version_info[:2], reconciler.__file__)")
    assert answer == f"{sys.version_info[:2]} {CHECKOUT / 'reconciler' / '__init__.py'}"
    assert node.run(["touch", str(CHECKOUT / "planted")], check=False).returncode != 0
    assert not (CHECKOUT / "planted").exists()


def test_a_link_is_as_slow_as_it_is_told_to_be(lab: Lab, node: Node) -> None:
    lab.limit_link(node, "100mbit")
    assert "rate 100Mbit" in node.out("tc", "qdisc", "show", "dev", "eth0")
    lab.limit_link(node, "")
    assert "tbf" not in node.out("tc", "qdisc", "show", "dev", "eth0")


def test_the_shared_folder_is_in_every_node(lab: Lab, node: Node) -> None:
    (lab.shared / "word").write_text("hello")
    assert node.out("cat", "/srv/lab/word") == "hello"


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_store_fills_up_and_goes_away(lab: Lab, node: Node, kind: str) -> None:
    store = lab.store(f"depot-{kind}", "8m", "ext4" if kind == "ext4" else "tmpfs")
    assert node.run(["mountpoint", "--quiet", store.path], check=False).returncode == 0
    node.run(["sh", "-c", f"echo kept > {store.path}/file"])
    ballast = store.fill()
    assert "No space left" in node.run(["dd", "if=/dev/zero", f"of={store.path}/more", "bs=64k", "count=1"], check=False).stderr
    ballast.unlink()
    node.run(["dd", "if=/dev/zero", f"of={store.path}/more", "bs=64k", "count=1"])
    store.unmount()
    assert node.run(["mountpoint", "--quiet", store.path], check=False).returncode != 0
    assert os.listdir(node.path(store.path)) == []
    store.mount()
    assert ("file" in os.listdir(node.path(store.path))) == (kind == "ext4")
    store.unmount()


def pids(node: Node) -> set[int]:
    """Every process of a node, as this machine numbers them."""
    namespace = os.readlink(f"/proc/{node.init}/ns/net")
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "ns" / "net") == namespace:
                    found.add(int(entry.name))
            except OSError:  # gone meanwhile
                continue
    return found


def test_a_store_over_the_network_stalls_in_a_partition_and_goes_on(lab: Lab, node: Node) -> None:
    server = lab.node()
    try:
        store = lab.remote_store("far", server, [node])
        node.run(["sh", "-c", f"echo kept > {store.path}/file"])
        assert server.out("cat", f"{store.path}/file") == "kept"
        write = ["dd", "if=/dev/zero", f"of={store.path}/more", "bs=64k", "count=1", "conv=fsync"]
        lab.partition(server)
        stalled = node.popen(write, stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            stalled.wait(timeout=1)
        lab.heal(server)
        assert stalled.wait(timeout=60) == 0
    finally:
        lab.remove(server)
