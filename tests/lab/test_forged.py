"""Checkpoints that somebody has altered who holds the key: what they would give a program, the manifest must give it."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from agent.runtime import pack, seccomp
from reconciler.contracts import store
from reconciler.core import container
from reconciler.engines.criu import credentials, messages
from reconciler.storage import path
from tests.engines.criu import stream
from tests.lab import fleet, installed, recipe
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
ALLOWED = b"\x06\x00\x00\x00" + (0x7FFF0000).to_bytes(4, "little")
"""A seccomp filter that lets everything pass (linux/filter.h)."""
OWN_RULES = 100 * 8
"""Bytes within which lies what runc sets before a profile's own rules, for each architecture in any order (its patchbpf)."""

Change = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgery:
    """What is altered of each thread, and what a refusal says of it."""

    thread: Change = lambda fields: fields
    filters: bytes | None = None
    """All of the image of filters."""
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


OTHER_THREADS = re.compile(r"(?<=its process 1)(, [0-9]+)+")


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
    allowing = forged(depot, taken, Forgery(filters=stream.seccomp((ALLOWED, None, seccomp.SYNC_FLAG)), said=""), host)

    jobs = {
        name: fleet.job(name, COUNT, image=FORGERIES[name].image, extra=f"restore: {{from: {made[name]}}}") for name in made
    }
    for name, digest in (("same", unaltered), ("allowing", allowing)):
        jobs[name] = fleet.job(name, COUNT, extra=f"restore: {{from: {digest}}}")
    site.commit({f"{name}.yaml": text for name, text in jobs.items()})
    assert {said for said, _ in counted_on(site, "same", 0, 1)} == {nonce}
    for name, each in FORGERIES.items():
        first = site.until(name, lambda run: run["attempts"] and run["attempts"][0]["ending"])["attempts"][0]
        assert first["failure"] == "StartFailed"
        detail = OTHER_THREADS.sub("", first["detail"])
        assert f"the checkpoint is not what the manifest yields: {each.said}" in detail
        assert first["detail"].endswith("Give the job its old fields, restore another checkpoint, or rerun it")
    counted_on(site, "allowing", 0, 1)
    run = {each["Config"]["Labels"][container.JOB]: each for each in host.containers() if each["State"]["Running"]}
    assert run.keys() == {"same", "allowing"}, "of no other has a single instruction run"
    host.docker.cli("run", "--detach", "--name", "fresh", recipe.BASE_IMAGE, "sleep", "600")
    fresh = json.loads(host.docker.cli("inspect", "fresh"))[0]
    told = [filter_of(host, each["State"]["Pid"]) for each in (*run.values(), fresh)]
    assert len({len(one) for one in told}) == 1
    assert len({one[OWN_RULES:] for one in told}) == 1, "what a program may ask of the kernel is the manifest's"
    assert len(told[0]) > 2 * OWN_RULES


def filter_of(host: fleet.Host, pid: int) -> bytes:
    """The seccomp filter of a process, told by the kernel of its node."""
    library = host.node.out("sh", "-c", f"ls {installed.LIBRARY}/*/{pack.LIBRARY}").split()[0]
    told = f"from agent.runtime import system; print(system.seccomp_filter({pid}).hex())"
    text = f"import sys; sys.path.insert(0, {library!r}); {told}"
    return bytes.fromhex(host.node.out("python3", "-c", text))


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
        if how.filters is not None and entry.path.endswith("/seccomp.img"):
            data = how.filters
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
