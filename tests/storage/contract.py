"""What every store promises. `test_contract.py` runs this against each of them."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import spec
from tests.storage import images
from tests.storage.images import RUN, UNIT

FIRST = spec.AttemptRef(run=RUN, attempt=1)
SECOND = spec.AttemptRef(run=RUN, attempt=2)


class Claims:
    def test_a_number_has_one_owner(self, depot: store.Store) -> None:
        assert depot.claim(FIRST, "host-a")
        assert not depot.claim(FIRST, "host-b")
        assert depot.claim(FIRST, "host-a")

    def test_numbers_are_claimed_one_by_one(self, depot: store.Store) -> None:
        assert depot.claim(FIRST, "host-a")
        assert depot.claim(SECOND, "host-b")
        assert list(depot.runs()) == [RUN]

    def test_a_number_below_another_is_nobodys_any_more(self, depot: store.Store) -> None:
        assert depot.claim(SECOND, "host-b")
        assert not depot.claim(FIRST, "host-a")
        assert depot.claim(SECOND, "host-b")

    def test_a_run_belongs_to_the_ledger_of_its_first_claim(self, depot: store.Store) -> None:
        """Two repositories with one instance name give equal jobs equal runs: one of them is told, before it takes anything."""
        assert depot.claim(FIRST, "host-a", "ours")
        with pytest.raises(errors.Refused, match="for another repository"):
            depot.claim(SECOND, "host-b", "theirs")
        assert depot.claim(FIRST, "host-a", "ours")
        assert depot.claim(SECOND, "host-a", "ours")

    def test_a_run_of_before_ledgers_had_names_is_claimed_by_its_own(self, depot: store.Store) -> None:
        assert depot.claim(FIRST, "host-a")
        assert depot.claim(SECOND, "host-a", "ours")

    def test_nothing_is_written_under_an_unclaimed_number(self, depot: store.Store) -> None:
        with pytest.raises(errors.Refused, match="not claimed"):
            depot.writer(images.meta())

    def test_a_superseded_attempt_cannot_begin(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        depot.claim(SECOND, "b")
        with pytest.raises(errors.Busy, match="superseded by attempt 2"):
            depot.writer(images.meta(1))

    def test_an_attempt_superseded_meanwhile_does_not_publish(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(images.meta(1))
        images.fill(sink, {"state": images.noise(1, 3)})
        depot.claim(SECOND, "b")
        with pytest.raises(errors.Busy, match="superseded"):
            sink.commit()
        assert depot.list(RUN) == ()


class Images:
    def test_what_was_written_is_read(self, depot: store.Store) -> None:
        content = {"weights": images.noise(1, 300), "deep/er/log.txt": b"step 1\n", "empty": b"", "zeros": bytes(5 * UNIT + 7)}
        taken = images.put(depot, content)
        assert images.content_of(depot, taken.digest) == content
        assert depot.verify(taken.digest).ok

    def test_what_is_known_about_it(self, depot: store.Store) -> None:
        taken = images.put(depot, {"state": images.noise(1, 2)}, images.meta(3, at=12.5, purpose=spec.Purpose.DEMAND))
        assert (taken.attempt, taken.taken_at, taken.purpose, taken.step) == (3, 12.5, spec.Purpose.DEMAND, 30)
        assert taken.logical_bytes == 2 * UNIT
        assert depot.list(RUN) == (taken,)
        image = depot.open(taken.digest)
        assert image.digest == taken.digest
        assert image.meta.job == "train"
        image.close()

    def test_what_is_learned_while_it_is_captured_is_told_too(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(dataclasses.replace(images.meta(1), processor="x86_64 9:20"))
        images.fill(sink, {"state": images.noise(1, 2)})
        taken, _ = sink.commit(77)
        assert (taken.step, taken.processor) == (77, "x86_64 9:20")
        assert depot.list(RUN) == (taken,)
        image = depot.open(taken.digest)
        assert (image.meta.step, image.meta.processor) == (77, "x86_64 9:20")
        image.close()

    def test_the_same_content_twice_is_two_checkpoints(self, depot: store.Store) -> None:
        content = {"state": images.noise(1, 1)}
        assert images.put(depot, content).digest != images.put(depot, content).digest

    def test_gaps_are_zeros_and_not_stored(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(images.meta())
        sink.file(store.FileEntry(path="sparse", size=1 << 40))
        sink.extent("sparse", 7 * UNIT, b"x" * UNIT)
        sink.extent("sparse", (1 << 40) - UNIT, memoryview(b"y" * UNIT))
        taken, usage = sink.commit()
        assert usage.new_units == 2
        image = depot.open(taken.digest)
        found = {offset: data for offset, data in image.extents("sparse") if data.strip(b"\0")}
        assert found == {7 * UNIT: b"x" * UNIT, (1 << 40) - UNIT: b"y" * UNIT}
        image.close()

    def test_files_may_take_turns(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(images.meta())
        data = {name: images.noise(name, 40) for name in ("a", "b")}
        for name in data:
            sink.file(store.FileEntry(path=name, size=40 * UNIT))
        for unit in range(40):
            for name in data:
                sink.extent(name, unit * UNIT, data[name][unit * UNIT : (unit + 1) * UNIT])
        assert images.content_of(depot, sink.commit()[0].digest) == data

    def test_a_buffer_may_be_used_again(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(images.meta())
        sink.file(store.FileEntry(path="a", size=1024 * UNIT))
        buffer = bytearray(256 * UNIT)
        for part in range(4):
            buffer[:] = bytes([part + 1]) * len(buffer)
            sink.extent("a", part * len(buffer), memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        found = images.content_of(depot, sink.commit()[0].digest)["a"]
        assert [found[part * 256 * UNIT] for part in range(4)] == [1, 2, 3, 4]

    @pytest.mark.parametrize(
        ("offset", "length"),
        [(1, UNIT), (0, 100), (UNIT, 3 * UNIT), (-UNIT, UNIT), (4 * UNIT, UNIT)],
        ids=["unaligned", "short", "too-long", "negative", "outside"],
    )
    def test_extents_that_cannot_be(self, depot: store.Store, offset: int, length: int) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(images.meta())
        sink.file(store.FileEntry(path="a", size=3 * UNIT))
        with pytest.raises(errors.InvalidInput):
            sink.extent("a", offset, bytes(length))
        sink.abort()

    def test_extents_come_in_order_and_for_announced_files(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(images.meta())
        sink.file(store.FileEntry(path="a", size=3 * UNIT))
        sink.extent("a", UNIT, b"1" * UNIT)
        with pytest.raises(errors.InvalidInput):
            sink.extent("a", 0, b"0" * UNIT)
        with pytest.raises(errors.InvalidInput):
            sink.extent("b", 0, b"0" * UNIT)
        with pytest.raises(errors.InvalidInput):
            sink.file(store.FileEntry(path="a", size=UNIT))
        sink.abort()

    def test_an_aborted_image_was_never_there(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(images.meta())
        images.fill(sink, {"state": images.noise(1, 600)})
        sink.abort()
        sink.abort()
        assert depot.list(RUN) == ()
        with pytest.raises(errors.Refused):
            sink.commit()

    def test_a_committed_sink_takes_no_more(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(images.meta())
        taken, _ = sink.commit()
        sink.abort()
        with pytest.raises(errors.Refused):
            sink.file(store.FileEntry(path="late"))
        assert depot.list(RUN) == (taken,)

    def test_progress_grows_to_the_end(self, depot: store.Store) -> None:
        depot.claim(FIRST, "a")
        seen: list[int] = []
        sink = depot.writer(images.meta(), progress=lambda done, _: seen.append(done))
        images.fill(sink, {"state": images.noise(1, 200)})
        taken, _ = sink.commit()
        assert seen == sorted(seen)
        assert seen[-1] == 200 * UNIT
        checked: list[tuple[int, int | None]] = []
        depot.verify(taken.digest, lambda done, whole: checked.append((done, whole)))
        assert checked[-1] == (200 * UNIT, 200 * UNIT)

    def test_unknown_digests(self, depot: store.Store) -> None:
        missing = "sha256:" + "0" * 64
        with pytest.raises(errors.Refused, match="no such checkpoint"):
            depot.open(missing)
        assert not depot.verify(missing).ok

    def test_they_are_listed_oldest_first(self, depot: store.Store) -> None:
        first = images.put(depot, {"a": b"1"}, images.meta(1, at=50))
        second = images.put(depot, {"a": b"2"}, images.meta(2, at=20))
        third = images.put(depot, {"a": b"3"}, images.meta(2, at=30))
        assert depot.list(RUN) == (first, second, third)
        assert depot.list(images.OTHER_RUN) == ()


class Parents:
    def test_unchanged_units_are_not_stored_again(self, depot: store.Store) -> None:
        old = images.noise(1, 600)
        parent = images.put(depot, {"state": old})
        new = old[: 100 * UNIT] + images.noise(2, 7) + old[107 * UNIT :]
        sink = depot.writer(images.meta(at=2), parent.digest)
        images.fill(sink, {"state": new})
        taken, usage = sink.commit()
        assert (usage.new_units, usage.reused_units) == (7, 593)
        assert taken.parent == parent.digest
        assert images.content_of(depot, taken.digest) == {"state": new}
        assert images.content_of(depot, parent.digest) == {"state": old}

    def test_of_another_tenant_is_refused(self, depot: store.Store) -> None:
        theirs = images.put(depot, {"a": b"secret"}, images.meta(run=images.OTHER_RUN, tenant="others"))
        depot.claim(FIRST, "a")
        with pytest.raises(errors.Refused, match="another tenant"):
            depot.writer(images.meta(), theirs.digest)

    def test_of_another_run_or_gone_costs_room_only(self, depot: store.Store) -> None:
        data = images.noise(1, 9)
        other = images.put(depot, {"a": data}, images.meta(run=images.OTHER_RUN))
        for parent in (other.digest, "sha256:" + "0" * 64):
            depot.claim(FIRST, "a")
            sink = depot.writer(images.meta(), parent)
            images.fill(sink, {"a": data})
            taken, usage = sink.commit()
            assert (usage.new_units, usage.reused_units, taken.parent) == (9, 0, parent)


class Pruning:
    def test_is_two_phased(self, depot: store.Store) -> None:
        old = images.put(depot, {"a": images.noise(1, 9)}, images.meta(at=1))
        new = images.put(depot, {"a": images.noise(2, 9)}, images.meta(at=2))
        plan = store.Prune(run=RUN, digests=(old.digest,), grace=100)
        assert depot.prune(plan, 1000) == ()
        assert depot.verify(old.digest).ok
        assert depot.prune(plan, 1099) == ()
        assert depot.prune(plan, 1100) == (old.digest,)
        assert depot.list(RUN) == (new,)
        assert depot.prune(plan, 1200) == (old.digest,)  # gone is gone, however often it is asked

    def test_a_clock_that_went_back_deletes_nothing_early(self, depot: store.Store) -> None:
        old = images.put(depot, {"a": b"1"}, images.meta(at=1))
        images.put(depot, {"a": b"2"}, images.meta(at=2))
        plan = store.Prune(run=RUN, digests=(old.digest,), grace=100)
        depot.prune(plan, 5000)
        assert depot.prune(plan, 1000) == ()

    def test_pins_are_read_again(self, depot: store.Store) -> None:
        old = images.put(depot, {"a": b"1"}, images.meta(at=1))
        images.put(depot, {"a": b"2"}, images.meta(at=2))
        assert depot.prune(store.Prune(run=RUN, digests=(old.digest,), grace=10), 0) == ()
        assert depot.prune(store.Prune(run=RUN, digests=(old.digest,), keep=(old.digest,), grace=10), 100) == ()
        # the pin took the tombstone away: once it is gone, the grace begins anew
        assert depot.prune(store.Prune(run=RUN, digests=(old.digest,), grace=10), 101) == ()
        assert depot.prune(store.Prune(run=RUN, digests=(old.digest,), grace=10), 111) == (old.digest,)

    def test_the_newest_stays_unless_all_go(self, depot: store.Store) -> None:
        old = images.put(depot, {"a": b"1"}, images.meta(at=1))
        new = images.put(depot, {"a": b"2"}, images.meta(at=2))
        assert depot.prune(store.Prune(run=RUN, digests=(new.digest,), grace=0), 0) == ()
        assert set(depot.prune(store.Prune(run=RUN, digests=(old.digest, new.digest), grace=0), 0)) == {old.digest, new.digest}

    def test_the_newest_is_the_last_whatever_its_clock_said_and_whatever_lies_between_is_gone(self, depot: store.Store) -> None:
        first = images.put(depot, {"a": b"1"}, images.meta(at=100, number=1))
        second = images.put(depot, {"a": b"2"}, images.meta(at=101, number=2), first.digest)
        third = images.put(depot, {"a": b"3"}, images.meta(at=5, number=3), second.digest)
        assert depot.list(RUN) == (first, second, third)
        assert depot.prune(store.Prune(run=RUN, digests=(second.digest,), grace=0), 0) == (second.digest,)
        assert depot.prune(store.Prune(run=RUN, digests=(third.digest,), grace=0), 0) == ()
        assert depot.prune(store.Prune(run=RUN, digests=(first.digest,), grace=0), 0) == (first.digest,)

    def test_what_another_run_has_stays(self, depot: store.Store) -> None:
        other = images.put(depot, {"a": b"1"}, images.meta(run=images.OTHER_RUN))
        images.put(depot, {"a": b"2"}, images.meta())
        depot.prune(store.Prune(run=RUN, digests=(other.digest,), grace=0), 0)
        assert depot.list(images.OTHER_RUN) == (other,)

    def test_what_is_being_restored_stays(self, depot: store.Store) -> None:
        data = images.noise(1, 9)
        old = images.put(depot, {"a": data}, images.meta(at=1))
        images.put(depot, {"a": b"2"}, images.meta(at=2))
        plan = store.Prune(run=RUN, digests=(old.digest,), grace=0)
        image = depot.open(old.digest)
        assert depot.prune(plan, 0) == ()
        assert images.read(image) == {"a": data}
        image.close()
        assert depot.prune(plan, 1) == (old.digest,)

    def test_a_parent_lends_its_units_beyond_its_end(self, depot: store.Store) -> None:
        data = images.noise(1, 600)
        old = images.put(depot, {"a": data}, images.meta(at=1))
        new = images.put(depot, {"a": data + b"more"}, images.meta(at=2), old.digest)
        assert depot.prune(store.Prune(run=RUN, digests=(old.digest,), grace=0), 0) == (old.digest,)
        assert images.content_of(depot, new.digest) == {"a": data + b"more"}
        assert depot.verify(new.digest).ok


class Export:
    def test_files_folders_links_and_modes(self, depot: store.Store, tmp_path: Path) -> None:
        depot.claim(FIRST, "a")
        sink = depot.writer(images.meta())
        for entry in (
            store.FileEntry(path="data", kind="directory", mode=0o500, mtime_ns=5_000_000_000),
            store.FileEntry(path="data/weights", size=2 * UNIT + 1, mode=0o6644, mtime_ns=7_000_000_000),
            store.FileEntry(path="data/zeros", size=3 * UNIT),
            store.FileEntry(path="closed", kind="directory", mode=0),
            store.FileEntry(path="implied/below", size=1),
            store.FileEntry(path="latest", kind="symlink", link="data/weights"),
            store.FileEntry(path="data/back", kind="symlink", link="../implied"),
        ):
            sink.file(entry)
        weights = images.noise(1, 2) + b"!"
        sink.extent("data/weights", 0, weights)
        sink.extent("implied/below", 0, b"x")
        image = depot.open(sink.commit()[0].digest)
        target = tmp_path / "restored"
        image.export(str(target))
        image.close()
        try:
            assert stat.S_IMODE(target.stat().st_mode) == 0o700
            assert (target / "latest").read_bytes() == weights
            assert os.readlink(target / "data/back") == "../implied"
            assert (target / "data/zeros").read_bytes() == bytes(3 * UNIT)
            found = (target / "data/weights").stat()
            assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o644, 7_000_000_000)
            assert (target / "data").stat().st_mtime_ns == 5_000_000_000
            assert stat.S_IMODE((target / "closed").stat().st_mode) == 0
        finally:
            (target / "data").chmod(0o700)

    def test_into_a_folder_that_is_not_empty(self, depot: store.Store, tmp_path: Path) -> None:
        image = depot.open(images.put(depot, {"a": b"1"}).digest)
        target = tmp_path / "mine"
        target.mkdir()
        (target / "kept").write_text("keep")
        with pytest.raises(errors.Refused, match="not empty"):
            image.export(str(target))
        image.close()
        assert [path.name for path in target.iterdir()] == ["kept"]


class Logs:
    def test_they_grow_and_are_read_from_anywhere(self, depot: store.Store) -> None:
        assert depot.read_log(FIRST, 0, 10) == b""
        assert depot.append_log(FIRST, 0, b"one\n") == 4
        assert depot.append_log(FIRST, 4, b"two\n") == 8
        assert depot.read_log(FIRST, 0, 100) == b"one\ntwo\n"
        assert depot.read_log(FIRST, 3, 3) == b"\ntw"
        assert depot.read_log(FIRST, 8, 100) == b""
        assert depot.read_log(SECOND, 0, 100) == b""

    def test_what_is_there_stays_and_gaps_are_not_made(self, depot: store.Store) -> None:
        depot.append_log(FIRST, 0, b"one\n")
        assert depot.append_log(FIRST, 0, b"XXX\ntwo\n") == 8
        assert depot.append_log(FIRST, 2, b"") == 8
        assert depot.append_log(FIRST, 100, b"late") == 8
        assert depot.read_log(FIRST, 0, 100) == b"one\ntwo\n"

    def test_large_ones(self, depot: store.Store) -> None:
        lines = [b"%07d\n" % number for number in range(500_000)]
        data = b"".join(lines)
        offset = 0
        while offset < len(data):
            offset = depot.append_log(FIRST, offset, data[offset : offset + 700_000])
        assert depot.read_log(FIRST, 0, len(data) + 1) == data
        assert depot.read_log(FIRST, 8 * 400_000, 16) == b"0400000\n0400001\n"


class Health:
    def test_a_store_that_works(self, depot: store.Store) -> None:
        assert depot.health().ok

    def test_a_sweep_takes_nothing_that_counts(self, depot: store.Store) -> None:
        data = images.noise(1, 300)
        taken = images.put(depot, {"a": data})
        sink = depot.writer(images.meta(at=9), taken.digest)
        images.fill(sink, {"a": data, "b": images.noise(2, 300)})
        depot.sweep(1e9)
        again = sink.commit()[0]
        depot.sweep(2e9)
        assert images.content_of(depot, again.digest) == {"a": data, "b": images.noise(2, 300)}
        assert depot.list(RUN) == (taken, again)
