"""From a socket into a file without passing through this process, by pipes side by side (`splice`).

A socket's pages move into a pipe uncopied; the one copy is made from the pipe into the file. While one lane copies, the next
takes what comes, so that a program that waits for it waits for about the memory's own speed.
"""

from __future__ import annotations

import fcntl
import os
import socket
from concurrent import futures

from reconciler.engines.criu import receiver

PIPE = 1 << 20
"""Bytes that a pipe holds: what an unprivileged pipe may have at most, by default."""

_LANES = 2


class Lanes:
    """Fills one file. Used by one thread; what goes wrong in a lane is raised at its next turn or in `settle`."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(_LANES)]
        for _, into in self._pipes:
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIPE)
        self._pool = futures.ThreadPoolExecutor(_LANES, thread_name_prefix="spool")
        self._under_way: list[futures.Future[None] | None] = [None] * _LANES
        self._turn = 0

    def carry(self, connection: socket.socket, position: int, length: int) -> None:
        """Take so many bytes from a connection; they lie in the file once `settle` has returned. Raises `receiver.Gone`."""
        end = position + length
        while position < end:
            self._wait(self._turn)
            out, into = self._pipes[self._turn]
            came = _come(connection, into, min(end - position, PIPE))
            self._under_way[self._turn] = self._pool.submit(self._copy, out, came, position)
            self._turn = (self._turn + 1) % _LANES
            position += came

    def settle(self) -> None:
        """Wait until everything taken lies in the file. Raises OSError."""
        for lane in range(_LANES):
            self._wait(lane)

    def close(self) -> None:
        """End the lanes."""
        self._pool.shutdown()
        for pipe in self._pipes:
            for descriptor in pipe:
                os.close(descriptor)

    def _wait(self, lane: int) -> None:
        under_way, self._under_way[lane] = self._under_way[lane], None
        if under_way is not None:
            under_way.result()

    def _copy(self, out: int, length: int, position: int) -> None:
        while length:
            moved = os.splice(out, self._file, length, offset_dst=position)
            length -= moved
            position += moved


def _come(connection: socket.socket, into: int, most: int) -> int:
    """Move bytes from a connection into a pipe; return how many. Raises `receiver.Gone`."""
    try:
        came = os.splice(connection.fileno(), into, most)
    except OSError as error:
        raise receiver.Gone from error
    if not came:
        raise receiver.Gone
    return came
