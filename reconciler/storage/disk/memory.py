"""Folders and files in memory, with what of them is durable: what `fake.FakeDisk` keeps, and what a power cut leaves of it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

_TICKS = itertools.count()


@dataclass(slots=True, eq=False)
class Data:
    """A file: its bytes as a process reads them, and as the disk has them."""

    live: bytearray = field(default_factory=bytearray)
    kept: bytes = b""
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)
    """Since the last sync: (offset, bytes) written, or the size cut to."""
    links: int = 0
    holders: dict[int, bool] = field(default_factory=dict)
    """Locks: handle → exclusive."""


@dataclass(slots=True, eq=False)
class Folder:
    """A folder: its names as a process sees them, and as the disk has them."""

    live: dict[str, Data | Folder] = field(default_factory=dict)
    kept: dict[str, Data | Folder] = field(default_factory=dict)
    pending: list[dict[str, Data | Folder | None]] = field(default_factory=list)
    """Since the last sync, each change as a whole: name → node, None: removed."""
    stamp: int = field(default_factory=_TICKS.__next__)
    """Another number after each change."""

    def change(self, names: dict[str, Data | Folder | None]) -> None:
        """Give, take or replace names, all at once."""
        self.stamp = next(_TICKS)
        self.pending.append(names)
        _apply(self.live, names)


def _apply(entries: dict[str, Data | Folder], names: dict[str, Data | Folder | None]) -> None:
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


def forget_locks(folder: Folder) -> None:
    """Let go of every lock: the process that held them is gone."""
    for node in folder.live.values():
        if isinstance(node, Folder):
            forget_locks(node)
        else:
            node.holders.clear()


def survivor(folder: Folder, chance: random.Random, seen: dict[Data, Data]) -> Folder:
    """Return what a power cut leaves of a folder and all in it. `seen` maps files with several names."""
    entries = dict(folder.kept)
    for change in _some(folder.pending, chance):
        _apply(entries, change)
    again = Folder()
    for name, node in entries.items():
        if isinstance(node, Folder):
            again.live[name] = survivor(node, chance, seen)
        else:
            if node not in seen:
                seen[node] = _remains(node, chance)
            seen[node].links += 1
            again.live[name] = seen[node]
    again.kept = dict(again.live)
    return again


def _remains(data: Data, chance: random.Random) -> Data:
    content = bytearray(data.kept)
    for change in _some(data.pending, chance):
        if isinstance(change, int):
            del content[change:]
            continue
        offset, block = change
        torn = block[: chance.randint(0, len(block))] if chance.random() < 0.5 else block
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(torn)] = torn
    return Data(live=content, kept=bytes(content))


def _some(changes: Iterable[T], chance: random.Random) -> list[T]:
    """Return a subset: what the disk happened to write before the power went, in the order it happened to take."""
    return [change for change in changes if chance.random() < 0.5]
