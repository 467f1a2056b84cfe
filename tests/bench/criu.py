"""A container's memory: durable and verified in a store, against what runc and CRIU do by themselves. Needs the lab (root)."""

from __future__ import annotations

import contextlib
import mmap
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests import conditions
from tests.bench import figures, image_data
from tests.bench.options import Options
from tests.lab.criu_rig import PROGRAMS, Container, Rig
from tests.lab.lab import Lab
from tests.lab.recipe import BASE_IMAGE

REQUIRES = ()
ROUNDS, FEW = 5, 3
LINK = "100mibps"
SHARE = 0.05
KINDS = ("clustered", "scattered")
PEER = "/srv/lab/peer"


def measure(options: Options) -> Iterator[figures.Figure]:
    """First images of repeated pages, then images on top of one, then restores."""
    with Lab() as lab:
        rig = Rig(lab)
        one = _holding(rig, options, "repeated")
        _warm(one)
        yield _first(one, options)
        yield _going_on(one, options)
        yield _restored(one, options)
        yield _over_a_link(lab, one, options)
        yield _podman(one, options)
        rig.clean()
        yield from _again(rig, options)
        rig.clean()
        yield _layer(rig, options)


def _holding(rig: Rig, options: Options, kind: str) -> Container:
    """A container with generated data in memory."""
    _generate(rig, options, kind)
    volume = {"destination": "/data", "type": "bind", "source": "/srv/lab/data", "options": ["rbind", "ro"]}
    one = rig.start("memory.py", f"/data/{kind}", mounts=[volume])
    conditions.eventually(lambda: one.said()["holds"], 600)
    return one


def _generate(rig: Rig, options: Options, kind: str) -> None:
    folder = rig.lab.shared / "data"
    folder.mkdir(exist_ok=True)
    seed, size = options.seed, options.size
    blocks: dict[str, Callable[[], Iterator[bytes]]] = {
        "unique": lambda: image_data.unique(seed, size),
        "repeated": lambda: image_data.repeated(seed, size),
        "clustered": lambda: image_data.changed(seed, size, share=SHARE, scattered=False),
        "scattered": lambda: image_data.changed(seed, size, share=SHARE, scattered=True),
    }
    image_data.write(folder / kind, blocks[kind]())


def _warm(one: Container) -> None:
    """Once each, unmeasured: the first touch of the machine's memory is the dearest."""
    _checkpoint(one)
    _ending(one)


def _first(one: Container, options: Options) -> figures.Figure:
    ours, peer = [], []
    for _ in range(options.times(ROUNDS)):
        ours.append(_ending(one))
        peer.append(_checkpoint(one))
    seconds = [one["durable"] for one in ours]
    return figures.Figure(
        work=f"capture a container of {_gib(options.size)}, three quarters repeated pages: frozen to durable and verified",
        series=(
            figures.Series(what="perdure", unit="s", values=seconds),
            figures.Series(what="runc checkpoint, with fsync", unit="s", values=[one["seconds"] for one in peer]),
            figures.ratios("time, against runc checkpoint", seconds, [one["seconds"] for one in peer], figures.at_most(2.2)),
            figures.Series(
                what="stored, of runc's bytes",
                unit="%",
                values=[100 * one["stored"] / other["bytes"] for one, other in zip(ours, peer, strict=True)],
                bound=figures.at_most(27),
            ),
            figures.Series(
                what="memory of the receiver", unit="MB", values=[one["peak"] / 1e6 for one in ours], bound=figures.at_most(250)
            ),
        ),
    )


def _going_on(one: Container, options: Options) -> figures.Figure:
    ours, peer = [], []
    for _ in range(options.times(ROUNDS)):
        ours.append(_take(one)["frozen"])
        peer.append(one.rig.ask("null", name=one.name)["frozen"])
    return figures.Figure(
        work=f"the same, and the program goes on: how long it stands still ({_gib(options.size)})",
        series=(
            figures.Series(what="perdure", unit="s", values=ours),
            figures.Series(what="CRIU into a receiver that keeps nothing", unit="s", values=peer),
            figures.ratios("time, against that", ours, peer, figures.at_most(1.8)),
        ),
    )


def _again(rig: Rig, options: Options) -> Iterator[figures.Figure]:
    one = _holding(rig, options, "unique")
    first = [_ending(one) for _ in range(min(options.times(ROUNDS), 3))]
    base = _take(one)["digest"]
    for kind, limit in zip(KINDS, (8, 12), strict=True):
        _generate(rig, options, kind)
        _load(one, kind)
        ours = [_ending(one, parent=base) for _ in range(options.times(ROUNDS))]
        yield figures.Figure(
            work=f"capture it again, 5 % of its 4 KiB pages changed: {kind} ({_gib(options.size)})",
            series=(
                figures.Series(
                    what="stored, of the first's bytes",
                    unit="%",
                    values=[100 * each["stored"] / first[-1]["stored"] for each in ours],
                    bound=figures.at_most(limit),
                ),
                figures.Series(what="perdure", unit="s", values=[each["durable"] for each in ours]),
                figures.Series(
                    what="time, of the first's",
                    unit="×",
                    values=[each["durable"] / min(each["durable"] for each in first) for each in ours],
                    bound=figures.at_most(0.75),
                ),
            ),
        )


def _restored(one: Container, options: Options) -> figures.Figure:
    digest = _take(one)["digest"]
    ours, peer = [], []
    for _ in range(options.times(ROUNDS)):
        _find_memory(options.size)
        with _gone(_continued(one, digest)) as seconds:
            ours.append(seconds)
        _find_memory(options.size)
        with _gone(_runc_restored(one)) as seconds:
            peer.append(seconds)
    return figures.Figure(
        work=f"restore a container of {_gib(options.size)} to its first instruction",
        series=(
            figures.Series(what="perdure, from the store", unit="s", values=ours),
            figures.Series(what="runc restore, from its own image", unit="s", values=peer),
            figures.ratios("time, against runc restore", ours, peer, figures.at_most(2.5)),
        ),
        note="before each, as much memory is used once as both need: a virtual machine's own host gives it late",
    )


def _over_a_link(lab: Lab, one: Container, options: Options) -> figures.Figure:
    node, server = one.rig.node, lab.node()
    far = lab.remote_store("far", server, [node])
    ours, peer = [], []
    lab.limit_link(server, LINK)
    try:
        for _ in range(options.times(FEW)):
            ours.append(_ending(one, store=far.path)["durable"])
            seconds = _checkpoint(one)["seconds"]
            began = time.perf_counter()
            node.run(["rm", "-rf", f"{far.path}/peer"])
            copy = 'cp -r "$0" "$1" && find "$1" -type f -exec sync {} +'
            node.run(["/bin/sh", "-c", copy, f"{PEER}/image", f"{far.path}/peer"], timeout=900)
            peer.append(seconds + time.perf_counter() - began)
    finally:
        lab.limit_link(server, "")
    return figures.Figure(
        work=f"the same ({_gib(options.size)}), into a store behind a link of 100 MiB/s",
        series=(
            figures.Series(what="perdure", unit="s", values=ours),
            figures.Series(what="runc checkpoint, then cp with fsync", unit="s", values=peer),
            figures.ratios("times faster", peer, ours, figures.at_least(3.5)),
        ),
        note="the store and the copy lie on sshfs; both pay for its encryption",
    )


def _podman(one: Container, options: Options) -> figures.Figure:
    """The same program under podman, exported as podman does by default, and made durable."""
    node = one.rig.node
    with one.rig.lab.cache.image(BASE_IMAGE).open("rb") as archive:
        said, _ = (loading := node.popen(["podman", "load", "--quiet"], stdin=archive)).communicate(timeout=300)
    assert loading.returncode == 0, said
    podman = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]
    volume = ["--volume", "/srv/lab/data:/data:ro", "--network", "none", "--name", "peer", "--detach"]
    program = (PROGRAMS / "memory.py.txt").read_text()
    node.run([*podman, "run", *volume, BASE_IMAGE, "python3", "-c", program, "/data/repeated"])
    look = [*podman, "exec", "peer", "cat", "/said"]
    conditions.eventually(lambda: "repeated" in node.run(look, check=False).stdout, 600, interval=0.5)
    export = [*podman, "container", "checkpoint", "--leave-running", "--export", f"{PEER}.tar.zst", "peer"]
    ours, peer = [], []
    for _ in range(options.times(FEW)):
        ours.append(_ending(one)["durable"])
        began = time.perf_counter()
        node.run(["/bin/sh", "-c", '"$@" && sync "$0"', f"{PEER}.tar.zst", *export], timeout=900)
        peer.append(time.perf_counter() - began)
    node.run([*podman, "rm", "--force", "--time", "0", "peer"])
    node.run(["rm", f"{PEER}.tar.zst"])
    return figures.Figure(
        work=f"the same ({_gib(options.size)}), against podman container checkpoint --export",
        series=(
            figures.Series(what="perdure", unit="s", values=ours),
            figures.Series(what="podman, with fsync", unit="s", values=peer),
            figures.ratios("times faster", peer, ours, figures.at_least(2)),
        ),
    )


def _layer(rig: Rig, options: Options) -> figures.Figure:
    size = options.size * 5 // 2
    large, empty = (rig.start("layer.py", str(mib)) for mib in (size >> 20, 0))
    conditions.eventually(lambda: large.said()["n"] > 1 and empty.said(), 900)
    _take(large)
    ours, peer = [], []
    for _ in range(options.times(FEW)):
        ours.append(_take(large)["frozen"])
        peer.append(_take(empty)["frozen"])
    return figures.Figure(
        work=f"a writable layer of {_gib(size)}, a hundredth of it changed since it was copied ahead",
        series=(
            figures.Series(what="stands still", unit="s", values=ours),
            figures.Series(what="without a layer", unit="s", values=peer),
            figures.Series(
                what="longer by",
                unit="s",
                values=[max(one - other, 0.001) for one, other in zip(ours, peer, strict=True)],
                bound=figures.at_most(1),
            ),
        ),
    )


def _take(one: Container, **asked: Any) -> dict[str, Any]:
    found = one.take(**asked)
    if "digest" not in found:
        raise AssertionError(found["failed"])
    return found


def _ending(one: Container, **asked: Any) -> dict[str, Any]:
    """As when the program would end after it; it is spared once all is measured."""
    found = one.take(stop=True, fault="raise at committed", **asked)
    if "durable" not in found:
        raise AssertionError(found["failed"])
    return found


def _find_memory(size: int) -> None:
    """Use memory once. What a virtual machine has not used for a while its host has to find again, page by page.

    Of a checkpoint of `size` bytes there are three at most: laid out, in the program, and what a peer keeps of its image. The
    kernel takes any free page for them, so that more than that has to have been used.
    """
    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) * 1024
    size = min(5 * size, available // 4 * 3)
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def _load(one: Container, kind: str) -> None:
    (one.merged / "load").write_text(f"/data/{kind}")
    conditions.eventually(lambda: one.said()["holds"] == f"/data/{kind}", 600)


def _checkpoint(one: Container) -> dict[str, Any]:
    """What runc does by itself, made durable. The image stays for `_runc_restored`."""
    node = one.rig.node
    node.run(["rm", "-rf", PEER])
    node.run(["mkdir", PEER])
    command = ["runc", "--root", "/run/runc", "checkpoint", "--leave-running", "--tcp-established", "--file-locks"]
    script = '"$@" && find "$0" -exec sync {} +'
    began = time.perf_counter()
    node.run(
        ["/bin/sh", "-c", script, PEER, *command, "--image-path", f"{PEER}/image", "--work-path", f"{PEER}/work", one.name]
    )
    return {"seconds": time.perf_counter() - began, "bytes": int(node.out("du", "-sb", f"{PEER}/image").split()[0])}


def _continued(one: Container, digest: str) -> tuple[Container, float]:
    there = Container(one.rig, one.asked, one.run, one.attempt + 1)
    answer = one.rig.ask("restore", name=there.name, store=one.rig.store, digest=digest, **one.asked)
    return there, answer["seconds"]


def _runc_restored(one: Container) -> tuple[Container, float]:
    there = Container(one.rig, one.asked, secrets.token_hex(16))
    answer = one.rig.ask("restore_by_runc", name=there.name, image=f"{PEER}/image", upper=str(one.name), **one.asked)
    return there, answer["seconds"]


@contextlib.contextmanager
def _gone(started: tuple[Container, float]) -> Iterator[float]:
    """Removes a container once it has shown that it runs."""
    container, seconds = started
    container.goes_on()
    yield seconds
    container.rig.ask("remove", name=container.name)


def _gib(size: int) -> str:
    return f"{size >> 30} GiB" if size % (1 << 30) == 0 else f"{size >> 20} MiB"
