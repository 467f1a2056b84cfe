"""Where a checkpoint waits for the store when the program must not: one file of bounded size.

It lies in memory that was taken beforehand where the machine has plenty, so that the program waits for one copy and nothing
else; otherwise on the agent's disk. Pages go from CRIU's socket into it without passing through this process (`lanes`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler import errors
from reconciler.contracts import store
from reconciler.engines.criu import lanes

_READ = 1 << 20

_SHARE = 0.4
"""Of the memory that is free, what a spool may take at most."""


class Spool:
    """Remembers files and extents like a sink, and hands them on later. For one thread."""

    def __init__(self, path: Path, limit: int, expected: int = 0) -> None:
        """Hold at most `limit` bytes, in memory or in `path`, which must not exist. Raises OSError.

        `expected`: how many will probably come; without it nothing is made ready.
        """
        self._limit = limit
        self._end = 0
        self._entries: list[store.FileEntry] = []
        self._extents: dict[str, list[tuple[int, int, int]]] = {}
        self._file = _in_memory(expected)
        if self._file < 0:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._lanes = lanes.Lanes(self._file)

    def file(self, entry: store.FileEntry) -> None:
        """Announce a file before its extents."""
        self._entries.append(entry)
        self._extents[entry.path] = []

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Keep bytes of a file. Raises `errors.Unavailable` when the spool is full."""
        length = memoryview(data).nbytes
        begin = self._room(length)
        view = memoryview(data).cast("B")
        while view:
            written = os.pwrite(self._file, view, begin + length - len(view))
            view = view[written:]
        self._extents[path].append((offset, begin, length))

    def splice(self, connection: socket.socket, length: int) -> int:
        """Take so many bytes from a connection; return where they will lie once `settle` has returned."""
        begin = self._room(length)
        self._lanes.carry(connection, begin, length)
        return begin

    def settle(self) -> None:
        """Wait until everything taken from connections is here. Raises OSError."""
        self._lanes.settle()

    def read(self, position: int, length: int) -> bytes:
        """Return bytes taken before."""
        data = os.pread(self._file, length, position)
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
        """Let go of the file, whose name is for the caller to remove."""
        self._lanes.close()
        os.close(self._file)

    def _pieces(self, path: str) -> Iterator[tuple[int, bytes]]:
        for offset, begin, length in self._extents[path]:
            for at in range(0, length, _READ):
                yield offset + at, self.read(begin + at, min(_READ, length - at))

    def _room(self, length: int) -> int:
        begin = self._end
        if begin + length > self._limit:
            raise errors.Unavailable(
                f"the checkpoint is larger than the {self._limit} bytes that may lie in the spool",
                remedy="Make room on the agent's disk, or give the program less memory.",
            )
        self._end += length
        return begin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _in_memory(expected: int) -> int:
    """Return a file in memory with room for so many bytes, already taken; -1 where too little is free."""
    if not 0 < expected < _SHARE * _available():
        return -1
    file = os.memfd_create("perdure-spool")
    try:
        os.posix_fallocate(file, 0, expected)
    except OSError:  # less may be free for us than for the machine
        os.close(file)
        return -1
    return file


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
