"""Jobs that are images, on hosts with dockerd: a reconciler, a repository and agents, each on a machine of its own."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import conditions
from tests.lab import fleet
from tests.lab.lab import Lab

COUNT = """
import hashlib, secrets, threading, time
threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
nonce, dirty, n = secrets.token_hex(16), bytearray(secrets.token_bytes(1 << 20)), 0
said = hashlib.sha256(dirty).hexdigest()[:16]
while True:
    n += 1
    assert hashlib.sha256(dirty).hexdigest()[:16] == said
    print(nonce, n, flush=True)
    time.sleep(0.02)
"""
"""Prints a nonce that exists in its memory alone, and a count that goes on only with that memory; one more thread waits."""

PIECES = """
import os, secrets, time
nonce, n = secrets.token_hex(16), 0
os.write(1, f"{nonce} ".encode())
while True:
    n += 1
    os.write(1, f"{n}\\n{nonce} ".encode())
    time.sleep(0.02)
"""
"""Counts as `COUNT` does, but whenever it is held still a line has begun that has not ended."""

LINES = """
import os, secrets, time
nonce, n = secrets.token_hex(16), 0
while True:
    n += 1
    os.write(1, f"{nonce} {n}\\n".encode())
    time.sleep(0.02)
"""
"""Counts as `COUNT` does, each line in one piece: the beginning of a line is in dockerd's memory, and gone when that ends."""

UNTIL = """
import os, sys, time
while not os.path.exists("/flag/go"):
    time.sleep(0.05)
print("leaving", flush=True)
sys.exit(7)
"""


STEPS = """
import json, os, time
path, n = os.environ["PERDURE_PROGRESS_FILE"], 0
held = open(path, "a")
while True:
    n += 1
    if n % 2:
        print(json.dumps({"step": n, "of": 1000000}), file=held, flush=True)
    else:
        with open(path, "a") as again:
            print(json.dumps({"step": n, "of": 1000000}), file=again)
    print(len(open(path).readlines()) == n, n, flush=True)
    time.sleep(0.02)
"""
"""Counts its steps, by a file that it holds open and by one that it opens, and prints whether all of them stand there."""


@pytest.fixture
def site(lab: Lab) -> Iterator[fleet.Fleet]:
    made = fleet.Fleet(lab)
    yield made
    made.close()


def lines(site: fleet.Fleet, job: str, *arguments: str) -> list[tuple[str, int]]:
    """Nonce and count of each line that a job has printed."""
    return [
        (found[1], int(found[2])) for found in re.finditer(r"([0-9a-f]{32}) (\d+)$", site.log(job, *arguments), re.MULTILINE)
    ]


def started(number: int) -> Callable[[dict[str, Any]], Any]:
    """Whether attempt `number` has started."""
    return lambda run: len(run["attempts"]) >= number and run["attempts"][number - 1]["startedAt"]


def counted_on(site: fleet.Fleet, job: str, before: int, attempt: int) -> list[tuple[str, int]]:
    """Waits until an attempt has counted beyond `before`, and returns its lines."""

    def now() -> list[tuple[str, int]]:
        found = lines(site, job, "--attempt", str(attempt))
        return found if found and found[-1][1] > before else []

    found = conditions.eventually(now, 90, interval=0.5, message=lambda: site.told(job))
    assert found
    return found


def seamless(said: str) -> bool:
    """Whether all that was printed is one count from 1 on with one nonce, each line whole; the last one may lack its end."""
    found = said[: said.rfind("\n") + 1].splitlines()
    nonce = found[0].partition(" ")[0] if found else ""
    return bool(found) and found == [f"{nonce} {n}" for n in range(1, len(found) + 1)]


def joins(site: fleet.Fleet, job: str, attempt: int) -> None:
    """Waits until the output of an attempt goes on where those before it ended: nothing twice, nothing left out, to the byte.

    A line is not what is compared. `print` writes one in four pieces, and a program that is held still between two of them
    leaves its beginning in the one log and its end in the next.
    """

    def logs() -> list[str]:
        return [site.log(job, "--attempt", str(number)) for number in range(1, attempt + 2)]

    def whole() -> bool:
        said = logs()
        return "\n" in said[-1] and seamless("".join(said))

    def told() -> str:
        ends = " … ".join(f"{each[:90]!r} … {each[-90:]!r}" for each in logs())
        return f"{site.told(job)}\n{ends}"

    conditions.eventually(whole, 120, interval=0.5, message=told)


def test_its_memory_survives_the_loss_of_its_machine(site: fleet.Fleet) -> None:
    first = site.host("alpha")
    site.commit({"train.yaml": fleet.job("train", COUNT, checkpoint="{interval: 2s}", extra="onLost: replace")})
    site.until("train", started(1))
    second = site.host("beta")
    run = site.until("train", lambda run: len(run["checkpoints"]) >= 2)
    nonce = lines(site, "train")[0][0]
    first.node.kill()
    run = site.until("train", started(2))
    assert run["attempts"][0]["ending"] == "lost"
    assert run["attempts"][1]["host"] == "beta"
    assert run["attempts"][1]["restoredFrom"] in {each["digest"] for each in run["checkpoints"]}
    counted = counted_on(site, "train", 0, 2)
    assert {name for name, _ in counted} == {nonce}
    assert counted[0][1] > 1
    assert [n for _, n in counted] == list(range(counted[0][1], counted[-1][1] + 1))
    site.until("train", lambda run: any(each["attempt"] == 2 for each in run["checkpoints"]))  # again, of a restored one
    assert len(second.containers()) == 1


def test_it_is_suspended_and_goes_on(site: fleet.Fleet) -> None:
    host = site.host("alpha")
    manifest = fleet.job("train", COUNT)
    site.commit({"train.yaml": manifest})
    site.until("train", started(1))
    counted_on(site, "train", 20, 1)
    site.commit({"train.yaml": manifest + "  state: Suspended\n"})
    run = site.until("train", lambda run: run["phase"] == "suspended")
    assert run["attempts"][0]["ending"] == "checkpointed"
    conditions.eventually(lambda: host.containers() == [], 30)
    site.commit({"train.yaml": manifest})
    site.until("train", started(2))
    joins(site, "train", 1)


def test_docker_stop_takes_a_checkpoint_first(site: fleet.Fleet) -> None:
    host = site.host("alpha")
    site.commit({"train.yaml": fleet.job("train", COUNT)})
    site.until("train", started(1))
    counted_on(site, "train", 20, 1)
    host.docker.cli("stop", host.containers()[0]["Id"])
    run = site.until("train", started(2))
    assert run["attempts"][0]["ending"] == "checkpointed"
    joins(site, "train", 1)


def test_its_exit_status_is_recorded_though_the_agent_was_down(site: fleet.Fleet) -> None:
    host = site.host("alpha")
    (site.outside / "flag").mkdir()
    text = fleet.job("brief", UNTIL, checkpoint="{engine: none}").replace(
        "workload: {", f"workload: {{volumes: [{{source: {site.inside}/flag, target: /flag, readOnly: true}}], "
    )
    site.commit({"brief.yaml": text})
    site.until("brief", started(1))
    host.stop(signal.SIGKILL)
    (site.outside / "flag/go").touch()
    conditions.eventually(lambda: not host.containers()[0]["State"]["Running"], 30)
    host.start()
    run = site.until("brief", lambda run: run["phase"] == "failed")
    assert run["attempts"][0]["exitCode"] == 7
    assert site.log("brief").rstrip().endswith("leaving")
    conditions.eventually(lambda: host.containers() == [], 30)


def test_what_ends_while_its_engine_is_away_has_not_failed(site: fleet.Fleet) -> None:
    """dockerd says 255 of it, whatever its status was."""
    host = site.host("alpha")
    (site.outside / "flag").mkdir()
    volume = f"volumes: [{{source: {site.inside}/flag, target: /flag, readOnly: true}}]"
    text = fleet.job("unseen", UNTIL, checkpoint="{engine: none}").replace("workload: {", f"workload: {{{volume}, ")
    site.commit({"unseen.yaml": text})
    site.until("unseen", started(1))
    own = host.docker.inspect(host.containers()[0]["Id"])["State"]["Pid"]
    host.docker.stop(signal.SIGKILL)
    (site.outside / "flag/go").touch()
    conditions.eventually(lambda: not host.node.path(f"/proc/{own}").exists(), 30)
    host.docker.start()
    run = site.until("unseen", lambda run: run["phase"] == "failed")
    assert [(each["failure"], each["exitCode"]) for each in run["attempts"]] == [("OutcomeUnknown", None), ("ExitStatus", 7)]


def test_one_checkpoint_begins_three_more(site: fleet.Fleet) -> None:
    host = site.host("alpha")
    site.commit({"train.yaml": fleet.job("train", COUNT, checkpoint="{interval: 2s}")})
    run = site.until("train", lambda run: run["checkpoints"])
    taken = run["checkpoints"][-1]["digest"]
    nonce = lines(site, "train")[0][0]
    copies = fleet.job("copy", COUNT, extra=f"replicas: 3\nrestore: {{from: {taken}}}")
    site.commit({"copy.yaml": copies})
    names = [f"copy[{number}]" for number in range(3)]
    first = []
    for name in names:
        site.until(name, started(1))
        counted = counted_on(site, name, 0, 1)
        assert {each for each, _ in counted} == {nonce}
        first.append(counted[0][1])
    assert len(set(first)) == 1
    addresses = {each["NetworkSettings"]["IPAddress"] for each in host.containers()}
    assert len(addresses) == 4


def test_its_steps_are_counted_through_every_checkpoint(site: fleet.Fleet) -> None:
    hosts = [site.host("alpha"), site.host("beta")]

    def on(host: str) -> str:
        return fleet.job("train", STEPS, extra=f"placement: {{node: {host}}}")

    site.commit({"train.yaml": on("alpha")})
    last = 0
    for number in (1, 2, 3):
        site.until("train", started(number))
        conditions.eventually(
            lambda last=last: _step(site, "train") > last + 20,  # type: ignore[misc]
            60,
            interval=0.5,
            message=lambda: site.told("train"),
        )
        if number == 1:  # as an engine that is asked to stop it
            hosts[0].docker.cli("stop", hosts[0].containers()[0]["Id"])
        else:
            site.commit({"train.yaml": on("beta" if number == 2 else "alpha")})
        run = site.until("train", started(number + 1))
        taken, attempt = run["checkpoints"][-1], run["attempts"][number - 1]
        assert taken["attempt"] == number
        assert (attempt["lastStep"], attempt["firstStep"]) == (taken["step"], last + 1), run
        last = taken["step"]
    said = site.perdure("history", "train")
    assert f"step {last} of 1000000" in said
    notes = " ".join(site.perdure("events").split())
    assert f"at step {last}: {last} steps saved, 0 steps lost" in notes, notes
    assert "False" not in site.log("train"), "what it had counted is there wherever it goes on"


def _step(site: fleet.Fleet, job: str) -> int:
    """The newest step that a job has printed."""
    return max((int(n) for n in re.findall(r"(?:True|False) (\d+)$", site.log(job), re.MULTILINE)), default=0)
