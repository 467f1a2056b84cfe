"""Errors at every write, sync and rename (reliability T6 86): no room, no inode, over quota, broken disk."""

from __future__ import annotations

import contextlib
import errno

import pytest

from reconciler import errors
from reconciler.contracts import store
from reconciler.storage import path
from reconciler.storage.disk.fake import Fault
from tests.storage import faults, images
from tests.storage.images import RUN

pytestmark = pytest.mark.usefixtures("small_parts")

KINDS = {
    "full": (errno.ENOSPC, True),
    "full-for-a-moment": (errno.ENOSPC, False),
    "over-quota": (errno.EDQUOT, True),
    "broken": (errno.EIO, False),
    "broken-for-good": (errno.EIO, True),
    "read-only": (errno.EROFS, True),
}


@pytest.mark.parametrize(("kind", "threads"), [*((kind, 0) for kind in KINDS), ("full", 2), ("broken", 2)])
def test_while_an_image_is_written(kind: str, threads: int) -> None:
    number, lasting = KINDS[kind]
    disk, first = faults.with_first_image()

    def second(depot: path.PathStore) -> str:
        return images.put(depot, faults.NEW, images.meta(at=2), first.digest).digest

    start = disk.after_kill()
    for at in faults.operations(start.copy, second):
        disk = start.copy()
        disk.fault = Fault(at=at, error=number, lasting=lasting)
        with contextlib.suppress(errors.Unavailable):  # a pack that cannot be removed, say, is no failure
            images.put(faults.opened(disk, threads=threads), faults.NEW, images.meta(at=2), first.digest)
        faults.check(disk, first.digest)
        disk.fault = None
        faults.check(disk, first.digest)
        faults.check(disk.after_power_cut(at), first.digest)
        faults.check_clean(disk)


@pytest.mark.parametrize("kind", KINDS)
def test_while_images_are_pruned_or_swept(kind: str) -> None:
    number, lasting = KINDS[kind]
    disk, first = faults.with_first_image()
    second = images.put(faults.opened(disk), faults.NEW, images.meta(at=2), first.digest)

    def pruned(depot: path.PathStore) -> None:
        depot.prune(store.Prune(run=RUN, digests=(first.digest,), grace=0), 10)
        depot.sweep(0)

    start = disk.after_kill()
    for at in faults.operations(start.copy, pruned):
        disk = start.copy()
        faults.struck(disk, Fault(at=at, error=number, lasting=lasting), pruned)
        faults.check(disk, second.digest)
        faults.check(disk.after_power_cut(at), second.digest)
        faults.check_clean(disk)


@pytest.mark.parametrize("kind", ["full", "over-quota"])
def test_a_full_store_is_called_full_and_gets_its_room_back(kind: str) -> None:
    number, lasting = KINDS[kind]
    disk, first = faults.with_first_image()
    before = disk.names(f"runs/{RUN}/packs")

    def second(depot: path.PathStore) -> None:
        images.put(depot, faults.NEW, images.meta(at=2), first.digest)

    start = disk.after_kill()
    for at in faults.operations(start.copy, second):
        room = start.copy()
        found = faults.struck(room, Fault(at=at, error=number, lasting=lasting), second)
        named = ("rename", f"runs/{RUN}/checkpoints") in {(what, where.rsplit("/", 2)[0]) for what, where in room.trace}
        if found is not None and not named:
            assert "the store is full" in str(found)
            assert room.names(f"runs/{RUN}/packs") == before


def test_the_limit_of_the_store() -> None:
    disk, first = faults.with_first_image()
    assert faults.opened(disk).health().used_bytes is None
    used = sum(disk.size(f"runs/{RUN}/packs/{name}") for name in disk.names(f"runs/{RUN}/packs"))
    depot = path.PathStore(images.config(max_size=used + 200_000), store.Keys(), threads=0, open_disk=lambda: disk)
    assert (depot.health().free_bytes, depot.health().used_bytes) == (200_000, used)
    with pytest.raises(errors.Unavailable, match="maxSize"):
        images.put(depot, faults.NEW, images.meta(at=2))
    images.put(depot, faults.NEW | {"more": b""}, images.meta(at=2), first.digest)
    assert len(depot.list(RUN)) == 2


def test_health_says_what_is_wrong() -> None:
    disk, _ = faults.with_first_image()
    disk.fault = Fault(at=len(disk.trace) + 1, error=errno.ENOSPC)
    found = faults.opened(disk).health()
    assert not found.ok
    assert "full" in found.detail
    assert found.remedy.startswith("Free space")
