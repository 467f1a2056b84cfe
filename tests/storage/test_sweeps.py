"""A sweep beside those who live: at each look and each change that one makes, the other comes between, and nobody is harmed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import observed, spec
from reconciler.storage import layout, leases, path, prune
from reconciler.storage.disk import Disk
from reconciler.storage.disk.fake import FakeDisk
from tests.storage import faults, images
from tests.storage.images import RUN

SECOND = images.meta(at=2)
Work = Callable[[path.PathStore], object]


class Meeting(FakeDisk):
    """A disk on which somebody else comes between, just before the touch of a given number. Each touch is one step."""

    def __init__(self, other: Work) -> None:
        super().__init__()
        self._counting = threading.RLock()  # type: ignore[assignment]
        self._other = other
        self.touches = 0
        self.at = 0
        self._busy = False

    def alive(self) -> None:
        if not self._busy:
            self.touches += 1
            if self.touches == self.at:
                self._busy = True
                self._other(faults.opened(self))
                self._busy = False
        super().alive()

    def folder(self, path: str) -> None:
        self.alive()
        super().folder(path)

    def step(self, operation: str, path: str) -> None:
        busy, self._busy = self._busy, True  # its touch has begun: nobody comes between any more
        try:
            super().step(operation, path)
        finally:
            self._busy = busy


def meetings(start: Callable[[], FakeDisk], work: Work, other: Work) -> list[Meeting]:
    """Do `work` once for each of its touches, with `other` in between; return the disks afterwards."""

    def met(at: int) -> Meeting:
        disk = Meeting(other)
        disk._root = start()._root
        disk.at = at
        work(faults.opened(disk))
        return disk

    return [met(at) for at in range(1, met(0).touches + 1)]


def swept(depot: path.PathStore) -> None:
    depot.sweep(0)


def first() -> FakeDisk:
    return faults.with_first_image()[0]


def begun() -> FakeDisk:
    """A disk with one image on which a writer of the second was killed."""
    disk, one = faults.with_first_image()
    depot = faults.opened(disk)
    images.fill(depot.writer(SECOND, one.digest), faults.NEW)
    return disk.after_kill()


def test_a_sweep_between_any_two_touches_of_a_writer() -> None:
    """Its claim, its lock, its packs, its manifest: all of them survive."""

    def written(depot: path.PathStore) -> observed.Taken:
        parent = depot.list(RUN)[0].digest
        return images.put(depot, faults.NEW, SECOND, parent)

    disks = meetings(first, written, swept)
    assert len(disks) > 50
    for disk in disks:
        assert len(faults.check(disk)) == 2
        faults.check_clean(disk)


def test_a_sweep_between_any_two_touches_of_a_first_claim() -> None:
    ref = spec.AttemptRef(run=RUN, attempt=1)
    for disk in meetings(FakeDisk, lambda depot: depot.claim(ref, "me"), swept):
        assert faults.opened(disk).claim(ref, "me")
        assert not faults.opened(disk).claim(ref, "you")
        assert disk.names(f"runs/{RUN}/attempts") == ["1"]


def test_a_sweep_while_health_is_asked() -> None:
    for disk in meetings(first, lambda depot: assert_well(depot.health()), swept):
        assert disk.names("") == ["runs"]


def assert_well(health: store.Health) -> None:
    assert health.ok, health.detail


def test_a_writer_that_begins_between_any_two_touches_of_a_sweep() -> None:
    """It is in the middle of its work when the sweep goes on, and publishes afterwards."""
    sinks: list[store.Sink] = []

    def begins(depot: path.PathStore) -> None:
        sink = depot.writer(images.meta(at=3), depot.list(RUN)[0].digest)
        images.fill(sink, faults.NEW)
        sinks.append(sink)

    disks = meetings(begun, swept, begins)
    assert len(disks) == len(sinks) > 15
    for disk, sink in zip(disks, sinks, strict=True):
        sink.commit()
        assert len(faults.check(disk)) == 2
        faults.check_clean(disk)


def test_a_writer_that_publishes_between_any_two_touches_of_a_sweep() -> None:
    def publishes(depot: path.PathStore) -> None:
        images.put(depot, faults.NEW, images.meta(at=3), depot.list(RUN)[0].digest)

    for disk in meetings(begun, swept, publishes):
        assert len(faults.check(disk)) == 2
        faults.check_clean(disk)


def test_a_prune_and_another_sweep_between_any_two_touches_of_a_sweep() -> None:
    def two() -> FakeDisk:
        disk, one = faults.with_first_image()
        images.put(faults.opened(disk), faults.NEW, SECOND, one.digest)
        return disk

    def pruned(depot: path.PathStore) -> None:
        depot.prune(store.Prune(run=RUN, digests=(depot.list(RUN)[0].digest,), grace=0), 10)
        depot.sweep(0)

    for disk in meetings(two, swept, pruned):
        assert len(faults.check(disk)) == 1
        faults.check_clean(disk)


def test_only_the_runs_that_are_named() -> None:
    disk = begun()
    before = disk.names(f"runs/{RUN}/packs")
    faults.opened(disk).sweep(0, ())
    faults.opened(disk).sweep(0, [images.OTHER_RUN])
    assert disk.names(f"runs/{RUN}/packs") == before
    faults.opened(disk).sweep(0, [RUN])
    assert len(disk.names(f"runs/{RUN}/packs")) < len(before)


def test_a_writer_that_locks_its_name_after_it_was_looked_at_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its name a second sweep would take its packs for nobody's."""
    disk, looked = FakeDisk(), leases.writers
    place = f"{layout.writing(RUN)}/{'ab' * 8}"
    disk.folder(layout.writing(RUN))
    late = disk.create(place)

    def then_locked(disk: Disk, run: str) -> leases.Writers:
        found = looked(disk, run)
        assert found.dead
        assert late.lock(exclusive=True)
        assert late.linked()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(leases, "writers", then_locked)
        prune.collect(disk, RUN)
    assert late.linked()
    late.close()
    prune.collect(disk, RUN)
    assert not disk.names(layout.writing(RUN))


def test_sweeps_without_end_beside_writers_on_a_real_disk(tmp_path: Path) -> None:
    depot = path.PathStore(images.config(str(tmp_path / "store")), store.Keys())
    depot.claim(images.ALONE, "me")
    over, wrong = threading.Event(), list[errors.PerdureError]()

    def sweep() -> None:
        while not over.is_set():
            try:
                depot.sweep(0)
            except errors.PerdureError as error:
                wrong.append(error)

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(12):
            taken = images.put(depot, {"state": images.noise(number, 40)}, images.meta(at=float(number + 1)))
            assert images.content_of(depot, taken.digest) == {"state": images.noise(number, 40)}
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert all(depot.verify(taken.digest).ok for taken in depot.list(RUN))
    assert len(depot.list(RUN)) == 12
