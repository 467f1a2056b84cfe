"""Scenarios on a disk that fails at a chosen operation, and what must hold on the disk found afterwards."""

from __future__ import annotations

from collections.abc import Callable

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import observed
from reconciler.storage import path
from reconciler.storage.disk.fake import FakeDisk, Fault, PowerCut
from tests.storage import images
from tests.storage.images import RUN

KEYS = store.Keys(signing={"seal": bytes(range(32))}, encryption={"lock": bytes(range(32, 64))})

OLD = {"state": images.noise("old", 60), "log": b"one\n" * 100}
NEW = {**OLD, "state": images.noise("new", 10) + OLD["state"][10 * images.UNIT :], "more": images.noise("more", 24)}
CONTENTS = (OLD, NEW)

Scenario = Callable[[path.PathStore], object]


def opened(disk: FakeDisk, *, sealed: bool = False, threads: int = 0, max_size: int | None = None) -> path.PathStore:
    named = {"signing": "seal", "encryption": "lock"} if sealed else {}
    return path.PathStore(images.config(max_size=max_size, **named), KEYS, threads=threads, open_disk=lambda: disk)


def with_first_image() -> tuple[FakeDisk, observed.Taken]:
    """A disk on which one image lies safely."""
    disk = FakeDisk()
    return disk, images.put(opened(disk), OLD, images.meta(at=1))


def operations(prepare: Callable[[], FakeDisk], scenario: Scenario) -> range:
    """Count what a scenario does to the disk: the numbers at which a fault can strike."""
    disk = prepare()
    before = len(disk.trace)
    scenario(opened(disk))
    return range(before + 1, len(disk.trace) + 1)


def struck(disk: FakeDisk, fault: Fault, scenario: Scenario) -> BaseException | None:
    """Run a scenario that meets a fault; return what came out of it. A fault is never an unexplained error."""
    disk.fault = fault
    try:
        scenario(opened(disk))
    except (PowerCut, errors.PerdureError) as error:
        return error
    finally:
        disk.fault = None
    return None


def check(disk: FakeDisk, *must: str) -> list[str]:
    """Check everything offered: complete, right, and the digests in `must` among it. Return what is offered."""
    depot = opened(disk)
    offered = [taken.digest for taken in depot.list(RUN)]
    assert set(must) <= set(offered)
    for digest in offered:
        verdict = depot.verify(digest)
        assert verdict.ok, verdict.problems
        assert images.content_of(depot, digest) in CONTENTS
    return offered


def check_clean(disk: FakeDisk) -> None:
    """After a sweep nothing is left that belongs to no image, and the store works."""
    depot = opened(disk)
    depot.sweep(0)
    again = images.put(depot, NEW, images.meta(at=99))
    named = set()
    for taken in depot.list(RUN):
        with depot.open(taken.digest) as image:
            named |= {pack.name for pack in (*image.body.packs, image.body.index)}
    assert set(disk.names(f"runs/{RUN}/packs")) == named
    assert disk.names(f"runs/{RUN}/writing") == []
    assert disk.names(f"runs/{RUN}/attempts") == ["1"]
    assert disk.names(f"runs/{RUN}/checkpoints") == sorted(taken.digest[7:] for taken in depot.list(RUN))
    check(disk, again.digest)
