"""Chains of images with random changes, cut into random extents, always read back as they were written."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.contracts import store
from reconciler.storage import digests, packs, parent, units
from reconciler.storage.disk.fake import FakeDisk
from reconciler.storage.index import Listed, Run, Ticket
from tests.storage import faults, images
from tests.storage.images import RUN, UNIT

SIZES = (0, 1, UNIT - 1, UNIT, 5 * UNIT + 3, 256 * UNIT, 257 * UNIT, 600 * UNIT + 77)


def _changed(chance: random.Random, content: dict[str, bytes]) -> dict[str, bytes]:
    """Grow, shrink, drop, add, zero or touch some of it."""
    found = {}
    for path, data in content.items():
        new = bytearray(data)
        for _ in range(chance.choice((0, 0, 1, 5))):
            at = chance.randrange(len(new) // UNIT + 1) * UNIT
            part = chance.randbytes(UNIT * chance.choice((1, 3))) if chance.random() < 0.7 else bytes(UNIT * 2)
            new[at : at + len(part)] = part
        kind = chance.random()
        if kind < 0.1:
            new += chance.randbytes(chance.choice((1, UNIT, 3 * UNIT + 5)))
        elif kind < 0.2:
            del new[len(new) // 2 :]
        if kind < 0.95:
            found[path] = bytes(new)
    if chance.random() < 0.3:
        found[f"new-{chance.random()}"] = chance.randbytes(chance.choice(SIZES))
    return found


def _write(chance: random.Random, sink: store.Sink, content: dict[str, bytes]) -> None:
    left: dict[str, int] = {}
    for path, data in content.items():
        sink.file(store.FileEntry(path=path, size=len(data)))
        left[path] = 0
    while left:
        path, offset = chance.choice(list(left.items()))
        length = chance.choice((1, 7, 64, 256, 300)) * UNIT
        part = content[path][offset : offset + length]
        if not part:
            del left[path]
            continue
        if part.strip(b"\0") or chance.random() < 0.5:  # zeros may be left out
            sink.extent(path, offset, part if chance.random() < 0.5 else memoryview(part))
        left[path] = offset + length


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32))
def test_chains(seed: int) -> None:
    chance = random.Random(seed)
    depot = faults.opened(FakeDisk(), sealed=chance.random() < 0.3, threads=chance.choice((0, 2)))
    depot.claim(images.ALONE, "me")
    content = {f"f{number}": chance.randbytes(chance.choice(SIZES)) for number in range(3)}
    kept: dict[str, dict[str, bytes]] = {}
    newest = ""
    for number in range(5):
        sink = depot.writer(images.meta(at=number + 1), newest)
        _write(chance, sink, content)
        newest = sink.commit()[0].digest
        kept[newest] = content
        content = _changed(chance, content)
    gone = set(depot.prune(store.Prune(run=RUN, digests=tuple(chance.sample(list(kept), 3)), grace=0), 1))
    for digest, was in kept.items():
        if digest not in gone:
            assert images.content_of(depot, digest) == was


@given(st.lists(st.integers(1, 9), max_size=6), st.sets(st.integers(0, 60)))
def test_runs_without_units(lengths: list[int], gone: set[int]) -> None:
    runs, at, source = [], 0, Ticket()
    for length in lengths:
        runs.append(Run(at + 1, length, source, 100 + at))
        at += length + 1
    kept = parent.without(runs, sorted(gone))

    def places(some: list[Run]) -> dict[int, int]:
        return {run.start + step: run.at + step for run in some for step in range(run.count)}

    assert places(kept) == {unit: place for unit, place in places(runs).items() if unit not in gone}


@given(st.sets(st.integers(0, 40)))
def test_consecutive_numbers(numbers: set[int]) -> None:
    found = parent.consecutive(sorted(numbers))
    assert [number for start, count in found for number in range(start, start + count)] == sorted(numbers)
    assert all(start + count not in numbers for start, count in found)


@given(st.integers(1, 40), st.sets(st.integers(0, 39)))
def test_digests_against_a_parent_equal_those_without(count: int, touched: set[int]) -> None:
    old = images.noise("old", count)
    new = bytearray(old)
    for unit in touched:
        if unit < count:
            new[unit * UNIT] ^= 1
    salt = digests.Salt(7)
    found, changed = salt.against(bytes(new), salt.of(old))
    assert found == salt.of(bytes(new))
    assert digests.Salt(8).of(old).units != salt.of(old).units
    assert changed == sorted(unit for unit in touched if unit < count)


def test_a_whole_megabyte_is_passed_on_uncopied() -> None:
    seen: list[units.Piece] = []
    file = Listed(0, store.FileEntry(path="a", size=1 << 21))
    cutter = units.Cutter(seen.append)
    data = bytes(1 << 20)
    cutter.extent(file, 0, data)
    assert seen[0].data is data


def test_what_occurs_again_is_stored_once() -> None:
    depot = faults.opened(FakeDisk())
    kinds = [images.noise(f"kind {number}", 1) for number in range(40)]
    chance = random.Random(1)
    content = {"a": b"".join(chance.choices(kinds, k=700)), "b": b"".join(kinds) + images.noise("last", 2)[:-7]}
    depot.claim(images.ALONE, "me")
    sink = depot.writer(images.meta(), "")
    _write(chance, sink, content)
    taken, usage = sink.commit()
    assert usage.new_units == 42
    assert usage.new_units + usage.reused_units == 742
    assert usage.stored_bytes < 50 * UNIT
    assert images.content_of(depot, taken.digest) == content


def test_no_frame_is_unpacked_twice_for_what_occurs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each megabyte repeats units of all before: only those that a reader still has count as known."""
    depot = faults.opened(FakeDisk())
    fresh = [images.noise(f"frame {number}", 200) for number in range(80)]
    parts = [block + b"".join(old[:UNIT] for old in fresh[:number])[: 56 * UNIT] for number, block in enumerate(fresh)]
    content = {"a": b"".join(part.ljust(256 * UNIT, b"\0") for part in parts)}
    depot.claim(images.ALONE, "me")
    sink = depot.writer(images.meta(), "")
    _write(random.Random(1), sink, content)
    taken, usage = sink.commit()
    assert usage.reused_units > 1000
    unpacked: list[packs.Frame] = []
    load = packs.FrameReader._load

    def counted(self: packs.FrameReader, frame: packs.Frame) -> bytes:
        unpacked.append(frame)
        return load(self, frame)

    monkeypatch.setattr(packs.FrameReader, "_load", counted)
    assert images.content_of(depot, taken.digest) == content
    assert len({(frame.pack, frame.offset) for frame in unpacked}) == len(unpacked)
