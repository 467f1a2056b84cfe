"""The power goes at every operation in turn (reliability T6 87, T1 1): what is found is the old state or the new one, whole."""

from __future__ import annotations

import pytest

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import spec
from reconciler.storage import path
from reconciler.storage.disk.fake import FakeDisk, Fault, PowerCut
from tests.storage import faults, images
from tests.storage.images import RUN

pytestmark = pytest.mark.usefixtures("small_parts")

SEEDS = range(4)


def _first(depot: path.PathStore) -> str:
    return images.put(depot, faults.OLD, images.meta(at=1)).digest


def test_while_the_first_image_is_written() -> None:
    for at in faults.operations(FakeDisk, _first):
        disk = FakeDisk()
        assert isinstance(faults.struck(disk, Fault(at=at), _first), PowerCut)
        for seed in SEEDS:
            after = disk.after_power_cut(seed)
            faults.check(after)
            faults.check_clean(after)


def test_while_a_second_image_builds_upon_the_first() -> None:
    disk, first = faults.with_first_image()

    def second(depot: path.PathStore) -> str:
        return images.put(depot, faults.NEW, images.meta(at=2), first.digest).digest

    start = disk.after_kill()
    for at in faults.operations(start.copy, second):
        disk = start.copy()
        assert isinstance(faults.struck(disk, Fault(at=at), second), PowerCut)
        for seed in SEEDS:
            after = disk.after_power_cut(seed)
            faults.check(after, first.digest)
            faults.check_clean(after)


def test_after_a_commit_the_image_stays() -> None:
    disk, first = faults.with_first_image()
    for seed in range(20):
        assert faults.check(disk.after_power_cut(seed), first.digest) == [first.digest]


def test_while_images_are_pruned() -> None:
    disk, first = faults.with_first_image()
    second = images.put(faults.opened(disk), faults.NEW, images.meta(at=2), first.digest)

    def pruned(depot: path.PathStore) -> object:
        return depot.prune(store.Prune(run=RUN, digests=(first.digest,), grace=0), 10)

    start = disk.after_kill()
    for at in faults.operations(start.copy, pruned):
        disk = start.copy()
        assert isinstance(faults.struck(disk, Fault(at=at), pruned), PowerCut)
        for seed in SEEDS:
            after = disk.after_power_cut(seed)
            faults.check(after, second.digest)
            faults.check_clean(after)
            assert faults.opened(after).prune(store.Prune(run=RUN, digests=(first.digest,), grace=0), 11) == (first.digest,)
            faults.check(after, second.digest)


def test_while_a_crashed_writer_is_swept_away() -> None:
    disk, first = faults.with_first_image()
    middle = len(disk.trace) + 14
    faults.struck(disk, Fault(at=middle), lambda depot: images.put(depot, faults.NEW, images.meta(at=2), first.digest))
    start = disk.after_power_cut(1)
    for at in faults.operations(start.copy, lambda depot: depot.sweep(0)):
        disk = start.copy()
        assert isinstance(faults.struck(disk, Fault(at=at), lambda depot: depot.sweep(0)), PowerCut)
        for seed in SEEDS:
            after = disk.after_power_cut(seed)
            faults.check(after, first.digest)
            faults.check_clean(after)


def test_a_claim_told_is_a_claim_kept() -> None:
    ref = spec.AttemptRef(run=RUN, attempt=1)

    def claimed(depot: path.PathStore) -> bool:
        return depot.claim(ref, "host-a", "ours")

    points = faults.operations(FakeDisk, claimed)
    for at in range(points.start, points.stop + 1):
        disk = FakeDisk()
        told = faults.struck(disk, Fault(at=at), claimed) is None
        for seed in SEEDS:
            depot = faults.opened(disk.after_power_cut(seed))
            if told:
                with pytest.raises(errors.Refused, match="for another repository"):
                    depot.claim(ref, "host-a", "theirs")
            assert depot.claim(ref, "host-b") is False or not told
            assert depot.claim(ref, "host-a") or depot.claim(ref, "host-b")


@pytest.mark.parametrize("kill", [False, True], ids=["power", "kill"])
def test_log_bytes_told_durable_are_there(kill: bool) -> None:
    ref = spec.AttemptRef(run=RUN, attempt=1)
    parts = [bytes([65 + number]) * 400_000 for number in range(6)]
    whole = b"".join(parts)
    told = [0]

    def logged(depot: path.PathStore) -> None:
        offset = 0
        for part in parts:
            offset = depot.append_log(ref, offset, part)
            told[0] = offset

    for at in faults.operations(FakeDisk, logged):
        disk = FakeDisk()
        told[0] = 0
        assert isinstance(faults.struck(disk, Fault(at=at), logged), PowerCut)
        for seed in range(1) if kill else SEEDS:
            depot = faults.opened(disk.after_kill() if kill else disk.after_power_cut(seed))
            found = depot.read_log(ref, 0, len(whole))
            assert len(found) >= told[0]
            assert whole.startswith(found)
            offset = depot.append_log(ref, told[0], whole[told[0] :])
            assert offset == len(whole)
            assert depot.read_log(ref, 0, len(whole) + 1) == whole


def test_while_killed_and_not_cut() -> None:
    for at in faults.operations(FakeDisk, _first):
        disk = FakeDisk()
        faults.struck(disk, Fault(at=at), _first)
        after = disk.after_kill()
        faults.check(after)
        faults.check_clean(after)
