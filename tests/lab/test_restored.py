"""What a program notices that was restored: what docs/explanation/what-a-restored-program-notices.md says, seen from inside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests import conditions
from tests.lab import fleet
from tests.lab.lab import Lab

NOTICES = """
import fcntl, json, os, random, socket, struct, time

def address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return socket.inet_ntoa(fcntl.ioctl(one, 0x8915, struct.pack("256s", b"eth0"))[20:24])

held = open(os.environ["PERDURE_GENERATION_FILE"])
n = 0
while True:
    n += 1
    held.seek(0)
    with open(os.environ["PERDURE_GENERATION_FILE"]) as again:
        seen = again.read().split()
    print(json.dumps({
        "n": n, "pid": os.getpid(), "hostname": socket.gethostname(), "address": address(), "random": random.random(),
        "attempt": os.environ["PERDURE_ATTEMPT"], "generation": seen, "held": held.read().split(),
        "wall": time.time(), "monotonic": time.monotonic(), "hosts": open("/etc/hosts").read(),
    }), flush=True)
    time.sleep(0.05)
"""


@pytest.fixture
def site(lab: Lab) -> Iterator[fleet.Fleet]:
    made = fleet.Fleet(lab)
    yield made
    made.close()


def lines(site: fleet.Fleet, attempt: int) -> list[dict[str, Any]]:
    """What an attempt has printed."""
    found = (line.partition("{") for line in site.log("train", "--attempt", str(attempt)).splitlines())
    return [json.loads("{" + rest) for _, brace, rest in found if brace and rest.endswith("}")]


def test_what_a_restored_program_notices(site: fleet.Fleet) -> None:
    site.host("alpha")
    site.host("beta")
    there = fleet.job("train", NOTICES, extra="placement: {node: alpha}")
    site.commit({"train.yaml": there})
    site.until("train", lambda run: run["attempts"] and run["attempts"][0]["startedAt"])
    conditions.eventually(lambda: len(lines(site, 1)) > 5, 60)
    site.commit({"train.yaml": there.replace("node: alpha", "node: beta")})
    site.until("train", lambda run: len(run["attempts"]) > 1 and run["attempts"][1]["startedAt"])
    conditions.eventually(lambda: len(lines(site, 2)) > 5, 90)
    before, after = lines(site, 1)[-1], lines(site, 2)[0]
    assert after["n"] == before["n"] + 1
    assert after["pid"] == before["pid"]
    assert after["random"] != before["random"]
    assert after["attempt"] == before["attempt"], "its environment is memory: it keeps the first attempt's"
    assert [int(one["generation"][0]) for one in (before, after)] == [1, 2]
    assert after["generation"][1] != before["generation"][1]
    assert after["held"] == after["generation"], "also through a file that it holds open"
    later = lines(site, 2)[-1]  # its name is given back to it in the moment after
    assert later["hostname"] != before["hostname"]
    assert f"{later['address']}\t{later['hostname']}" in later["hosts"]
    assert after["wall"] > before["wall"]
    assert after["monotonic"] > before["monotonic"]
