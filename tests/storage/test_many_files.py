"""A million tiny files (reliability T6 92): memory grows by a stated number of bytes a file, and there is a limit of files."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import store
from reconciler.engines import folder
from reconciler.storage import index, path
from tests.storage import images

PER_FILE = 2048
"""Bytes of memory that one more file may cost, written or restored: `docs/reliability.md` says so."""
FEW, MANY = 500, 2000


def peak(work: Callable[[int], object], count: int) -> int:
    """Return the most memory that was in use at once, beyond what was before."""
    gc.collect()
    tracemalloc.start()
    try:
        work(count)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def filled(place: Path, count: int) -> Path:
    """A folder with so many files of a byte each, a thousand to a folder."""
    for number in range(count):
        inner = place / f"{number // 1000}"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"shard-{number:06d}").write_bytes(b"x")
    return place


def test_memory_grows_by_a_bounded_number_of_bytes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "SECTION_SPANS", 128)  # else what is kept of the index grows with so few files too
    depot = path.PathStore(images.config(str(tmp_path / "store")), store.Keys())
    depot.claim(images.ALONE, "me")
    taken: dict[int, str] = {}

    def save(count: int) -> None:
        sink = depot.writer(images.meta(at=float(count)))
        folder.send(tmp_path / f"in-{count}", sink, owner=None)
        taken[count] = sink.commit()[0].digest

    def restore(count: int) -> None:
        with depot.open(taken[count]) as image:
            image.export(str(tmp_path / f"out-{count}"))

    for count in (FEW, MANY):
        filled(tmp_path / f"in-{count}", count)
    save(FEW)  # what is made once, and stays
    for work in (save, restore):
        grown = peak(work, MANY) - peak(work, FEW)
        assert grown < PER_FILE * (MANY - FEW), f"{work.__name__}: {grown / (MANY - FEW):.0f} bytes a file"
    assert len(os.listdir(tmp_path / f"out-{MANY}" / "1")) == 1000
    known = [held(depot, taken[count]) for count in (FEW, MANY)]
    assert known[1] - known[0] < PER_FILE * (MANY - FEW), known


def held(depot: path.PathStore, digest: str) -> int:
    """Return the memory that an open image and the list of its files have in use."""
    gc.collect()
    tracemalloc.start()
    try:
        with depot.open(digest) as image:
            every = list(image.entries())
            gc.collect()
            assert every
            return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_folder_with_more_names_than_any_image_may_hold_is_not_even_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MOST_NAMES", 10)
    depot = path.PathStore(images.config(str(tmp_path / "store")), store.Keys())
    depot.claim(images.ALONE, "me")
    filled(tmp_path / "in", 11)
    sink = depot.writer(images.meta())
    with pytest.raises(errors.InvalidInput, match="more than 10 entries"):
        folder.send(tmp_path / "in", sink, owner=None)
    sink.abort()
