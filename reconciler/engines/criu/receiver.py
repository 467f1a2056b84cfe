"""The receiving end of CRIU's page server, spoken over one end of a socketpair: no port is opened.

Source: CRIU `criu/page-xfer.c` (`struct page_server_iov`, `PS_IOV_…`, `encode_pm`) and `criu/include/pagemap.h` (`PE_…`).
A message is a header, little endian: u32 command with flags above bit 16, pages (u32; u64 behind four bytes of padding since
4.2), u64 address, u64 whose pages these are (id << 8 | type). PRESENT in the flags: that many pages follow.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from reconciler import errors
from reconciler.contracts import store

PAGE = store.UNIT
PRESENT = 1 << 2
"""`PE_PRESENT`: the pages lie in the pages image."""

TASK, SHARED = 1, 2
"""Types in a destination: a process's memory, or memory that several share (anonymous, memfd, SysV)."""

_OLD = struct.Struct("<IIQQ")
_NEW = struct.Struct("<I4xQQQ")
_NEW_SINCE = (4, 2)
_STATUS = struct.Struct("<i")

_ADD, _OPEN, _OPEN2, _ADD_F = 1, 3, 4, 6
_CLOSE, _FORCE_CLOSE = 0x1023, 0x1024
_COMMAND = 0xFFFF

BUFFER = 4 << 20
"""Bytes of the socket's buffer: fewer turns between CRIU and us."""


class Gone(errors.Unavailable):
    """CRIU went away, or was sent away."""

    def __init__(self) -> None:
        super().__init__("CRIU ended before it had captured the program")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose memory: a process by its number in the container, or a shared region by its id."""

    kind: int
    number: int


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive pages of one owner, as a pagemap lists them."""

    owner: Owner
    address: int
    pages: int
    flags: int

    @property
    def present(self) -> bool:
        """Whether its pages were sent."""
        return bool(self.flags & PRESENT)

    @property
    def length(self) -> int:
        """Bytes."""
        return self.pages * PAGE


class Taker(Protocol):
    """What is done with what arrives."""

    def begin(self, owner: Owner) -> None:
        """Note that this owner's runs come now; there may be none."""
        ...

    def run(self, run: Run, connection: socket.socket) -> None:
        """Note a run, and read exactly its pages from the connection where it is present."""
        ...


def receive(connection: socket.socket, version: tuple[int, ...], taker: Taker, settled: Callable[[], None]) -> None:
    """Take all pages of one dump, then call `settled`, then tell CRIU that they are safe with us.

    Raises `Gone` when CRIU goes away before, `errors.Damaged` when it says what we do not know, and what `taker` raises.
    Whatever is raised, CRIU learns of it by the connection being closed, and lets the processes go on.
    """
    header = _NEW if version >= _NEW_SINCE else _OLD
    while True:
        command, pages, address, destination = header.unpack(read(connection, header.size))
        kind = command & _COMMAND
        if kind == _ADD_F:
            taker.run(Run(_owner(destination), address, pages, command >> 16), connection)
        elif kind == _ADD:
            taker.run(Run(_owner(destination), address, pages, PRESENT), connection)
        elif kind == _OPEN2:
            taker.begin(_owner(destination))
            _send(connection, b"\0")  # there is no parent: what has changed is found by content
        elif kind in (_CLOSE, _FORCE_CLOSE):
            settled()
            _send(connection, _STATUS.pack(0))
            return
        elif kind != _OPEN:
            raise errors.Damaged(f"CRIU sent the unknown command {kind:#x}", remedy="Use a CRIU version of `perdure doctor`.")


def await_first(connection: socket.socket) -> None:
    """Return once CRIU has begun to send. Raises `Gone`."""
    _receive(connection, 1, socket.MSG_PEEK)


def read(connection: socket.socket, length: int) -> bytes:
    """Return exactly so many bytes, in one piece and uncopied. Raises `Gone` at the end of the stream."""
    data = _receive(connection, length)
    if len(data) == length:
        return data
    parts = [data]
    missing = length - len(data)
    while missing:
        parts.append(_receive(connection, missing))
        missing -= len(parts[-1])
    return b"".join(parts)


def _receive(connection: socket.socket, length: int, flags: int = socket.MSG_WAITALL) -> bytes:
    try:
        data = connection.recv(length, flags)
    except OSError as error:
        raise Gone from error
    if not data:
        raise Gone
    return data


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError as error:
        raise Gone from error


def _owner(destination: int) -> Owner:
    kind = destination & 0xFF
    if kind not in (TASK, SHARED):
        raise errors.Damaged(f"CRIU sent pages of the unknown kind {kind}", remedy="Use a CRIU version of `perdure doctor`.")
    return Owner(kind, destination >> 8)
