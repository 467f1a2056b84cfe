"""Where a checkpoint waits for the store when the program must not: a place of bounded size.

It lies in memory that was written to beforehand where the machine has plenty, so that the program waits for one copy and
nothing else; otherwise on the agent's disk, where pages go from CRIU's socket into a file by the kernel alone (`splice`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from reconciler import errors
from reconciler.contracts import store
from reconciler.engines.criu import receiver

_PIPE = 1 << 20
"""Bytes that a pipe holds: what an unprivileged pipe may have at most, by default."""
_READ = 1 << 20

_SHARE = 0.4
"""Of the memory that is free, what a spool may take at most."""

_MORE = 256 << 20
"""Bytes of memory by which more may come than was expected, and as much again as was."""

_POPULATE = 23
"""`MADV_POPULATE_WRITE` (linux/mman.h, since 5.14): Python has no name for it."""


class _Place(Protocol):
    """Holds bytes by position."""

    size: int
    """How many it holds at most."""

    def put(self, data: memoryview, position: int) -> None:
        """Write bytes. Raises OSError."""
        ...

    def receive(self, connection: socket.socket, position: int, length: int) -> None:
        """Take exactly so many bytes from a connection. Raises `receiver.Gone`, OSError."""
        ...

    def get(self, position: int, length: int) -> bytes:
        """Return bytes; fewer where fewer were written."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class _Memory:
    """In pages of this process: large ones where the kernel has them, and all that are expected to be used found beforehand."""

    def __init__(self, expected: int) -> None:
        self.size = 2 * expected + _MORE
        self._map = mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):
            self._map.madvise(mmap.MADV_HUGEPAGE)
        try:
            self._map.madvise(_POPULATE, 0, expected)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a limit of ours; an older kernel finds them when they are written to
                self._map.close()
                raise

    def put(self, data: memoryview, position: int) -> None:
        self._map[position : position + len(data)] = data

    def receive(self, connection: socket.socket, position: int, length: int) -> None:
        end = position + length
        with memoryview(self._map) as whole:
            while position < end:
                with whole[position : min(end, position + _READ)] as part:
                    position += _came(connection.recv_into, part)

    def get(self, position: int, length: int) -> bytes:
        return self._map[position : position + length]

    def close(self) -> None:
        self._map.close()


class _Disk:
    """In a file."""

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._pipe = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, _PIPE)

    def put(self, data: memoryview, position: int) -> None:
        while data:
            written = os.pwrite(self._file, data, position)
            data, position = data[written:], position + written

    def receive(self, connection: socket.socket, position: int, length: int) -> None:
        end = position + length
        while position < end:
            came = _came(os.splice, connection.fileno(), self._pipe[1], min(end - position, _PIPE))
            while came:
                moved = os.splice(self._pipe[0], self._file, came, offset_dst=position)
                came, position = came - moved, position + moved

    def get(self, position: int, length: int) -> bytes:
        return os.pread(self._file, length, position)

    def close(self) -> None:
        for descriptor in (self._file, *self._pipe):
            os.close(descriptor)


class Spool:
    """Remembers files and extents like a sink, and hands them on later. For one thread."""

    def __init__(self, path: Path, limit: int, expected: int = 0) -> None:
        """Hold at most `limit` bytes, in memory or in `path`, which must not exist. Raises OSError.

        `expected`: how many will probably come; without it nothing is made ready.
        """
        self._end = 0
        self._entries: list[store.FileEntry] = []
        self._extents: dict[str, list[tuple[int, int, int]]] = {}
        self._place = _place(path, limit, expected)

    def file(self, entry: store.FileEntry) -> None:
        """Announce a file before its extents."""
        self._entries.append(entry)
        self._extents[entry.path] = []

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Keep bytes of a file. Raises `errors.Unavailable` when the spool is full."""
        view = memoryview(data).cast("B")
        begin = self._room(len(view))
        self._place.put(view, begin)
        self._extents[path].append((offset, begin, len(view)))

    def receive(self, connection: socket.socket, length: int) -> int:
        """Take so many bytes from a connection; return where they lie. Raises `receiver.Gone`, `errors.Unavailable`."""
        begin = self._room(length)
        self._place.receive(connection, begin, length)
        return begin

    def read(self, position: int, length: int) -> bytes:
        """Return bytes taken before."""
        data = self._place.get(position, length)
        if len(data) != length:
            raise errors.Damaged("the spool is shorter than what was written to it")
        return data

    def replay(self, sink: store.Sink) -> None:
        """Hand every file and extent to a sink, in order."""
        for entry in self._entries:
            sink.file(entry)
            for offset, data in self._pieces(entry.path):
                sink.extent(entry.path, offset, data)

    def close(self) -> None:
        """Let go of it; a file's name is for the caller to remove."""
        self._place.close()

    def _pieces(self, path: str) -> Iterator[tuple[int, bytes]]:
        for offset, begin, length in self._extents[path]:
            for at in range(0, length, _READ):
                yield offset + at, self.read(begin + at, min(_READ, length - at))

    def _room(self, length: int) -> int:
        begin = self._end
        if begin + length > self._place.size:
            raise errors.Unavailable(
                f"the checkpoint is larger than the {self._place.size} bytes that may lie in the spool",
                remedy="Make room on the agent's disk, or give the program less memory.",
            )
        self._end += length
        return begin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _place(path: Path, limit: int, expected: int) -> _Place:
    if 0 < expected < _SHARE * _available():
        with contextlib.suppress(OSError):  # less may be free for us than for the machine
            return _Memory(expected)
    return _Disk(path, limit)


def _came(call: Callable[..., int], *arguments: object) -> int:
    """Return how many bytes a call has brought. Raises `receiver.Gone` at the end of the stream."""
    try:
        came = call(*arguments)
    except OSError as error:
        raise receiver.Gone from error
    if not came:
        raise receiver.Gone
    return came


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
