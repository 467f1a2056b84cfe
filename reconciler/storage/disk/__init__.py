"""What the path store needs of a file system: the one seam through which it touches files.

Every path is relative to the store's root, with "/" between its parts. Nothing is durable until `File.sync` (the bytes) and
`Disk.sync_folder` (the names) have returned; the order in which unsynced changes reach the disk is not known. The real disk is
`disk.local`, the one that forgets and breaks on purpose is `disk.fake`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Bytes of the file system."""

    free: int
    total: int


class File(Protocol):
    """An open file. Closing it releases its lock; so does the end of the process that holds it."""

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`; fewer only where the file ends."""
        ...

    def size(self) -> int:
        """Return its length in bytes."""
        ...

    def truncate(self, size: int) -> None:
        """Cut it to `size` bytes; the next write continues there."""
        ...

    def sync(self) -> None:
        """Make its bytes durable. After an error they may be lost although they can still be read: never try again."""
        ...

    def lock(self, *, exclusive: bool) -> bool:
        """Take an advisory lock on it without waiting. False: another holds one that forbids it."""
        ...

    def linked(self) -> bool:
        """Return whether it still has a name: a file may be removed between being opened and being locked."""
        ...

    def close(self) -> None:
        """Release it. May be called twice."""
        ...


class Disk(Protocol):
    """A folder of a file system, held open: nothing is ever read or written outside it. Methods raise `OSError`."""

    def folder(self, path: str) -> None:
        """Create a folder, and those above it, durably. An existing one is left as it is."""
        ...

    def create(self, path: str) -> File:
        """Create a file for reading and writing. Raises `FileExistsError`."""
        ...

    def open(self, path: str, *, write: bool = False) -> File:
        """Open an existing regular file; never through a link. With `write`, writes continue at its end."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name in the same folder; a file that had that name is replaced in one step."""
        ...

    def link(self, old: str, new: str) -> None:
        """Give a file a second name in the same folder. Raises `FileExistsError`."""
        ...

    def unlink(self, path: str) -> None:
        """Remove a file's name."""
        ...

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        ...

    def names(self, path: str) -> list[str]:
        """Return what a folder contains, sorted. Raises `FileNotFoundError`."""
        ...

    def size(self, path: str) -> int:
        """Return the length of a regular file."""
        ...

    def stamp(self, path: str) -> tuple[int, ...]:
        """Return what changes when a name in a folder does, within the step of the file system's clock; empty: no folder."""
        ...

    def sync_folder(self, path: str) -> None:
        """Make a folder's names durable."""
        ...

    def space(self) -> Space:
        """Return how much room there is."""
        ...

    def check(self) -> None:
        """Raise `OSError` (ESTALE) when the root's path leads elsewhere now: unmounted, mounted over, replaced."""
        ...

    def close(self) -> None:
        """Let go of the root, so that it can be unmounted."""
        ...
