"""Checkpoints into a store in a folder: against `tar | zstd -1` with fsync, and again with a twentieth of the pages changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import commands, figures
from tests.bench.options import Options

REQUIRES = ("tar", "zstd", "openssl")
ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One image, durable and verified."""

    seconds: float
    """From asking for the sink to the end of its commit."""
    peak: int
    """Bytes of memory of the process that wrote it."""
    digest: str
    logical: int
    stored: int


def measure(options: Options) -> Iterator[figures.Figure]:
    """Whole images first, then images on top of one."""
    places = _Places(options)
    unique = places.data("unique")
    yield _whole(places, unique, "unique compressible pages", figures.at_least(1.3))
    repeated = places.data("repeated")
    yield _whole(places, repeated, "repeated pages (three of four)", figures.at_least(0.9))
    shutil.rmtree(repeated)
    base = places.store(unique, "again")
    for kind in ("clustered", "scattered"):
        changed = places.data(kind)
        yield _again(places, changed, kind, base)
        shutil.rmtree(changed)


class _Places:
    """The generated files, and stores."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.out = options.folder / "archive.tar.zst"

    def data(self, kind: str) -> Path:
        """Generate the files of an image of this kind, and wait until the disk has them."""
        folder = self.options.folder / kind
        commands.run(commands.worker("images_worker", "generate", folder, str(self.options.seed), str(self.options.size)))
        return folder

    def store(self, data: Path, name: str, parent: str = "") -> Stored:
        """Store an image of the files, by a process of its own."""
        root = self.options.folder / f"store-{name}"
        root.mkdir(exist_ok=True)
        ran = commands.run(commands.worker("images_worker", "store", root, data, parent or "-"))
        return Stored(**json.loads(ran.output.splitlines()[-1]))

    def drop(self, name: str) -> None:
        """Remove a store."""
        shutil.rmtree(self.options.folder / f"store-{name}")


def _whole(places: _Places, data: Path, what: str, bound: figures.Bound) -> figures.Figure:
    ours, peer = [], []
    for _ in range(places.options.times(ROUNDS)):
        ours.append(places.store(data, "whole"))
        places.drop("whole")
        peer.append(_timed(lambda: _archive(data, places.out)))
    size = places.options.size
    return figures.Figure(
        work=f"store {_gib(size)}, durable and verified: {what}",
        series=(
            figures.Series(what="perdure", unit="MB/s", values=[size / one.seconds / 1e6 for one in ours]),
            figures.Series(what="tar | zstd -1, with fsync", unit="MB/s", values=[size / one / 1e6 for one in peer]),
            figures.ratios("throughput, against tar | zstd -1", peer, [one.seconds for one in ours], bound),
            _memory(ours),
        ),
        note=f"stored in {ours[-1].stored / ours[-1].logical:.1%} of its bytes",
    )


def _again(places: _Places, data: Path, kind: str, base: Stored) -> figures.Figure:
    ours, peer = [], []
    files = sorted(data.iterdir())
    for _ in range(places.options.times(ROUNDS)):
        ours.append(places.store(data, "again", base.digest))
        peer.append(commands.run(["openssl", "dgst", "-sha256", *files]).seconds)
    return figures.Figure(
        work=f"store {_gib(places.options.size)} again, 5 % of its 4 KiB units changed: {kind}",
        series=(
            figures.Series(
                what="stored",
                unit="% of the bytes",
                values=[one.stored / one.logical * 100 for one in ours],
                bound=figures.at_most(7),
            ),
            figures.Series(what="perdure", unit="s", values=[one.seconds for one in ours]),
            figures.Series(what="openssl dgst -sha256", unit="s", values=peer),
            figures.ratios("time, against openssl", [one.seconds for one in ours], peer, figures.at_most(1.5)),
            _memory(ours),
        ),
    )


def _memory(ours: Sequence[Stored]) -> figures.Series:
    return figures.Series(what="memory", unit="MB", values=[one.peak / 1e6 for one in ours], bound=figures.at_most(200))


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _archive(data: Path, out: Path) -> None:
    """What people do without a store: one compressed archive, flushed to the disk."""
    out.unlink(missing_ok=True)
    with subprocess.Popen(["tar", "-cf", "-", "-C", str(data), "."], stdout=subprocess.PIPE) as tar:
        packed = subprocess.run(["zstd", "-1", "-q", "-o", str(out)], stdin=tar.stdout, check=False)
    if tar.returncode or packed.returncode:
        raise AssertionError(f"tar ended with {tar.returncode}, zstd with {packed.returncode}")
    for place in (out, out.parent):
        descriptor = os.open(place, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _gib(size: int) -> str:
    return f"{size >> 30} GiB" if size % (1 << 30) == 0 else f"{size >> 20} MiB"
