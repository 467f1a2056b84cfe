"""A disk in memory that keeps only what was synced, and fails or loses its power at a chosen operation.

It is as unkind as a file system may be: after a power cut every unsynced write is there, torn or gone, each for itself;
unsynced names were added, removed and renamed in any order; a failed sync has lost the bytes although they can be read.
"""

from __future__ import annotations

import copy
import errno
import os
import random
import threading
from dataclasses import dataclass

from reconciler.storage.disk import Space, memory


class PowerCut(BaseException):
    """The machine is off. Not an `Exception`: no error handling of the code under test runs to any effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong, and at which operation (counted from 1, reads and closes not counted)."""

    at: int
    error: int = 0
    """errno to raise; 0: the power is cut just before the operation."""
    lasting: bool = False
    """Every later operation that takes room fails as well (a full disk stays full)."""


TAKES_ROOM = ("folder", "create", "write", "link", "rename", "sync", "sync_folder")


class FakeFile:
    """See `disk.File`."""

    def __init__(self, disk: FakeDisk, path: str, data: memory.Data, position: int) -> None:
        self._disk, self._path, self._data, self._position, self._open = disk, path, data, position, True

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`; a full disk takes half of it first."""
        block = bytes(data)
        try:
            self._disk.step("write", self._path)
        except OSError:
            self._put(block[: len(block) // 2])
            raise
        self._put(block)

    def _put(self, block: bytes) -> None:
        self._data.live[self._position : self._position + len(block)] = block
        self._data.pending.append((self._position, block))
        self._position += len(block)

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`; fewer only where the file ends."""
        self._disk.alive()
        if not self._open:
            raise OSError(errno.EBADF, "the file is closed")
        return bytes(self._data.live[offset : offset + size])

    def size(self) -> int:
        """Return its length in bytes."""
        self._disk.alive()
        return len(self._data.live)

    def truncate(self, size: int) -> None:
        """Cut it to `size` bytes."""
        self._disk.step("truncate", self._path)
        del self._data.live[size:]
        self._data.pending.append(size)
        self._position = size

    def sync(self) -> None:
        """Make its bytes durable; a failed sync has lost them."""
        try:
            self._disk.step("sync", self._path)
        except OSError:
            self._data.pending.clear()
            raise
        self._data.kept = bytes(self._data.live)
        self._data.pending.clear()

    def lock(self, *, exclusive: bool) -> bool:
        """Take an advisory lock on it without waiting."""
        self._disk.alive()
        others = [held for holder, held in self._data.holders.items() if holder != id(self)]
        if any(others) or (exclusive and others):
            return False
        self._data.holders[id(self)] = exclusive
        return True

    def linked(self) -> bool:
        """Return whether it still has a name."""
        self._disk.alive()
        return self._data.links > 0

    def close(self) -> None:
        """Release it."""
        self._open = False
        self._data.holders.pop(id(self), None)

    def __del__(self) -> None:
        self.close()


class FakeDisk:
    """See `disk.Disk`. `trace` lists the counted operations so far as (operation, path)."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.trace: list[tuple[str, str]] = []
        self.fault = fault
        self._off = False
        self._root = memory.Folder()
        self._counting = threading.Lock()

    # what a test does to it

    def after_power_cut(self, seed: int) -> FakeDisk:
        """Return the disk as a machine finds it when it starts again; `seed` decides what of the unsynced survived."""
        chance = random.Random(seed)
        again = FakeDisk()
        again._root = memory.survivor(self._root, chance, {})
        return again

    def after_kill(self) -> FakeDisk:
        """Return the disk as the next process finds it when the last one was killed: all is there, its locks are gone."""
        again = FakeDisk()
        again._root = self._root
        memory.forget_locks(self._root)
        return again

    def copy(self) -> FakeDisk:
        """Return another disk in the same state, synced and not; nobody holds a lock on it."""
        again = FakeDisk()
        again._root = copy.deepcopy(self._root)
        memory.forget_locks(again._root)
        return again

    def corrupt(self, path: str, offset: int, mask: int = 1) -> None:
        """Flip bits of one byte, durably."""
        data = self._data(path)
        data.live[offset] ^= mask
        data.kept = bytes(data.live)

    def put(self, path: str, content: bytes) -> None:
        """Set a file's content, durably; create it where it is missing."""
        folder, name = self._place(path)
        data = folder.live.setdefault(name, memory.Data(links=1))
        assert isinstance(data, memory.Data)
        folder.kept[name] = data
        data.live[:], data.kept = content, content
        data.pending.clear()

    def step(self, operation: str, path: str) -> None:
        """Count one operation; raise what the fault plan says about it."""
        with self._counting:
            self.alive()
            self.trace.append((operation, path))
            fault, number = self.fault, len(self.trace)
            if fault is None:
                return
            if number == fault.at and not fault.error:
                self._off = True
                raise PowerCut
            if number == fault.at or (fault.lasting and number > fault.at and operation in TAKES_ROOM):
                raise OSError(fault.error, os.strerror(fault.error), path)

    def alive(self) -> None:
        """Raise `PowerCut` when the machine is off."""
        if self._off:
            raise PowerCut

    # disk.Disk

    def folder(self, path: str) -> None:
        """Create a folder, and those above it, durably."""
        current = self._root
        for name in path.split("/"):
            below = current.live.get(name)
            if below is None:
                self.step("folder", path)
                below = memory.Folder()
                current.change({name: below})
                current.kept[name] = below
            if not isinstance(below, memory.Folder):
                raise NotADirectoryError(errno.ENOTDIR, "not a folder", path)
            current = below

    def create(self, path: str) -> FakeFile:
        """Create a file for reading and writing."""
        folder, name = self._place(path)
        if name in folder.live:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self.step("create", path)
        data = memory.Data(links=1)
        folder.change({name: data})
        return FakeFile(self, path, data, 0)

    def open(self, path: str, *, write: bool = False) -> FakeFile:
        """Open an existing regular file."""
        self.alive()
        data = self._data(path)
        return FakeFile(self, path, data, len(data.live) if write else 0)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name in the same folder."""
        folder, name = self._place(old)
        data = self._data(old)
        self.step("rename", new)
        replaced = folder.live.get(new.rpartition("/")[2])
        if isinstance(replaced, memory.Data):
            replaced.links -= 1
        folder.change({name: None, new.rpartition("/")[2]: data})

    def link(self, old: str, new: str) -> None:
        """Give a file a second name in the same folder."""
        folder, _ = self._place(old)
        data = self._data(old)
        if new.rpartition("/")[2] in folder.live:
            raise FileExistsError(errno.EEXIST, "exists", new)
        self.step("link", new)
        data.links += 1
        folder.change({new.rpartition("/")[2]: data})

    def unlink(self, path: str) -> None:
        """Remove a file's name."""
        folder, name = self._place(path)
        data = self._data(path)
        self.step("unlink", path)
        data.links -= 1
        folder.change({name: None})

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        folder, name = self._place(path)
        below = self._find(path)
        if not isinstance(below, memory.Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", path)
        if below.live:
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        self.step("rmdir", path)
        folder.change({name: None})

    def names(self, path: str) -> list[str]:
        """Return what a folder contains, sorted."""
        self.alive()
        found = self._find(path)
        if not isinstance(found, memory.Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", path)
        return sorted(found.live)

    def size(self, path: str) -> int:
        """Return the length of a regular file."""
        self.alive()
        return len(self._data(path).live)

    def stamp(self, path: str) -> tuple[int, ...]:
        """Return what changes when a name in a folder does: this disk's clock has no steps."""
        self.alive()
        try:
            found = self._find(path)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return (found.stamp,) if isinstance(found, memory.Folder) else ()

    def sync_folder(self, path: str) -> None:
        """Make a folder's names durable."""
        self.step("sync_folder", path)
        folder = self._find(path)
        if not isinstance(folder, memory.Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", path)
        folder.kept = dict(folder.live)
        folder.pending.clear()

    def space(self) -> Space:
        """Return how much room there is."""
        self.alive()
        return Space(free=1 << 40, total=1 << 41)

    def check(self) -> None:
        """Raise nothing: this disk cannot be unmounted."""
        self.alive()

    def close(self) -> None:
        """Do nothing: the machine's next process finds the same disk."""

    def _place(self, path: str) -> tuple[memory.Folder, str]:
        self.alive()
        above, _, name = path.rpartition("/")
        folder = self._find(above) if above else self._root
        if not isinstance(folder, memory.Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", above)
        return folder, name

    def _find(self, path: str) -> memory.Data | memory.Folder:
        current: memory.Data | memory.Folder = self._root
        for name in path.split("/") if path else ():
            if not isinstance(current, memory.Folder):
                raise NotADirectoryError(errno.ENOTDIR, "not a folder", path)
            if name not in current.live:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            current = current.live[name]
        return current

    def _data(self, path: str) -> memory.Data:
        found = self._find(path)
        if not isinstance(found, memory.Data):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return found
