"""Checkpoints that somebody has altered who holds the key: what they would give a program, the manifest must give it."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from reconciler.contracts import store
from reconciler.core import container
from reconciler.engines.criu import credentials, messages
from reconciler.storage import path
from tests.lab import fleet, recipe
from tests.lab.lab import Lab
from tests.lab.test_docker_jobs import COUNT, counted_on, lines, started
from tests.storage import images

PLATFORM = fleet.PLATFORM.rstrip().removesuffix("}") + ", signing: {key: main}}\n"
OF_A_USER = "perdure-lab/of-a-user:1"
"""The image of all other jobs, but for its user."""
KEPT = "{keep: 100}"

THREAD, CREDENTIALS = 5, 10
PERMITTED, EFFECTIVE, NO_NEW_PRIVILEGES, SECCOMP = 10, 11, 18, 11
"""Fields of CRIU's core images, as `reconciler.engines.criu.credentials` names them."""
ALL = (0xFFFFFFFF, 0x1FF)
"""Every capability."""

Change = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgery:
    """What is altered of each thread, and what a refusal says of it."""

    thread: Change = lambda fields: fields
    image: str = recipe.BASE_IMAGE
    said: str


def _credentials(**numbers: tuple[int, ...]) -> Change:
    wanted = {
        {"permitted": PERMITTED, "effective": EFFECTIVE, "no_new": NO_NEW_PRIVILEGES}[name]: value
        for name, value in numbers.items()
    }

    def change(fields: bytes) -> bytes:
        creds = messages.nested(messages.decode(fields, ""), CREDENTIALS)
        assert creds is not None
        return messages.edited(fields, "", {}, {CREDENTIALS: messages.edited(creds, "", wanted, {})})

    return change


FORGERIES = {
    "user": Forgery(image=OF_A_USER, said="its process 1 runs as another user; its process 1 runs in another group"),
    "capabilities": Forgery(thread=_credentials(permitted=ALL, effective=ALL), said="its process 1 has further capabilities"),
    "privileges": Forgery(thread=_credentials(no_new=(0,)), said="its process 1 may gain privileges"),
    "filter": Forgery(
        thread=lambda fields: messages.edited(fields, "", {SECCOMP: (0,)}, {}), said="its process 1 has no seccomp filter"
    ),
}


@pytest.fixture
def site(lab: Lab) -> Iterator[fleet.Fleet]:
    made = fleet.Fleet(lab)
    yield made
    made.close()


def test_what_is_forged_is_refused_although_the_signature_is_good(site: fleet.Fleet) -> None:
    host, key = site.host("alpha", {"no-new-privileges": True}), secrets.token_bytes(32)
    for node, data in ((site.control, "reconciler"), (host.node, "agent")):
        node.write(f"/var/lib/perdure/{data}/keys/signing/main.key", key.hex(), mode=0o600)
    host.docker.cli("create", "--name", "plain", recipe.BASE_IMAGE)
    host.docker.cli("commit", "--change", "USER 1000:1000", "plain", OF_A_USER)
    site.commit({"platform.yaml": PLATFORM % f"{site.inside}/store", "train.yaml": fleet.job("train", COUNT, checkpoint=KEPT)})
    site.until("train", started(1))
    counted_on(site, "train", 20, 1)
    suspended = fleet.job("train", COUNT, checkpoint=KEPT, extra="state: Suspended")
    site.commit({"train.yaml": suspended})
    run = site.until("train", lambda run: run["phase"] == "suspended")

    config = images.config(str(site.outside / "store"), signing="main")
    depot = path.PathStore(config, store.Keys(signing={"main": key}), threads=0)
    taken, nonce = run["checkpoints"][-1]["digest"], lines(site, "train")[0][0]
    made = {name: forged(depot, taken, each, host) for name, each in FORGERIES.items()}
    unaltered = forged(depot, taken, Forgery(said=""), host)

    jobs = {
        name: fleet.job(name, COUNT, image=FORGERIES[name].image, extra=f"restore: {{from: {made[name]}}}") for name in made
    }
    jobs["same"] = fleet.job("same", COUNT, extra=f"restore: {{from: {unaltered}}}")
    site.commit({f"{name}.yaml": text for name, text in jobs.items()})
    assert {said for said, _ in counted_on(site, "same", 0, 1)} == {nonce}
    for name, each in FORGERIES.items():
        first = site.until(name, lambda run: run["attempts"] and run["attempts"][0]["ending"])["attempts"][0]
        assert first["failure"] == "StartFailed"
        assert f"the checkpoint is not what the manifest yields: {each.said}" in first["detail"]
        assert first["detail"].endswith("Give the job its old fields, restore another checkpoint, or rerun it")
    (one,) = [each for each in host.containers() if each["State"]["Running"]]
    assert one["Config"]["Labels"][container.JOB] == "same", "of no other has a single instruction run"


def forged(depot: path.PathStore, digest: str, how: Forgery, host: fleet.Host) -> str:
    """Writes a checkpoint of the same attempt that differs in this, signed like every other."""
    found = depot.open(digest)
    identity = host.docker.cli("image", "inspect", "--format", "{{.Id}}", how.image)
    sink = depot.writer(dataclasses.replace(found.meta, image=identity))
    content = images.read(found)
    for entry in found.entries():
        if entry.kind != "file":
            sink.file(entry)
            continue
        data = content[entry.path]
        if credentials.is_core(entry.path.rpartition("/")[2]):
            data = altered(data, how.thread)
        sink.file(dataclasses.replace(entry, size=len(data)))
        sink.extent(entry.path, 0, data)
    found.close()
    return sink.commit()[0].digest


def altered(core: bytes, change: Change) -> bytes:
    """A core image whose thread is another."""
    magics = (messages.COMMON_MAGIC, messages.CORE_MAGIC)
    (one,) = messages.messages(core, *magics, "")
    fields = messages.nested(messages.decode(one, ""), THREAD)
    assert fields is not None
    return messages.image(*magics, [messages.edited(one, "", {}, {THREAD: change(fields)})])
