"""Once, proven from outside, while leaders, engines, machines, networks, agents and the reconciler fail by a schedule."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import tarfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from reconciler.core import container, record
from reconciler.ledger import wire
from tests import conditions
from tests.lab import docker, fleet, havoc, witness
from tests.lab.lab import Lab
from tests.lab.test_swarm_jobs import Cluster

ROUNDS = 3
"""Disasters of the short form; a seed picks which."""
SOAK = 600.0
"""Seconds of the long form."""
FILTER = urllib.parse.quote(json.dumps({"label": [container.ATTEMPT]}))
PATIENCE = 420.0
"""Seconds for everything to finish once nothing fails any more, on a loaded machine."""


class Watch:
    """Looks at everything from outside, all the time, on a thread of its own."""

    def __init__(self, site: fleet.Fleet, log: Path) -> None:
        self._site = site
        self._log = log
        self._looks: list[witness.Look] = []
        self._over = threading.Event()
        self._thread = futures.ThreadPoolExecutor(1, "watch")

    def __enter__(self) -> Watch:
        self._watching = self._thread.submit(self._go)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.shutdown()

    def evidence(self, jobs: frozenset[str] = frozenset()) -> witness.Evidence:
        """Everything seen so far."""
        if self._watching.done():
            self._watching.result()  # raises what ended it
        looks = tuple(self._looks)
        return witness.Evidence(notes=witness.parse(self._log.read_text()), looks=looks, jobs=jobs)

    def looked(self) -> None:
        """Waits until it has looked once more, from now on."""
        known = len(self._looks)
        conditions.eventually(lambda: self._watching.done() or len(self._looks) > known + 1, 120, message="nobody looks")

    def _go(self) -> None:
        while not self._over.wait(0.3):
            self._looks.append(self._look())

    def _look(self) -> witness.Look:
        boxes = tuple(box for host in self._site.hosts.values() for box in _boxes(host))
        runs = _ledger(self._site.outside / "repository.git")
        return witness.Look(boxes=boxes, runs=runs, noted=self._log.read_bytes().count(b"\n"))


def _boxes(host: fleet.Host) -> Iterator[witness.Box]:
    """The containers of attempts on a host; none where its engine does not answer."""
    for each in _asked(host, f"/v1.41/containers/json?all=1&filters={FILTER}"):
        labels = each["Labels"]
        yield witness.Box(
            id=str(each["Id"])[:12],
            run=labels[container.RUN],
            attempt=int(labels[container.ATTEMPT]),
            running=str(each["State"]) == "running",
        )


def _asked(host: fleet.Host, what: str) -> list[dict[str, Any]]:
    """What its dockerd answers in time; nothing where it does not."""
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(host.node.path(docker.SOCKET)))
            connection.sendall(f"GET {what} HTTP/1.0\r\n\r\n".encode())
            while part := connection.recv(65536):
                answer += part
        except (OSError, AssertionError):  # the engine or the machine is off
            return []
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        found: list[dict[str, Any]] = json.loads(body) if b" 200 " in head[:20] else []
    except ValueError:  # killed in the middle of it
        return []
    return found


def _ledger(repository: Path) -> dict[str, witness.Run]:
    """Every run that the ledger on the server has, all of one commit."""
    command = ["git", "-C", str(repository), "archive", "--format=tar", wire.state_ref("lab"), "runs"]
    done = subprocess.run(command, check=False, capture_output=True, env={"PATH": os.environ["PATH"], **fleet.PLAIN})
    if done.returncode:
        assert b"not a valid object name" in done.stderr or b"did not match any files" in done.stderr, done.stderr
        return {}
    found = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file and (name := wire.run_of(member.name)):
                found[name] = _run(wire.record_from(file.read(), name))
    return found


def _run(one: record.Record) -> witness.Run:
    return witness.Run(
        job=one.job,
        phase=one.phase.value,
        attempts=tuple(
            witness.Attempt(
                number=each.number,
                restored_from=each.restored_from,
                ending=each.ending.value if each.ending else "",
                code=each.exit.code if each.exit else None,
            )
            for each in one.attempts
        ),
        checkpoints={
            each.taken.digest: witness.Saved(attempt=each.taken.attempt, asked_at=each.taken.taken_at - each.taken.seconds)
            for each in one.checkpoints
        },
    )


class Scene:
    """A Swarm of three and a host of its own, jobs of every kind, and somebody who watches."""

    def __init__(self, lab: Lab) -> None:
        self.cluster = Cluster(lab)
        self.site = self.cluster.fleet
        self.cluster.join("delta")
        self.log = self.site.outside / "starts/log"
        self.log.touch()
        self.hands = havoc.Hands(lab, self.site, self.cluster.swarm)
        self.jobs: dict[str, str] = {}

    def declare(self, *jobs: str) -> None:
        """Adds jobs by their names: target, kind and a number."""
        for name in jobs:
            self.jobs[name] = self._manifest(name)
        self.site.commit({f"job-{name}.yaml": self.jobs[name] for name in jobs}, f"More to do: {', '.join(jobs)}")

    def _manifest(self, name: str) -> str:
        target, kind, _ = name.split("-")
        beats, fails, checkpoint, extra = {
            "brief": (15, 0, "{engine: none}", "onLost: replace"),
            "long": (250, 0, "{interval: 3s, keep: 1000}", "onLost: replace"),
            "stays": (200, 0, "{interval: 3s, keep: 1000}", ""),
            "fails": (10, 2, "{}", "retries: {failure: 2}"),
        }[kind]
        inside = f"{self.site.inside}/starts"
        workload = (
            f'args: ["{beats}", "{fails}", /srv/starts/log], '
            f"volumes: [{{source: {inside}, target: /srv/starts, shared: true}}], "
        )
        text = fleet.job(name, witness.PROGRAM, checkpoint=checkpoint, extra=extra).replace(
            "workload: {", f"workload: {{{workload}"
        )
        return text.replace("target: machines", f"target: {target}")

    def told(self) -> str:
        """What is known of jobs that have not finished."""
        phases = {name: self.site.run(name)["phase"] for name in self.jobs}
        behind = [name for name, phase in phases.items() if phase != "finished"]
        return f"{phases}\n{self.site.told(behind[0]) if behind else ''}"


@pytest.fixture
def scene(lab: Lab) -> Iterator[Scene]:
    made = Scene(lab)
    yield made
    lab.heal()
    made.site.close()


def suffer(scene: Scene, watch: Watch, blow: havoc.Blow) -> None:
    """One disaster, during which time goes by; all that was promised holds throughout."""
    say(blow)
    mend = scene.hands.strike(blow)
    middle, until = time.monotonic() + blow.lasts / 2, time.monotonic() + blow.lasts
    conditions.eventually(lambda: time.monotonic() > middle, 60)
    scene.hands.meanwhile(blow)
    conditions.eventually(lambda: time.monotonic() > until, 60)
    mend()
    until = time.monotonic() + blow.calm
    conditions.eventually(lambda: time.monotonic() > until, 60)
    watch.looked()
    assert witness.broken(watch.evidence()) == []


def come_to_rest(scene: Scene, watch: Watch) -> None:
    """Nothing fails any more: everything finishes, and nothing is left."""
    scene.cluster.swarm.settled()
    names = frozenset(scene.jobs)

    def finished() -> bool:
        watch.looked()
        seen = watch.evidence()
        phases = {run.job: run.phase for run in seen.runs.values()}
        boxes = seen.looks[-1].boxes
        assert "failed" not in phases.values(), scene.told()
        return not boxes and all(phases.get(name) == "finished" for name in names) and not scene.cluster.services()

    conditions.eventually(finished, PATIENCE, interval=0.5, message=scene.told)
    watch.looked()
    evidence = watch.evidence(names)
    assert witness.broken(evidence) == []
    starts = [note for note in evidence.notes if note.word == "begin"]
    attempts = [attempt for _, _, attempt in evidence.attempts()]
    restored = sum(bool(attempt.restored_from) for attempt in attempts)
    say(f"{len(names)} jobs, {len(attempts)} attempts of which {restored} were restored, {len(starts)} starts")


def say(what: object) -> None:
    print(time.strftime("%H:%M:%S"), what, flush=True)


def seed() -> int:
    """The schedule's seed: `SEED`, or another one each time, and printed."""
    number = int(os.environ.get("SEED") or int.from_bytes(os.urandom(3)))
    say(f"SEED={number}")
    return number


def test_once(scene: Scene) -> None:
    """A minute of disasters."""
    blows = havoc.schedule(seed(), ROUNDS)
    with Watch(scene.site, scene.log) as watch:
        scene.declare("cluster-long-1", "machines-long-1", "cluster-fails-1", "machines-fails-1", "machines-stays-1")
        conditions.eventually(lambda: len(watch.evidence().notes) > 20, 120, message=scene.told)
        for number, blow in enumerate(blows):
            scene.declare(f"cluster-brief-{number}", f"machines-brief-{number}")
            suffer(scene, watch, blow)
        come_to_rest(scene, watch)


@pytest.mark.soak
def test_once_for_ten_minutes(scene: Scene) -> None:
    """One disaster after the other, with new jobs all the time."""
    with Watch(scene.site, scene.log) as watch:
        until = time.monotonic() + SOAK
        for number, blow in enumerate(havoc.schedule(seed(), 1000)):
            if time.monotonic() > until:
                break
            if number % 6 == 0:
                scene.declare(
                    *(f"{target}-{kind}-{number}" for target in ("cluster", "machines") for kind in ("long", "fails"))
                )
                scene.declare(f"machines-stays-{number}", f"cluster-stays-{number}")
            scene.declare(f"cluster-brief-{number}", f"machines-brief-{number}")
            suffer(scene, watch, blow)
        come_to_rest(scene, watch)
