"""What of a program survives: one of each thing that a process may hold, over three moves and one checkpoint it outlives."""

from __future__ import annotations

import pytest

from tests import conditions
from tests.lab.criu_rig import Rig
from tests.lab.lab import Lab


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


def test_redis(lab: Lab) -> None:
    """PostgreSQL wants another user than root, and so CAP_SYS_RESOURCE, which this machine may lack: guest_containers.py."""
    rig = Rig(lab, layers=("services", "base"))
    one = rig.start("redis.sh")
    one.goes_on()
    assert "digest" in one.take()
    assert one.goes_on()["wrong"] == 0
    for _ in range(2):
        before = one.said()["n"]
        one = one.moved()
        said = one.goes_on()
        assert said["n"] > before
        assert said["wrong"] == 0
    rig.clean()


THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static volatile long turns, n[4];
static __thread long own;
static void *live(void *number) {
    long me = (long)number;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (turns % 4 != me) pthread_cond_wait(&changed, &lock);
        turns++; n[me]++; own++;
        int wrong = own != n[me] || n[0] - n[3] < 0 || n[0] - n[3] > 1;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        if (me == 0) {
            FILE *out = fopen("/.said", "w");
            fprintf(out, "{\\"n\\": %ld, \\"wrong\\": %d}", n[0], wrong);
            fclose(out);
            rename("/.said", "/said");
            usleep(1000);
        }
    }
}
int main(void) {
    pthread_t one;
    for (long number = 1; number < 4; number++) pthread_create(&one, 0, live, (void *)number);
    live(0);
}
"""


def test_threads_in_c(rig: Rig) -> None:
    rig.node.run(["gcc", "-static", "-O2", "-pthread", "-x", "c", "-", "-o", "/srv/lab/threads"], input=THREADS)
    program = {"destination": "/threads", "type": "bind", "source": "/srv/lab/threads", "options": ["bind", "ro"]}
    one = rig.run(["/threads"], mounts=[program])
    for _ in range(3):
        one.goes_on()
        one = one.moved()
        assert one.goes_on()["wrong"] == 0
