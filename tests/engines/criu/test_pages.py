"""From CRIU's stream to an image and back to what CRIU reads: every byte in its place, whatever the order and the kind."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import errors
from reconciler.contracts import store
from reconciler.engines.criu import memory, messages, receiver, restore, spool, takers
from reconciler.engines.criu.receiver import PAGE, Owner
from tests.engines import program
from tests.engines.criu import stream

BASE = 0x7F12_A3B0_0000


def pages(seed: int, count: int) -> bytes:
    return random.Random(seed).randbytes(count * PAGE)


def image_of(
    runs: Sequence[tuple[Owner, int, bytes]], version: tuple[int, ...], spooled: Path | None, expected: int = 0
) -> program.Memory:
    """Send runs through receiver, taker and sink, as a dump does."""
    sender, sink = stream.Sender(version), program.Memory(engine="criu")
    try:
        sender.send(runs)
        if spooled is None:
            taker: takers.Direct | takers.Spooled = takers.Direct(sink)
            receiver.receive(sender.ours, version, taker, taker.settled)
        else:
            with spool.Spool(spooled, 1 << 30, expected) as kept:
                taker = late = takers.Spooled(kept)
                receiver.receive(sender.ours, version, late, late.settled)
                assert not sink.entries_
                late.publish(sink)
    finally:
        sender.close()
    assert sender.status == bytes(4)
    for name, content in taker.pagemaps.images():
        sink.entries_.append(store.FileEntry(path=f"criu/{name}", size=len(content)))
        sink.content[f"criu/{name}"] = bytearray(content)
    return sink


def complete(image: program.Memory) -> program.Memory:
    """Add what a restore needs besides pages."""
    for path, content in {
        "criu/inventory.img": b"",
        "criu/pstree.img": stream.pstree((1,)),
        "criu/descriptors.json": b'["/dev/null"]',
        "criu/core-1.img": stream.core(seccomp=0),
        "container.json": b'{"network": true, "mounts": []}',
    }.items():
        image.entries_.append(store.FileEntry(path=path, size=len(content)))
        image.content[path] = bytearray(content)
    return image


def read_back(folder: Path, name: str) -> list[tuple[int, bytes]]:
    """What CRIU would read of a pagemap image: (address, pages), neighbours joined."""
    found = memory.read_pagemap(name, (folder / name).read_bytes())
    assert found
    number, runs = found
    content = (folder / f"pages-{number}.img").read_bytes()
    out, at = [], 0
    for run in runs:
        if run.present:
            out.append((run.address, content[at : at + run.length]))
            at += run.length
    assert at == len(content)
    return out


def joined(runs: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    out: list[tuple[int, bytes]] = []
    for address, data in runs:
        if out and out[-1][0] + len(out[-1][1]) == address:
            out[-1] = (out[-1][0], out[-1][1] + data)
        else:
            out.append((address, data))
    return out


RUNS = (
    (stream.TASK, BASE + 250 * PAGE, pages(1, 600)),
    (stream.TASK, BASE + 1000 * PAGE, bytes(3 * PAGE)),
    (stream.TASK, BASE + 1003 * PAGE, pages(2, 1)),
    (stream.TASK, BASE, pages(3, 7)),
    (stream.TASK, BASE + 20 * PAGE, pages(4, 2)),
    (stream.SHARED, 0, pages(5, 300)),
)
"""Over the bounds of windows, zeros, neighbours, back to a window that was left, and memory that several share."""


@pytest.mark.parametrize("version", [stream.OLD, stream.NEW], ids=["4.1", "4.2"])
@pytest.mark.parametrize("expected", [None, 0, 10 * PAGE, 4000 * PAGE], ids=["at once", "on disk", "more", "in memory"])
def test_pages_come_back_as_they_were(tmp_path: Path, version: tuple[int, ...], expected: int | None) -> None:
    """Spooled or not; more may come than is expected."""
    image = complete(image_of(RUNS, version, None if expected is None else tmp_path / "spool", expected or 0))
    assert (tmp_path / "spool").exists() == (expected == 0)
    restore._fill(image, _folder(tmp_path))  # type: ignore[arg-type]
    folder = tmp_path / "restore" / "criu"
    assert read_back(folder, "pagemap-1.img") == joined([(address, data) for owner, address, data in RUNS[:5]])
    assert read_back(folder, "pagemap-shmem-77.img") == [(0, RUNS[5][2])]


def test_a_page_keeps_its_place() -> None:
    more = ((stream.TASK, BASE - 5 * PAGE, pages(9, 3)), *RUNS)
    before, after = image_of(RUNS, stream.NEW, None), image_of(more, stream.NEW, None)
    kept = {path: content for path, content in before.content.items() if path.startswith("memory/")}
    assert all(after.content[path] == content for path, content in kept.items())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 700), st.integers(1, 300)), min_size=1, max_size=12),
    st.integers(0, 1 << 30),
)
def test_any_runs_come_back(tmp_path_factory: pytest.TempPathFactory, shape: list[tuple[int, int]], seed: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    runs, taken = [], set[int]()
    for first, count in shape:
        if taken.isdisjoint(range(first, first + count)):
            taken.update(range(first, first + count))
            runs.append((stream.TASK, BASE + first * PAGE, pages(seed + first, count)))
    restore._fill(complete(image_of(runs, stream.NEW, None)), _folder(folder))  # type: ignore[arg-type]
    wanted = {(address, hashlib.sha256(data).digest()) for address, data in joined([(a, d) for _, a, d in runs])}
    found = {(a, hashlib.sha256(d).digest()) for a, d in read_back(folder / "restore" / "criu", "pagemap-1.img")}
    assert found == wanted


def test_an_owner_without_pages_has_a_pagemap() -> None:
    known = memory.Pagemaps()
    known.begin(stream.TASK)
    ((name, content),) = known.images()
    assert memory.read_pagemap(name, content) == (memory.FIRST_PAGES_ID, [])


BAD = {
    "an unknown command": (9, 1, BASE, 1 << 8 | 1),
    "an unknown kind": (6 | 4 << 16, 1, BASE, 1 << 8 | 9),
    "no pages": (6, 0, BASE, 1 << 8 | 1),
    "half a page": (6, 1, BASE + 5, 1 << 8 | 1),
    "beyond all memory": (6, 1 << 46, BASE, 1 << 8 | 1),
}


@pytest.mark.parametrize("words", BAD.values(), ids=BAD)
def test_what_cannot_be_is_not_believed(words: tuple[int, int, int, int]) -> None:
    sender = stream.Sender()
    sender.send_raw(sender.command(*words))
    taker = takers.Direct(program.Memory())
    with pytest.raises(errors.Damaged):
        receiver.receive(sender.ours, stream.NEW, taker, taker.settled)
    sender.close()


@pytest.mark.parametrize("expected", [None, 0, PAGE], ids=["at once", "on disk", "in memory"])
@pytest.mark.parametrize("missing", [1, PAGE, 3 * PAGE + 31])
def test_criu_that_goes_away_is_noticed(tmp_path: Path, missing: int, expected: int | None) -> None:
    sender = stream.Sender()
    whole = sender.command(6 | 4 << 16, 3, BASE, 1 << 8 | 1) + pages(1, 3)
    sender.send_raw(whole[:-missing])
    with spool.Spool(tmp_path / "spool", 1 << 20, expected or 0) as kept:
        taker = takers.Direct(program.Memory()) if expected is None else takers.Spooled(kept)
        with pytest.raises(receiver.Gone):
            receiver.receive(sender.ours, stream.NEW, taker, taker.settled)
    sender.close()


def test_a_full_spool_says_so(tmp_path: Path) -> None:
    sender = stream.Sender()
    sender.send([(stream.TASK, BASE, pages(1, 2))], close=None)
    with spool.Spool(tmp_path / "spool", PAGE) as kept:
        taker = takers.Spooled(kept)
        with pytest.raises(errors.Unavailable, match="spool"):
            receiver.receive(sender.ours, stream.NEW, taker, taker.settled)
    sender.ours.recv(1 << 20)
    sender.close()


def test_an_owner_in_two_goes_is_refused() -> None:
    sender = stream.Sender()
    taker = takers.Direct(program.Memory())
    other = Owner(receiver.TASK, 2)
    sender.send([(stream.TASK, BASE, pages(1, 1)), (other, BASE, pages(1, 1)), (stream.TASK, BASE + PAGE, pages(1, 1))])
    with pytest.raises(errors.Damaged, match="two goes"):
        receiver.receive(sender.ours, stream.NEW, taker, taker.settled)
    sender.close()


PAGEMAPS = {
    "of another kind": messages.image(messages.COMMON_MAGIC, messages.CORE_MAGIC, []),
    "cut short": messages.image(messages.COMMON_MAGIC, messages.PAGEMAP_MAGIC, [messages.encode([(1, 1)])])[:-1],
    "without a head": messages.image(messages.COMMON_MAGIC, messages.PAGEMAP_MAGIC, []),
    "with pages that cannot be": messages.image(
        messages.COMMON_MAGIC, messages.PAGEMAP_MAGIC, [messages.encode([(1, 1)]), messages.encode([(1, 5), (2, 1), (4, 4)])]
    ),
    "with a message that is none": messages.image(messages.COMMON_MAGIC, messages.PAGEMAP_MAGIC, [b"\xff\xff"]),
}


@pytest.mark.parametrize("content", PAGEMAPS.values(), ids=PAGEMAPS)
def test_a_pagemap_that_is_none_is_damaged(content: bytes) -> None:
    with pytest.raises(errors.Damaged):
        memory.read_pagemap("pagemap-1.img", content)


def _folder(tmp_path: Path) -> Path:
    (tmp_path / "restore").mkdir(exist_ok=True)
    return tmp_path / "restore"
