"""The Swarm target on a real Swarm of three managers. The test plays the agents; what Swarm says and does is its own."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler import errors
from reconciler.contracts import swarm as contract
from reconciler.core import container, model, observed, settle, spec
from reconciler.link import fake as fake_link
from reconciler.seams import clock
from reconciler.targets import books
from reconciler.targets.swarm import api, services
from tests.conditions import eventually
from tests.lab import recipe
from tests.lab import swarm as swarms
from tests.lab.docker import Docker
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm
from tests.targets import swarm_contract
from tests.targets.hands import Host

Result = settle.Result

FOREVER = "trap 'echo term $0 >> /srv/lab/seen; sleep 0.3; exit 3' TERM; while :; do sleep 0.1; done"
STARTS = "echo start $0 $(cat /proc/sys/kernel/random/uuid) >> /srv/lab/seen; "


class Site:
    """The target over a real Swarm; each node's agent says what the test has it say."""

    image = recipe.TINY_IMAGE

    def __init__(self, lab: Lab, swarm: Swarm, keys: Path) -> None:
        self.lab, self.swarm, self.keys = lab, swarm, keys
        self.clock = clock.System()
        self.link = fake_link.FakeLink(self.clock)
        self.books = books.Books(self.link, self.clock, silence=600.0)
        first, *others = (one.url for one in swarm.managers)
        self.spec = model.SwarmSpec(host=first, others=tuple(others))
        self.managers = api.Managers(self.spec, keys, self.clock)
        self.target = services.SwarmTarget(model.TargetSpec(name="cluster"), "lab", self.books, self.managers, self.clock)
        self.hosts = {one.node.name: self._host(one) for one in swarm.all}

    def _host(self, docker: Docker) -> Host:
        facts = {"swarm.node": self.swarm.node_id(docker.node)}
        host = Host(self.link, docker.node.name, facts=facts, cpu=64000, memory=2**40)
        host.report()
        return host

    def work(self) -> None:
        """Wait until no task is on its way any more."""

        def settled() -> bool:
            listing = self.managers.look()
            begun = {task.service for task in listing.tasks} >= {service.id for service in listing.services}
            return begun and all(
                task.state in (*contract.OVER, "running") or "no suitable node" in task.said for task in listing.tasks
            )

        eventually(settled, 60.0, interval=0.2, message=lambda: str(self.managers.look().tasks))

    def secret(self, name: str) -> None:
        leader = self.swarm.leader()
        leader.node.run(["docker", "secret", "create", name, "-"], input="s3cret")

    def attempt(self, on: Docker, run: str, script: str, **more: Any) -> spec.AttemptSpec:
        """An attempt whose program notes each of its starts, and its end by a signal, where every node can read it."""
        workload = model.Workload(
            image=more.pop("image", self.image),
            command=("/bin/sh", "-c", STARTS + script, run),
            volumes=(model.Volume(source="/srv/lab", target="/srv/lab", shared=True),),
        )
        return spec.AttemptSpec(
            instance="lab",
            run=run,
            attempt=1,
            tenant="default",
            job=run,
            replica=0,
            revision="c0ffee",
            workload=workload,
            checkpoint=model.CheckpointPolicy(engine=model.EngineName.NONE),
            host=on.node.name,
            created_by=spec.Creator.ENGINE,
            **more,
        )

    def begin(self, what: spec.AttemptSpec) -> spec.Assignment:
        """Its agent is ready, and the target creates its service."""
        assignment = spec.Assignment(spec=what)
        self.says(what, observed.ItemState.PREPARING, ready=True)
        assert self.target.apply(assignment).result is Result.CREATED
        return assignment

    def says(self, what: spec.AttemptSpec, state: observed.ItemState, **more: Any) -> None:
        host = self.hosts[what.host]
        item = observed.Item(ref=what.ref, state=state, host=what.host, spec=what, **more)
        host.report(*(each for each in host.state.items if each.ref != what.ref), item)

    def seen(self, word: str, run: str) -> int:
        """How often a run's program has noted a word."""
        path = self.lab.shared / "seen"
        lines = path.read_text().splitlines() if path.exists() else []
        return sum(line.split()[:2] == [word, run] for line in lines)

    def view(self) -> observed.TargetView:
        return self.target.observe(time.time())

    def known(self) -> observed.TargetView:
        """The view, as soon as the managers answer."""
        found: list[observed.TargetView] = []

        def answered() -> bool:
            found.append(self.view())
            return found[-1].known

        eventually(answered, 90.0, interval=0.5, message=lambda: found[-1].error)
        return found[-1]

    def fence(self) -> None:
        """Wait until the leader has looked at every service, and each node has done what it was told: new ones run there."""
        for number, one in enumerate(self.swarm.all):
            name = f"fence-{number}-{len(self.link.sent)}-{time.monotonic_ns()}"
            constraint = f"node.hostname=={one.node.name}"
            run = ("service", "create", "--no-resolve-image", "--quiet", "--name", name, "--constraint", constraint)
            self.swarm.leader().cli(*run, self.image, "sleep", "60")

    def task(self, what: spec.AttemptSpec) -> str:
        """What the managers say of an attempt's task."""
        return self.known().objects.get(what.ref, "")


@pytest.fixture
def site(lab: Lab, swarm: Swarm, tmp_path: Path) -> Iterator[Site]:
    (lab.shared / "seen").unlink(missing_ok=True)
    yield Site(lab, swarm, tmp_path)
    swarm.leader().cli("swarm", "update", "--dispatcher-heartbeat", "2s")


class TestReal(swarm_contract.Managers):
    """A real Swarm keeps the contract that the fake keeps."""


def change_leader(swarm: Swarm) -> str:
    """The leader's engine is killed; another manager leads."""
    old = swarm.leader()
    old.stop(signal.SIGKILL)
    new = swarm.leader()
    assert new is not old
    old.start()
    swarm.settled()
    return new.node.name


def test_changes_of_the_leader_start_nothing_again(site: Site) -> None:
    """Running, failed, and ended by a checkpoint (137): one container each, whoever leads."""
    leader = site.swarm.leader()
    worker = next(one for one in site.swarm.all if one is not leader)
    running, failed, ended = (site.attempt(worker, *each) for each in (("a", FOREVER), ("b", "exit 1"), ("c", "exit 137")))
    for what in (running, failed, ended):
        site.begin(what)
    eventually(lambda: "failed" in site.task(failed) and "failed" in site.task(ended) and "running" in site.task(running), 60.0)
    for _ in range(2):
        if site.swarm.leader() is worker:
            break  # its own containers would die with its engine
        change_leader(site.swarm)
        assert "running" in site.task(running)
    site.fence()
    assert {run: site.seen("start", run) for run in "abc"} == dict.fromkeys("abc", 1)
    assert site.seen("term", "a") == 0


def test_without_a_leader_nothing_is_known_and_nothing_is_done(site: Site) -> None:
    first, second, third = site.swarm.managers
    what = site.attempt(third, "quorum", FOREVER)
    site.begin(what)
    eventually(lambda: site.seen("start", "quorum") == 1, 60.0)
    site.says(what, observed.ItemState.RUNNING)
    first.stop(signal.SIGKILL)
    second.stop(signal.SIGKILL)
    eventually(lambda: not site.view().known, 60.0, interval=0.5)
    view = site.view()
    assert "no manager of the Swarm answers" in view.error
    assert site.target.apply(spec.Assignment(spec=dataclasses.replace(what, timeout=5.0))).result is Result.CHANGED
    first.start()
    second.start()
    site.swarm.settled()
    assert site.known().items[what.ref].state is observed.ItemState.RUNNING
    assert (site.seen("start", "quorum"), site.seen("term", "quorum")) == (1, 0)


def test_a_leader_that_hangs_is_no_answer_in_time(site: Site) -> None:
    """The engine of the leader stands still: what the others ask of it runs into deadlines until another one leads."""
    leader = site.swarm.leader()
    assert leader.daemon is not None
    asked = threading.Event()
    answers: list[bool] = []

    def ask() -> None:
        while not asked.is_set():
            began = time.monotonic()
            answers.append(site.view().known)
            assert time.monotonic() - began < api.SECONDS * 4 * 3 + 5
            asked.wait(0.2)

    site.known()
    thread = threading.Thread(target=ask)
    leader.daemon.send(signal.SIGSTOP)
    try:
        thread.start()
        eventually(lambda: bool(answers), 90.0)
    finally:
        leader.daemon.send(signal.SIGCONT)
        asked.set()
        thread.join()
    site.swarm.settled()
    site.known()


def test_a_node_that_was_cut_off_ends_its_container_by_the_stop_signal_once(site: Site) -> None:
    """Longer than three heartbeats: the node counts as down, and its container is asked to stop as soon as it is back.

    That signal is where a checkpoint is taken first. Nothing is started in its stead, here or elsewhere.
    """
    leader = site.swarm.leader()
    victim = next(one for one in site.swarm.all if one is not leader)
    what = site.attempt(victim, "cut", FOREVER)
    site.begin(what)
    eventually(lambda: site.seen("start", "cut") == 1, 60.0)
    site.says(what, observed.ItemState.RUNNING)
    site.lab.partition(victim.node)
    eventually(lambda: site.known().hosts[victim.node.name].closed == "down in the Swarm", 90.0, interval=0.5)
    assert site.known().items[what.ref].state is observed.ItemState.RUNNING, "down is what managers believe"
    assert "wanted shutdown" in site.task(what)
    assert site.seen("term", "cut") == 0
    site.lab.heal(victim.node)
    eventually(lambda: site.seen("term", "cut") == 1, 90.0)
    site.swarm.settled()
    site.fence()
    assert (site.seen("start", "cut"), site.seen("term", "cut")) == (1, 1)


def test_a_shorter_cut_than_three_heartbeats_is_no_end(site: Site) -> None:
    """The managers find the node unreachable, and do not give it up."""
    leader = site.swarm.leader()
    leader.cli("swarm", "update", "--dispatcher-heartbeat", "60s")
    victim = next(one for one in site.swarm.all if one is not leader)
    victim.restart()  # a node learns the interval when it registers
    site.swarm.settled()
    what = site.attempt(victim, "short", FOREVER)
    site.begin(what)
    eventually(lambda: site.seen("start", "short") == 1, 60.0)
    site.lab.partition(victim.node)

    def unreachable() -> bool:
        rows = swarms.nodes(leader)
        return any(row["Hostname"] == victim.node.name and row["ManagerStatus"] == "Unreachable" for row in rows)

    eventually(unreachable, 90.0, interval=0.5)
    assert site.known().hosts[victim.node.name].closed == ""
    site.lab.heal(victim.node)
    site.swarm.settled()
    site.fence()
    assert (site.seen("start", "short"), site.seen("term", "short")) == (1, 0)
    assert "running" in site.task(what)


def test_a_removed_service_asks_its_container_to_stop_and_lists_no_task(site: Site) -> None:
    worker = next(one for one in site.swarm.all if one is not site.swarm.leader())
    what = site.attempt(worker, "removed", FOREVER)
    site.begin(what)
    eventually(lambda: site.seen("start", "removed") == 1, 60.0)
    site.says(what, observed.ItemState.RUNNING)
    site.swarm.leader().cli("service", "rm", container.name(what.ref))
    eventually(lambda: site.seen("term", "removed") == 1, 60.0)
    view = site.known()
    assert (view.objects, view.items[what.ref].state) == ({}, observed.ItemState.RUNNING), "its agent has the last word"
    assert "its service is gone" in view.items[what.ref].condition
    site.says(what, observed.ItemState.ENDED)
    assert site.target.delete(what.ref, what.host).result is Result.DELETED, "the host is told to forget it"


def test_the_end_of_an_attempt_frees_its_service(site: Site) -> None:
    worker = site.swarm.all[-1]
    what = site.attempt(worker, "over", "exit 0")
    site.begin(what)
    eventually(lambda: "complete" in site.task(what), 60.0)
    site.says(what, observed.ItemState.ENDED)
    assert site.target.delete(what.ref, what.host).result is Result.DELETED
    assert "complete" in site.task(what), "its host sends the last output first"
    site.hosts[what.host].obey()
    assert site.target.delete(what.ref, what.host).result is Result.DELETED
    assert site.known().objects == {}
    eventually(lambda: not worker.cli("ps", "--all", "--quiet", "--filter", f"label={container.RUN}=over"), 60.0)


def test_an_image_that_nobody_has_is_told_as_the_reason(site: Site) -> None:
    what = site.attempt(site.swarm.all[-1], "noimage", "exit 0", image="perdure-lab/there-is-none:1")
    site.begin(what)

    def ended() -> bool:
        return site.known().items[what.ref].state is observed.ItemState.ENDED

    eventually(ended, 90.0, interval=0.5, message=lambda: site.task(what))
    exit = site.known().items[what.ref].exit
    assert exit is not None
    assert exit.kind is observed.ExitKind.NOT_STARTED
    assert "No such image" in exit.detail


def test_what_swarm_has_no_room_for_waits_and_is_told(site: Site) -> None:
    what = site.attempt(site.swarm.all[-1], "huge", FOREVER, resources=model.Resources(cpu=9_000_000))
    site.begin(what)
    eventually(lambda: "insufficient resources" in site.known().items[what.ref].condition, 60.0, interval=0.5)
    assert site.known().items[what.ref].state is observed.ItemState.PREPARING


def test_room_is_what_reservations_of_others_leave(site: Site) -> None:
    worker = site.swarm.all[-1]
    assert site.known().hosts[worker.node.name].held_cpu == 0
    site.swarm.leader().cli(
        *("service", "create", "--detach", "--no-resolve-image", "--name", "web", "--reserve-cpu", "0.5"),
        *("--reserve-memory", "64M", "--constraint", f"node.hostname=={worker.node.name}", site.image, "sleep", "60"),
    )
    eventually(lambda: site.known().hosts[worker.node.name].held_cpu == 500, 60.0, interval=0.5)
    assert site.known().hosts[worker.node.name].held_memory == 64 * 2**20


@pytest.mark.parametrize("availability", ["drain", "pause"])
def test_a_node_that_people_close_takes_nothing_new(site: Site, availability: str) -> None:
    worker = next(one for one in site.swarm.all if one is not site.swarm.leader())
    node = site.swarm.node_id(worker.node)
    site.swarm.leader().cli("node", "update", "--availability", availability, "--label-add", "zone=x", node)
    try:
        view = site.known().hosts[worker.node.name]
        assert (view.closed, view.state.labels["zone"]) == (f"set to {availability} in the Swarm", "x")
    finally:
        site.swarm.leader().cli("node", "update", "--availability", "active", "--label-rm", "zone", node)


def test_secrets_and_configs_are_files_and_never_variables(site: Site) -> None:
    site.secret("TOKEN")
    site.swarm.leader().node.run(["docker", "config", "create", "settings", "-"], input="rate=1")
    worker = site.swarm.all[-1]
    what = site.attempt(worker, "secret", 'echo token $(cat "$TOKEN_FILE") $(cat /etc/set) >> /srv/lab/seen; exit 0')
    files = dataclasses.replace(what.workload, secrets=("TOKEN",), configs=(model.Config(name="settings", target="/etc/set"),))
    what = dataclasses.replace(what, workload=files)
    site.begin(what)
    eventually(lambda: site.seen("token", "s3cret") == 1, 60.0, message=lambda: site.task(what))
    assert "token s3cret rate=1" in (site.lab.shared / "seen").read_text()
    assert "s3cret" not in site.swarm.leader().cli("service", "inspect", container.name(what.ref))


def test_an_engine_that_is_no_manager_is_no_answer(site: Site, tmp_path: Path) -> None:
    alone = site.lab.node().docker(images=())
    try:
        asked = api.Managers(model.SwarmSpec(host=alone.url), tmp_path, site.clock)
        with pytest.raises(errors.Unavailable, match="not a swarm manager"):
            asked.look()
        both = api.Managers(model.SwarmSpec(host=alone.url, others=(site.spec.host,)), tmp_path, site.clock)
        assert both.look().cluster
    finally:
        site.lab.remove(alone.node)


def test_a_manager_is_reached_over_tls_with_keys_on_both_sides(site: Site, tmp_path: Path) -> None:
    node = site.lab.node()
    try:
        ours = authority("ours")
        pair(ours, tmp_path / "server", node.address)
        pair(ours, tmp_path / "tls" / "swarm")
        pair(authority("theirs"), tmp_path / "tls" / "stranger")
        (tmp_path / "tls" / "stranger" / "ca.pem").write_bytes((tmp_path / "tls" / "swarm" / "ca.pem").read_bytes())
        for name in ("ca.pem", "cert.pem", "key.pem"):
            node.write(f"/etc/docker/{name}", (tmp_path / "server" / name).read_text(), 0o600)
        address = f"tcp://{node.address}:2376"
        tls = {"tlsverify": True, "tlscacert": "/etc/docker/ca.pem", "tlscert": "/etc/docker/cert.pem"}
        options = {"hosts": ["unix:///run/docker.sock", address], **tls, "tlskey": "/etc/docker/key.pem"}
        swarms.form([node.docker(options, images=())])
        asked = api.Managers(model.SwarmSpec(host=address, tls="swarm"), tmp_path, site.clock)
        assert [each.leads for each in asked.look().nodes] == [True]
        with pytest.raises(errors.Unavailable, match="no answer"):
            api.Managers(model.SwarmSpec(host=address, tls="stranger"), tmp_path, site.clock).look()
    finally:
        site.lab.remove(node)


Authority = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return _builder(name, key, key, None).sign(key, hashes.SHA256()), key


def pair(by: Authority, folder: Path, address: str = "") -> None:
    """Write a key pair that an authority has signed, for a server at an address or for a client."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("pair", key, by[1], by[0].subject)
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    folder.mkdir(parents=True)
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "ca.pem").write_bytes(by[0].public_bytes(pem))
    (folder / "cert.pem").write_bytes(builder.sign(by[1], hashes.SHA256()).public_bytes(pem))
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, issuer: x509.Name | None
) -> x509.CertificateBuilder:
    """A certificate to sign; without an issuer, an authority's own."""
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(identifier, critical=False)
    return builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)


def test_the_managers_are_reached_by_root_only(site: Site) -> None:
    assert os.stat(site.spec.host.removeprefix("unix://")).st_mode & 0o007 == 0
