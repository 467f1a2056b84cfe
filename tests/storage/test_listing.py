"""Listing a run that stands still reads nothing; whatever moves is seen at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.contracts import store
from reconciler.storage import listing, path
from reconciler.storage.disk.fake import FakeDisk, FakeFile
from reconciler.storage.disk.local import LocalDisk
from tests.storage import faults, images
from tests.storage.images import RUN


class Counting(FakeDisk):
    """Counts the files that are opened."""

    opened = 0

    def open(self, path: str, *, write: bool = False) -> FakeFile:
        self.opened += 1
        return super().open(path, write=write)


class Depot:
    """A store with an image, and a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.disk = Counting()
        self.store = path.PathStore(
            images.config(), store.Keys(), threads=0, open_disk=lambda: self.disk, monotonic=lambda: self.now
        )
        self.first = images.put(self.store, faults.OLD, images.meta(at=1))

    def settle(self) -> None:
        for _ in range(3):
            self.store.list(RUN)
            self.now += listing.SETTLED
        self.reads()

    def reads(self) -> int:
        """Return how many files were opened since the last call."""
        count, self.disk.opened = self.disk.opened, 0
        return count


@pytest.fixture
def depot() -> Depot:
    one = Depot()
    one.settle()
    return one


def test_what_stands_still_is_not_read_again(depot: Depot) -> None:
    assert depot.store.list(RUN) == (depot.first,)
    assert depot.store.list(images.OTHER_RUN) == ()
    assert depot.reads() == 0


def test_what_has_just_moved_is_read_until_it_has_settled() -> None:
    depot = Depot()
    for _ in range(3):
        depot.reads()
        assert depot.store.list(RUN) == (depot.first,)
        assert depot.reads() > 0
        depot.now += listing.SETTLED / 3


def test_a_new_image_is_seen_at_once(depot: Depot) -> None:
    second = images.put(depot.store, faults.NEW, images.meta(at=2), depot.first.digest)
    assert depot.store.list(RUN) == (depot.first, second)


def folder(depot: Depot) -> str:
    return f"runs/{RUN}/checkpoints/{depot.first.digest[7:]}"


LOSSES: dict[str, Callable[[Depot], object]] = {
    "its manifest": lambda depot: depot.disk.unlink(f"{folder(depot)}/manifest.json"),
    "a pack": lambda depot: depot.disk.unlink(f"runs/{RUN}/packs/{depot.disk.names(f'runs/{RUN}/packs')[0]}"),
}


@pytest.mark.parametrize("what", LOSSES)
def test_a_loss_is_seen_at_once(depot: Depot, what: str) -> None:
    LOSSES[what](depot)
    assert depot.store.list(RUN) == ()


def test_all_is_read_again_now_and_then(depot: Depot) -> None:
    depot.disk.corrupt(f"{folder(depot)}/manifest.json", 30)
    assert depot.store.list(RUN) == (depot.first,)  # a restore would find it; no name has moved
    depot.now += listing.STALE
    assert depot.store.list(RUN) == ()


def test_runs_that_nobody_asks_for_are_let_go(depot: Depot) -> None:
    known = listing.Listings(lambda: depot.now)
    known.get(depot.disk, "old", list, lambda _: ())
    for _ in range(4):
        depot.now += listing.STALE
        known.get(depot.disk, "new", list, lambda _: ())
    assert list(known._known) == ["new"]


def test_stamps_of_a_real_folder(tmp_path: Path) -> None:
    disk = LocalDisk(str(tmp_path))
    assert disk.stamp("there") == ()
    disk.folder("there")
    before = disk.stamp("there")
    assert before == disk.stamp("there") != ()
    disk.create("there/name").close()
    disk.unlink("there/name")
    disk.rmdir("there")
    disk.folder("there")
    assert disk.stamp("there") != before
    disk.close()
