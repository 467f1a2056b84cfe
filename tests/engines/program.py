"""A program's half of the contract, played by a thread, and a store in memory for what the engine sends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reconciler import errors
from reconciler.contracts import engine, store
from reconciler.core import observed, spec
from tests import conditions

REF = spec.AttemptRef(run="1" * 32, attempt=1)


@dataclass(kw_only=True)
class Memory:
    """`contracts.store.Sink`, and afterwards the image of what it was sent."""

    entries_: list[store.FileEntry] = field(default_factory=list)
    content: dict[str, bytearray] = field(default_factory=dict)
    broken: str = ""
    unfit: bool = False
    """What the first sink is to build upon is damaged."""
    commits: int = 0
    aborted: bool = False
    step: int | None = None
    extents_: list[tuple[str, int, int]] = field(default_factory=list)
    digest: str = "sha256:" + "a" * 64
    engine: str = "application"

    @property
    def meta(self) -> store.Meta:
        return store.Meta(
            instance="i", tenant="t", job="j", run=REF.run, attempt=1, engine=self.engine, taken_at=1.0, step=self.step
        )

    def open(self, step: int | None) -> Memory:
        self.step = step
        return self

    def file(self, entry: store.FileEntry) -> None:
        self.entries_.append(entry)
        if entry.kind == "file":
            self.content[entry.path] = bytearray(entry.size)

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        assert offset % store.UNIT == 0
        assert len(data) % store.UNIT == 0 or offset + len(data) == len(self.content[path])
        self.extents_.append((path, offset, len(data)))
        self.content[path][offset : offset + len(data)] = data

    def commit(self, step: int | None = None) -> tuple[observed.Taken, store.Usage]:
        if self.broken:
            raise errors.Unavailable(self.broken)
        if self.unfit:
            self.unfit = False
            raise engine.Unfit("a pack is missing")
        self.commits += 1
        size = sum(map(len, self.content.values()))
        taken = observed.Taken(
            digest=self.digest, attempt=1, taken_at=1.0, step=self.step if step is None else step, logical_bytes=size
        )
        return taken, store.Usage(logical_bytes=size, stored_bytes=size)

    def abort(self) -> None:
        self.aborted = True

    def export(self, directory: str) -> None:
        if self.broken:
            raise errors.Damaged(self.broken)
        for entry in self.entries_:
            path = Path(directory) / entry.path
            if entry.kind == "directory":
                path.mkdir()
            elif entry.kind == "symlink":
                path.symlink_to(entry.link)
            else:
                path.write_bytes(self.content[entry.path])

    def entries(self) -> list[store.FileEntry]:
        return self.entries_

    def extents(self, path: str) -> object:
        return [(0, bytes(self.content[path]))]

    def close(self) -> None:
        """Nothing is held."""


def site(folder: Path, **changed: object) -> engine.Site:
    """The folders of one attempt."""
    for name in ("checkpoint", "aside"):
        (folder / name).mkdir(exist_ok=True)
    values: dict[str, object] = {
        "ref": REF,
        "checkpoints": folder / "checkpoint",
        "restore": folder / "restore",
        "request_file": folder / "request.json",
        "progress_file": folder / "progress.jsonl",
        "aside": folder / "aside",
    }
    return engine.Site(**{**values, **changed})  # type: ignore[arg-type]


def save(folder: Path, files: dict[str, str], complete: str = "") -> None:
    """What a program does: its files first, COMPLETE last."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "COMPLETE").write_text(complete)


def answering(where: engine.Site, answer: Callable[[], None]) -> threading.Thread:
    """A program that answers the next request."""

    def live() -> None:
        conditions.eventually(lambda: os.path.exists(where.request_file))
        answer()

    thread = threading.Thread(target=live)
    thread.start()
    return thread


def request(purpose: spec.Purpose = spec.Purpose.DEMAND, deadline: float = 30.0) -> spec.Request:
    return spec.Request(id="r1", purpose=purpose, deadline=deadline, reason="because")
