"""What of a program survives: one of each thing that a process may hold, over three moves and one checkpoint it outlives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import conditions
from tests.lab.criu_rig import Rig
from tests.lab.lab import Lab


@pytest.fixture(scope="module")
def shared_rig(lab: Lab) -> Rig:
    return Rig(lab)


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    yield shared_rig
    shared_rig.clean()


def test_everything_that_a_process_may_hold(rig: Rig) -> None:
    one = rig.start("parts.py")
    token = one.goes_on()["token"]
    assert one.said()["bad"] == []
    assert "digest" in one.take()
    assert one.goes_on()["bad"] == []
    for _ in range(3):
        one = one.moved()
        one.goes_on()
        assert one.goes_on() | {"n": 0} == {"n": 0, "bad": [], "token": token, "wrong": 0}


@pytest.mark.parametrize("program", ["pipeline.sh", "training.py"])
def test_programs_of_other_kinds(rig: Rig, program: str) -> None:
    one = rig.start(program)
    one.goes_on()
    for _ in range(2):
        before = one.said()["n"]
        one = one.moved()
        said = one.goes_on()
        assert said["n"] > before
        assert said["wrong"] == 0


ECHO = """
import socket, sys, threading
def serve(one):
    while data := one.recv(64):
        one.sendall(data)
server = socket.create_server(("10.77.0.1", 9999))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],)).start()
"""


def test_connections_to_elsewhere(rig: Rig) -> None:
    rig.node.run(["ip", "link", "add", "outer", "type", "veth", "peer", "name", "inner"])
    rig.node.run(["ip", "address", "add", "10.77.0.1/24", "dev", "outer"])
    rig.node.run(["ip", "link", "set", "outer", "up"])
    echo = rig.node.daemon(["python3", "-c", ECHO], log="/var/log/echo")
    one = rig.start("network.py")
    network = f"--net=/srv/lab/criu/{one.name}/home/net"
    rig.node.run(["ip", "link", "set", "inner", "netns", network.removeprefix("--net=")])
    rig.node.run(["nsenter", network, "ip", "address", "add", "10.77.0.2/24", "dev", "inner"])
    rig.node.run(["nsenter", network, "ip", "link", "set", "inner", "up"])
    conditions.eventually(lambda: one.said()["talk"] > 3)
    assert "digest" in one.take()
    before = one.said()
    conditions.eventually(lambda: one.said()["talk"] > before["talk"], message="the peer hears nothing")
    there = one.moved()
    said = conditions.eventually(lambda: there.said()["error"] and there.goes_on())
    assert said["error"]
    assert said["seconds"] < 1
    assert said["wrong"] == 0
    assert said["listened"] > before["listened"]
    echo.stop(9)
