"""Jobs on a Swarm of three managers with agents: what takes machines, leaders and services away takes no work."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.core import container
from tests import conditions
from tests.lab import fleet, installed, keeping, recipe
from tests.lab import swarm as swarms
from tests.lab.docker import Docker
from tests.lab.lab import Lab
from tests.lab.node import CommandFailed, Node
from tests.lab.test_docker_jobs import PIECES, joins
from tests.lab.test_processors import LACKING, LESSER

Run = dict[str, Any]

NAMES = ("alpha", "beta", "gamma")

COUNT = """
import os, secrets, signal, time
nonce, n = secrets.token_hex(16), 0
with open("/srv/starts/log", "a") as file:
    file.write(os.environ["PERDURE_ATTEMPT"] + " " + secrets.token_hex(16) + "\\n")
while True:
    n += 1
    print(nonce, n, flush=True)
    time.sleep(0.02)
"""
"""Notes that it starts where all can read it, then prints a nonce and a count that exist in its memory alone."""

READS = COUNT.replace("    n += 1", "    look()\n    n += 1").replace(
    "while True:",
    """held = open("/etc/settings")
def look():
    held.seek(0)
    assert held.read() == open("/etc/settings").read() == "rate=1"
    assert open(os.environ["TOKEN_FILE"]).read() == "s3cret"
while True:""",
)
"""Goes on for as long as its secret and its config say what they said, to whom opens them and to whom has them open."""

MINUTE = 62.0
"""Seconds."""

TARGET = """\
apiVersion: perdure.dev/v1alpha1
kind: Target
metadata: {name: cluster}
spec: {swarm: {host: "%s", others: ["%s", "%s"]}}
"""


class Cluster:
    """Three machines with dockerd, interposer and agent that are a Swarm, and a reconciler on a fourth."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.fleet = fleet.Fleet(lab)
        sockets = {name: f"unix://{self.fleet.inside}/{name}.sock" for name in NAMES}
        (self.fleet.outside / "starts").mkdir()

        conditions.eventually(self._listens, 60)
        self.hosts = {
            name: self.fleet.host(name, {"hosts": ["unix:///run/docker.sock", address]}) for name, address in sockets.items()
        }
        self.swarm = swarms.form([host.docker for host in self.hosts.values()])
        self._key = secrets.token_hex(32)
        self._has_key(self.fleet.control, "reconciler")
        for host in self.hosts.values():
            self._has_key(host.node, "agent")
        platform = fleet.PLATFORM % f"{self.fleet.inside}/store}}, encryption: {{key: main"
        self.fleet.commit({"platform.yaml": platform, "cluster.yaml": TARGET % tuple(sockets.values())})

    def join(self, name: str) -> None:
        """One more machine with dockerd, which is not in the Swarm."""
        self._has_key(self.fleet.host(name).node, "agent")

    def _has_key(self, node: Node, data: str) -> None:
        node.write(f"/var/lib/perdure/{data}/keys/encryption/main.key", self._key, mode=0o600)

    def _listens(self) -> bool:
        try:
            with socket.create_connection((self.fleet.control.address, fleet.PORT + 1), 1.0):
                return True
        except OSError:
            return False

    def job(self, name: str, *, program: str = COUNT, **more: str) -> str:
        text = fleet.job(name, program, **more).replace("target: machines", "target: cluster")
        source = f"{self.fleet.inside}/starts"
        return text.replace("workload: {", f"workload: {{volumes: [{{source: {source}, target: /srv/starts, shared: true}}], ")

    def starts(self) -> list[str]:
        """Each start of a program from its beginning: the attempt that it was."""
        return [line.split()[0] for line in (self.fleet.outside / "starts/log").read_text().splitlines()]

    def lines(self, job: str, *arguments: str) -> list[tuple[str, int]]:
        said = self.fleet.log(job, *arguments)
        return [(found[1], int(found[2])) for found in re.finditer(r"([0-9a-f]{32}) (\d+)$", said, re.MULTILINE)]

    def counted(self, job: str, attempt: int, beyond: int = 0) -> list[tuple[str, int]]:
        """What an attempt has printed, once it has counted on."""

        def now() -> list[tuple[str, int]]:
            found = self.lines(job, "--attempt", str(attempt))
            return found if found and found[-1][1] > beyond else []

        found = conditions.eventually(now, 120, interval=0.5, message=lambda: self.fleet.told(job))
        assert found
        return found

    def fence(self, host: fleet.Host) -> None:
        """Waits until the leader has looked at every service, and a node has done what it was told: a new one runs there."""
        name = f"fence-{secrets.token_hex(4)}"
        constraint = f"node.id=={self.swarm.node_id(host.node)}"
        create = ("service", "create", "--no-resolve-image", "--quiet", "--name", name, "--constraint", constraint)
        self.swarm.leader().cli(*create, recipe.BASE_IMAGE, "sleep", "3600")
        self.swarm.leader().cli("service", "rm", name)

    def follower(self) -> str:
        """A host whose engine does not lead."""
        leader = self.swarm.leader()
        return next(name for name, host in self.hosts.items() if host.docker is not leader)

    def services(self) -> list[str]:
        return self.swarm.leader().cli("service", "ls", "--format", "{{.Name}}").split()

    def of(self, run: Run, attempt: int) -> fleet.Host:
        return self.hosts[run["attempts"][attempt - 1]["host"]]

    def elsewhere(self, host: fleet.Host) -> list[Docker]:
        return [each.docker for each in self.hosts.values() if each is not host]


@pytest.fixture(scope="module")
def built(lab: Lab) -> Iterator[Cluster]:
    made = Cluster(lab)
    yield made
    made.fleet.close()


@pytest.fixture
def cluster(built: Cluster) -> Iterator[Cluster]:
    (built.fleet.outside / "starts/log").write_text("")
    yield built
    desired: Path = built.fleet.outside / "desired"
    jobs = [path.name for path in desired.glob("job-*.yaml")]
    if jobs:
        built.fleet.commit({**dict.fromkeys(jobs), "empty.txt": jobs[0]}, "done\n\nPerdure-Allow-Empty: true")
    for host in built.hosts.values():
        if not host.node.running:
            host.node.start()
            host.docker.start()
            host.start()
    built.lab.heal()
    built.swarm.settled()


def started(number: int) -> Callable[[Run], object]:
    return lambda run: len(run["attempts"]) >= number and run["attempts"][number - 1]["startedAt"]


def continued(cluster: Cluster, job: str, attempt: int = 2) -> None:
    """An attempt goes on with the memory of the one before, at the very next byte. Its last words may come later."""
    cluster.counted(job, attempt)
    joins(cluster.fleet, job, attempt - 1)


def begin(cluster: Cluster, name: str, **more: str) -> Run:
    cluster.fleet.commit({f"job-{name}.yaml": cluster.job(name, **more)})
    run = cluster.fleet.until(name, started(1))
    cluster.counted(name, 1, beyond=20)
    return run


def _with_criu(host: fleet.Host, script: str = "") -> None:
    """Gives a host another criu, or its own again, and an agent that has asked it."""
    host.stop()
    if script:
        host.node.write("/opt/criu", script, 0o755)
    installed.agent(host.node, "upgrade", "--criu", "/opt/criu" if script else "/usr/sbin/criu")
    host.start()


def _running(host: fleet.Host, job: str) -> list[str]:
    """The containers of a job that run there."""
    found = (each for each in host.containers() if each["Config"]["Labels"][container.JOB] == job)
    return [str(each["Id"]) for each in found if each["State"]["Running"]]


def test_it_is_suspended_and_goes_on_as_another_service(cluster: Cluster) -> None:
    begin(cluster, "suspends")
    assert len(cluster.services()) == 1
    manifest = cluster.job("suspends")
    cluster.fleet.commit({"job-suspends.yaml": manifest + "  state: Suspended\n"})
    run = cluster.fleet.until("suspends", lambda run: run["phase"] == "suspended")
    assert run["attempts"][0]["ending"] == "checkpointed", "although Swarm calls it failed"
    conditions.eventually(lambda: cluster.services() == [], 60)
    cluster.fleet.commit({"job-suspends.yaml": manifest})
    cluster.fleet.until("suspends", started(2))
    continued(cluster, "suspends")
    assert len(cluster.starts()) == 1


def test_a_notice_moves_it_to_another_node(cluster: Cluster) -> None:
    run = begin(cluster, "reclaimed")
    host = cluster.of(run, 1)
    host.node.run([str(fleet.BIN / "perdure-agent"), "notice", "--in", "60s"], env=fleet.PLAIN)
    run = cluster.fleet.until("reclaimed", started(2))
    assert run["attempts"][0]["ending"] == "checkpointed"
    assert run["attempts"][1]["host"] != run["attempts"][0]["host"]
    continued(cluster, "reclaimed")
    assert len(cluster.starts()) == 1


def test_its_images_volumes_move_with_it(cluster: Cluster) -> None:
    """dockerd makes them on each node, as it does without a Swarm."""
    keeping.load(cluster.fleet, *cluster.hosts.values())
    for number, node in enumerate(("alpha", "beta"), 1):
        text = fleet.job("keeps", keeping.PROGRAM, image=keeping.TAG, extra=f"placement: {{node: {node}}}")
        cluster.fleet.commit({"job-keeps.yaml": text.replace("target: machines", "target: cluster")})
        run = cluster.fleet.until("keeps", started(number))
        assert run["attempts"][-1]["host"] == node
        cluster.counted("keeps", number, beyond=20)
    continued(cluster, "keeps")
    cluster.counted("keeps", 2, beyond=cluster.lines("keeps", "--attempt", "2")[-1][1] + 20)


def test_what_it_prints_last_is_read_though_its_service_is_removed(cluster: Cluster) -> None:
    """A Swarm then removes the container as soon as it has ended, and only then was the last of it written down."""
    begin(cluster, "unread", program=PIECES)
    cluster.swarm.leader().cli("service", "rm", cluster.services()[0])
    cluster.fleet.until("unread", started(2))
    continued(cluster, "unread")


def test_removing_its_service_takes_a_checkpoint_first(cluster: Cluster) -> None:
    begin(cluster, "removed")
    cluster.swarm.leader().cli("service", "rm", cluster.services()[0])
    run = cluster.fleet.until("removed", started(2))
    assert run["attempts"][0]["ending"] == "checkpointed"
    continued(cluster, "removed")
    assert len(cluster.starts()) == 1


def test_a_change_of_the_leader_leaves_it_alone(cluster: Cluster) -> None:
    begin(cluster, "led", extra=f"placement: {{node: {cluster.follower()}}}")
    leader = cluster.swarm.leader()
    leader.stop(signal.SIGKILL)
    assert cluster.swarm.leader() is not leader
    cluster.counted("led", 1, beyond=cluster.lines("led")[-1][1] + 100)
    leader.start()
    cluster.swarm.settled()
    cluster.counted("led", 1, beyond=cluster.lines("led")[-1][1] + 100)
    assert len(cluster.fleet.run("led")["attempts"]) == 1
    assert len(cluster.starts()) == 1


def test_a_change_of_the_leader_after_its_checkpoint_starts_nothing(cluster: Cluster) -> None:
    """Nobody has recorded its end yet: its service is there, and for the managers its task has failed (137)."""
    run = begin(cluster, "saved", extra=f"placement: {{node: {cluster.follower()}}}")
    host, leader = cluster.of(run, 1), cluster.swarm.leader()
    cluster.fleet.stop_loop()
    try:
        (own,) = [each for each in host.containers() if each["State"]["Running"]]
        host.docker.cli("stop", own["Id"])
        assert host.docker.inspect(own["Id"])["State"]["ExitCode"] == 137
        leader.stop(signal.SIGKILL)
        assert cluster.swarm.leader() is not leader
        leader.start()
        cluster.swarm.settled()
        cluster.fence(host)
        assert not any(each["State"]["Running"] for each in host.containers())
        assert own["Config"]["Labels"]["com.docker.swarm.service.name"] in cluster.services()
    finally:
        cluster.fleet.start_loop()
    run = cluster.fleet.until("saved", started(2))
    assert run["attempts"][0]["ending"] == "checkpointed"
    continued(cluster, "saved")
    assert len(cluster.starts()) == 1


def test_it_is_placed_by_what_nodes_carry_and_have(cluster: Cluster) -> None:
    node = cluster.swarm.node_id(cluster.hosts["gamma"].node)
    cluster.swarm.leader().cli("node", "update", "--label-add", "zone=attic", "--label-add", "disk=ssd", node)
    for name, wanted in (("zoned", "zone: attic"), ("labelled", "labels: {disk: ssd}"), ("named", "node: gamma")):
        run = begin(cluster, name, extra=f"placement: {{{wanted}}}")
        assert run["attempts"][0]["host"] == "gamma"
    for name, extra, why in (
        ("nowhere", "placement: {zone: cellar}", "3 of 3 hosts in another zone"),
        ("huge", 'resources: {cpu: "9000"}', "3 of 3 hosts too small even when empty"),
    ):
        cluster.fleet.commit({f"job-{name}.yaml": cluster.job(name, extra=extra)})
        said = f"no host of target cluster can hold it: {why}"

        def told(name: str = name, said: str = said) -> bool:
            return said in " ".join(cluster.fleet.perdure("why", name, check=False).split())

        conditions.eventually(told, 60, message=lambda name=name: cluster.fleet.told(name))  # type: ignore[misc]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the feature is one of x86")
def test_it_is_not_restored_on_a_node_whose_processor_lacks_what_it_may_use(cluster: Cluster) -> None:
    lesser = cluster.hosts["beta"]
    _with_criu(lesser, LESSER)
    try:
        begin(cluster, "seen", extra="placement: {node: alpha}")
        cluster.fleet.commit({"job-seen.yaml": cluster.job("seen", extra="placement: {node: beta}")})

        said = (
            "Reason: WaitingForProcessor",
            "no host of target cluster has the processor features that the checkpoint needs",
            "2 of 3 hosts not the node asked for",
            f"1 of 3 hosts with another processor (lacking {LACKING})",
            "begin anew with `restore.from: none`",
        )

        def told() -> bool:
            why = " ".join(cluster.fleet.perdure("why", "seen", check=False).split())
            return all(each in why for each in said)

        conditions.eventually(told, 90, interval=0.5, message=lambda: cluster.fleet.told("seen"))
        assert not _running(lesser, "seen")
        cluster.fleet.commit({"job-seen.yaml": cluster.job("seen")})
        run = cluster.fleet.until("seen", started(2))
        assert run["attempts"][1]["host"] != "beta"
        continued(cluster, "seen")
        assert len(cluster.starts()) == 1
    finally:
        _with_criu(lesser)


def test_secrets_and_configs_are_the_same_after_a_move(cluster: Cluster) -> None:
    leader = cluster.swarm.leader().node
    leader.run(["docker", "secret", "create", "TOKEN", "-"], input="s3cret")
    leader.run(["docker", "config", "create", "settings", "-"], input="rate=1")
    given = "{secrets: [TOKEN], configs: [{name: settings, target: /etc/settings}], "
    text = cluster.job("reads", program=READS).replace("workload: {", f"workload: {given}")
    cluster.fleet.commit({"job-reads.yaml": text})
    run = cluster.fleet.until("reads", started(1))
    cluster.counted("reads", 1, beyond=20)
    host = cluster.of(run, 1)
    host.node.run([str(fleet.BIN / "perdure-agent"), "notice", "--in", "60s"], env=fleet.PLAIN)
    run = cluster.fleet.until("reads", started(2))
    assert run["attempts"][1]["host"] != run["attempts"][0]["host"]
    continued(cluster, "reads")
    count = cluster.lines("reads")[-1][1]
    cluster.counted("reads", 2, beyond=count + 50)
    assert len(cluster.fleet.run("reads")["attempts"]) == 2
    assert len(cluster.starts()) == 1


def test_a_healed_partition_checkpoints_it_first(cluster: Cluster) -> None:
    """Of a minute: longer than its node is waited for by the Swarm, and its host by the reconciler."""
    run = begin(cluster, "parted")
    host = cluster.of(run, 1)
    others = [each for each in cluster.hosts.values() if each is not host]
    (own,) = _running(host, "parted")
    cluster.lab.partition(host.node)
    until = time.monotonic() + MINUTE

    def down() -> bool:
        try:
            rows = swarms.nodes(others[0].docker)
        except CommandFailed:  # without a leader there is no answer
            return False
        return any(row["Hostname"] == host.node.name and row["Status"] == "Down" for row in rows)

    def over() -> bool:
        assert _running(host, "parted") == [own]
        assert not any(_running(each, "parted") for each in others), "a second one, while the first one runs"
        return time.monotonic() > until

    conditions.eventually(down, 120, interval=0.5)
    conditions.eventually(over, 2 * MINUTE, interval=0.5)
    assert "`onLost` is `wait`" in " ".join(cluster.fleet.perdure("why", "parted").split())
    assert [each["ending"] for each in cluster.fleet.run("parted")["attempts"]] == [None]
    before = int(host.docker.cli("logs", "--tail", "1", own).split()[1])
    cluster.lab.heal(host.node)
    run = cluster.fleet.until("parted", started(2), timeout=180)
    assert run["attempts"][0]["ending"] == "checkpointed"
    continued(cluster, "parted")
    assert cluster.lines("parted", "--attempt", "2")[-1][1] > before > 10 * MINUTE, "it ran all the time"
    assert len(cluster.starts()) == 1


def test_a_lost_machine_is_replaced_from_the_last_checkpoint(cluster: Cluster) -> None:
    begin(cluster, "lost", checkpoint="{interval: 2s}", extra="onLost: replace")
    run = cluster.fleet.until("lost", lambda run: len(run["checkpoints"]) >= 2)
    nonce = cluster.lines("lost")[0][0]
    first = cluster.of(run, 1)
    first.node.kill()
    run = cluster.fleet.until("lost", started(2), timeout=240)
    assert run["attempts"][0]["ending"] == "lost"
    assert {name for name, _ in cluster.counted("lost", 2)} == {nonce}
    conditions.eventually(lambda: len(cluster.services()) == 1, 60)
    first.node.start()
    first.docker.start()
    first.start()
    cluster.swarm.settled()
    cluster.counted("lost", 2, beyond=cluster.lines("lost")[-1][1] + 100)
    assert cluster.starts() == cluster.starts()[:1]


def test_a_drained_node_gives_it_away_with_its_memory(cluster: Cluster) -> None:
    run = begin(cluster, "drained")
    host = cluster.of(run, 1)
    leader, node = cluster.swarm.leader(), cluster.swarm.node_id(host.node)
    leader.cli("node", "update", "--availability", "drain", node)
    try:
        run = cluster.fleet.until("drained", started(2))
        assert run["attempts"][0]["ending"] == "checkpointed"
        assert run["attempts"][1]["host"] != run["attempts"][0]["host"]
        continued(cluster, "drained")
        assert len(cluster.starts()) == 1
    finally:
        cluster.swarm.leader().cli("node", "update", "--availability", "active", node)


def test_an_engine_that_is_asked_to_stop_saves_it_first(cluster: Cluster) -> None:
    """A Swarm that begins anew removes what has ended, unread; the agent has what it printed last all the same."""
    run = begin(cluster, "stopped")
    host = cluster.of(run, 1)
    host.docker.stop()
    host.docker.start()
    run = cluster.fleet.until("stopped", started(2))
    assert run["attempts"][0]["ending"] == "checkpointed"
    continued(cluster, "stopped")
    assert len(cluster.starts()) == 1


def test_an_engine_that_is_killed_costs_what_was_not_saved(cluster: Cluster) -> None:
    """Swarm has no live-restore: dockerd ends what it finds when it is back, and the attempt is over."""
    begin(cluster, "killed", checkpoint="{interval: 2s}")
    run = cluster.fleet.until("killed", lambda run: len(run["checkpoints"]) >= 2)
    nonce = cluster.lines("killed")[0][0]
    host = cluster.of(run, 1)
    host.docker.stop(signal.SIGKILL)
    host.docker.start()
    run = cluster.fleet.until("killed", started(2), timeout=180)
    assert {name for name, _ in cluster.counted("killed", 2)} == {nonce}
    assert len(cluster.starts()) == 1


def test_a_second_create_is_refused_by_the_node(cluster: Cluster) -> None:
    """Somebody has Swarm begin the service anew: the container that runs is saved, and no other begins under its number."""
    begin(cluster, "forced")
    service = cluster.services()[0]
    cluster.swarm.leader().cli("service", "update", "--detach", "--force", service)
    run = cluster.fleet.until("forced", started(2))
    assert run["attempts"][0]["ending"] == "checkpointed"
    continued(cluster, "forced")
    assert len(cluster.starts()) == 1
