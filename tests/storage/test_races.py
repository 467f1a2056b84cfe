"""Several at once (reliability T6 97, 98): writers of one attempt, prune against a restore, a writer, a sweep."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import spec
from reconciler.storage import manifest, path
from tests.storage import faults, images
from tests.storage.images import RUN


def test_two_writers_of_one_attempt_do_not_mix(tmp_path: Path) -> None:
    depot = path.PathStore(images.config(str(tmp_path / "store")), store.Keys())
    depot.claim(images.ALONE, "me")
    contents = [{"state": images.noise(number, 700)} for number in range(4)]
    taken: dict[int, str] = {}

    def write(number: int) -> None:
        sink = depot.writer(images.meta())
        images.fill(sink, contents[number])
        taken[number] = sink.commit()[0].digest

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, content in enumerate(contents):
        assert images.content_of(depot, taken[number]) == content
    assert len(depot.list(RUN)) == 4


def test_only_one_of_many_claims(tmp_path: Path) -> None:
    depot = path.PathStore(images.config(str(tmp_path / "store")), store.Keys())
    won: list[str] = []

    def claim(owner: str) -> None:
        if depot.claim(images.ALONE, owner):
            won.append(owner)

    threads = [threading.Thread(target=claim, args=(f"host-{number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_parent_stays_while_a_child_is_written() -> None:
    disk, first = faults.with_first_image()
    depot = faults.opened(disk)
    second = images.put(depot, {"state": b"2"}, images.meta(at=2))
    sink = depot.writer(images.meta(at=3), first.digest)
    assert depot.prune(store.Prune(run=RUN, digests=(first.digest,), grace=0), 10) == ()
    images.fill(sink, faults.NEW)
    third = sink.commit()[0]
    assert depot.prune(store.Prune(run=RUN, digests=(first.digest, second.digest), grace=0), 11) == (
        first.digest,
        second.digest,
    )
    assert images.content_of(depot, third.digest) == faults.NEW


def test_an_image_with_a_tombstone_lends_nothing_to_new_ones() -> None:
    disk, first = faults.with_first_image()
    depot = faults.opened(disk)
    images.put(depot, {"state": b"2"}, images.meta(at=2))
    depot.prune(store.Prune(run=RUN, digests=(first.digest,), grace=100), 10)
    sink = depot.writer(images.meta(at=3), first.digest)
    images.fill(sink, faults.NEW)
    assert sink.commit()[1].reused_units == 0


def test_a_person_can_pin_an_image_in_the_store() -> None:
    disk, first = faults.with_first_image()
    depot = faults.opened(disk)
    images.put(depot, {"state": b"2"}, images.meta(at=2))
    disk.put(f"runs/{RUN}/checkpoints/{first.digest[7:]}/pinned", b"")
    assert depot.prune(store.Prune(run=RUN, digests=(first.digest,), grace=0), 10) == ()
    assert depot.verify(first.digest).ok


def test_an_image_pinned_during_the_grace_stays() -> None:
    disk, first = faults.with_first_image()
    depot = faults.opened(disk)
    images.put(depot, {"state": b"2"}, images.meta(at=2))
    plan = store.Prune(run=RUN, digests=(first.digest,), grace=50)
    assert depot.prune(plan, 10) == ()
    pin = f"runs/{RUN}/checkpoints/{first.digest[7:]}/pinned"
    disk.put(pin, b"")
    assert depot.prune(plan, 100) == ()
    disk.unlink(pin)
    assert depot.prune(plan, 110) == ()  # the pin took the tombstone away: the grace begins anew
    assert depot.prune(plan, 160) == (first.digest,)


def test_a_dead_restore_holds_nothing() -> None:
    disk, first = faults.with_first_image()
    images.put(faults.opened(disk), {"state": b"2"}, images.meta(at=2))
    held = faults.opened(disk).open(first.digest)
    plan = store.Prune(run=RUN, digests=(first.digest,), grace=0)
    assert faults.opened(disk).prune(plan, 10) == ()
    assert faults.opened(disk.after_kill()).prune(plan, 11) == (first.digest,)
    held.close()


def test_opening_what_is_being_deleted_is_refused_or_whole() -> None:
    disk, first = faults.with_first_image()
    file = disk.open(f"runs/{RUN}/checkpoints/{first.digest[7:]}/manifest.json", write=True)
    assert file.lock(exclusive=True)
    with pytest.raises(errors.Refused, match="being pruned"):
        faults.opened(disk).open(first.digest)
    file.close()


def test_a_manifest_that_cannot_be_read_keeps_every_pack_of_its_run() -> None:
    disk, first = faults.with_first_image()
    depot = faults.opened(disk)
    second = images.put(depot, faults.NEW, images.meta(at=2), first.digest)
    before = disk.names(f"runs/{RUN}/packs")
    disk.corrupt(f"runs/{RUN}/checkpoints/{second.digest[7:]}/manifest.json", 30)
    third = images.put(depot, {"state": b"3"}, images.meta(at=3))
    assert depot.prune(store.Prune(run=RUN, digests=(first.digest,), grace=0), 10) == (first.digest,)
    depot.sweep(0)
    assert set(before) <= set(disk.names(f"runs/{RUN}/packs"))
    assert depot.verify(third.digest).ok


def test_an_empty_store_does_not_count_as_everything_deleted() -> None:
    disk, first = faults.with_first_image()
    empty = type(disk)()
    with pytest.raises(errors.Unavailable, match="empty"):
        faults.opened(empty).prune(store.Prune(run=RUN, digests=(first.digest,)), 10)


def test_a_chain_begins_anew_before_it_grows_too_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "DEEPEST", 3)
    disk, newest = faults.with_first_image()
    depot = faults.opened(disk)
    depths = []
    for number in range(2, 10):
        content = {**faults.OLD, "log": b"%d" % number}
        newest = images.put(depot, content, images.meta(at=number), newest.digest)
        with depot.open(newest.digest) as found:
            depths.append(found.body.depth)
            assert images.read(found) == content
    assert depths == [1, 2, 3, 0, 1, 2, 3, 0]


def test_an_old_attempt_cannot_publish_whatever_it_wrote() -> None:
    disk, first = faults.with_first_image()
    depot = faults.opened(disk)
    sink = depot.writer(images.meta(at=2), first.digest)
    images.fill(sink, faults.NEW)
    assert depot.claim(spec.AttemptRef(run=RUN, attempt=2), "elsewhere")
    with pytest.raises(errors.Busy):
        sink.commit()
    assert depot.list(RUN) == (first,)
    assert images.put(depot, faults.NEW, images.meta(2), first.digest).attempt == 2


def test_what_a_killed_writer_left_goes_before_the_next_one_writes() -> None:
    disk, first = faults.with_first_image()
    before = disk.names(f"runs/{RUN}/packs")
    left = faults.opened(disk).writer(images.meta(at=2), first.digest)
    images.fill(left, {"state": images.noise(2, 3)})
    assert disk.names(f"runs/{RUN}/packs") != before
    again = disk.after_kill()
    sink = faults.opened(again).writer(images.meta(at=3), first.digest)
    sink.abort()
    assert again.names(f"runs/{RUN}/packs") == before
    left.abort()
