"""CRIU's sending end of the page server, played from a script, and images as CRIU writes them."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
from collections.abc import Sequence

from reconciler.engines.criu import messages, receiver
from reconciler.engines.criu.receiver import PAGE, Owner

OLD, NEW = (4, 1), (4, 2)
_HEADERS: dict[tuple[int, ...], struct.Struct] = {OLD: struct.Struct("<IIQQ"), NEW: struct.Struct("<I4xQQQ")}

TASK = Owner(receiver.TASK, 1)
SHARED = Owner(receiver.SHARED, 77)
PRESENT, LAZY = 4, 2


class Sender:
    """Sends what a script says to the other end of a socketpair, in a thread, and hears the answers."""

    def __init__(self, version: tuple[int, ...] = NEW) -> None:
        self._header = _HEADERS[version]
        self.ours, self._theirs = socket.socketpair()
        self._thread: threading.Thread | None = None
        self.status = b""

    def send(self, runs: Sequence[tuple[Owner, int, bytes]], *, close: int | None = 0x1024) -> None:
        """Send runs of pages, opened by owner, then a closing command; None: go away instead."""

        def speak() -> None:
            with self._theirs, contextlib.suppress(OSError):  # whoever does not believe it hangs up
                opened = None
                for owner, address, data in runs:
                    if owner != opened:
                        opened = owner
                        self._say(4, 0, 0, owner)
                        self._theirs.recv(1)
                    self._say(6 | PRESENT << 16, len(data) // PAGE, address, owner)
                    self._theirs.sendall(data)
                if close is not None:
                    self._theirs.sendall(self._header.pack(close, 0, 0, 0))
                    self.status = self._theirs.recv(4)

        self._thread = threading.Thread(target=speak)
        self._thread.start()

    def send_raw(self, data: bytes) -> None:
        """Send bytes and go away."""
        self._theirs.sendall(data)
        self._theirs.close()

    def command(self, command: int, pages: int, address: int, destination: int) -> bytes:
        """A header of this version."""
        return self._header.pack(command, pages, address, destination)

    def close(self) -> None:
        """Wait for the script's end."""
        self.ours.close()
        if self._thread is not None:
            self._thread.join()
        self._theirs.close()

    def _say(self, command: int, pages: int, address: int, owner: Owner) -> None:
        self._theirs.sendall(self._header.pack(command, pages, address, owner.number << 8 | owner.kind))


def text(field: int, content: bytes) -> bytes:
    """A field of bytes: a text, or a message in a message."""
    return bytes([*_varint(field << 3 | 2), *_varint(len(content))]) + content


def pstree(*processes: Sequence[int]) -> bytes:
    """An image of processes: the threads of each, the first of which names it."""
    written = [messages.encode([(1, threads[0]), (2, 0), *((5, one) for one in threads)]) for threads in processes]
    return messages.image(messages.COMMON_MAGIC, messages.PSTREE_MAGIC, written)


def core(uid: int = 0, capabilities: tuple[int, int] = (0xFB, 0), seccomp: int | None = 2, newest: int = 0) -> bytes:
    """A core image of one thread, as CRIU writes it; `newest` is the filter that it names, unless it has no mode at all."""
    creds = messages.encode([(field, uid) for field in range(1, 9)])
    for field in (9, 10, 11, 12):
        creds += messages.encode([(field, word) for word in capabilities])
    creds += messages.encode([(13, 0), (14, 4), (14, 24)]) + text(15, b"unconfined") + messages.encode([(18, 1)])
    thread = messages.encode([(1, 0), (2, 0)]) + text(10, creds)
    thread += messages.encode([(11, seccomp), (12, newest)] if seccomp is not None else [])
    whole = messages.encode([(1, 1)]) + text(3, messages.encode([(1, 1), (2, 0)])) + text(5, thread)
    return messages.image(messages.COMMON_MAGIC, messages.CORE_MAGIC, [whole])


def seccomp(*filters: tuple[bytes, int | None, int]) -> bytes:
    """An image of filters: instructions, the one before, flags."""
    written = [
        text(1, content)
        + messages.encode([(field, value) for field, value in ((2, prev), (3, flags or None)) if value is not None])
        for content, prev, flags in filters
    ]
    return messages.image(messages.COMMON_MAGIC, messages.SECCOMP_MAGIC, [b"".join(text(1, one) for one in written)])


def _varint(value: int) -> list[int]:
    out = []
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return [*out, value]


CPUINFO = base64.b64decode(
    "GUNWVBNAQGF0AAAACnIIARAGGM8BIAIoAjD/96/8ATCAkMDgAjAAMICAxBAwg+To/w8wADChAjAAMAAw+9/8jQ8wHzDGvoXSATAA"
    "MAAwBDAAMAAwADCQgIWEAjoaSW50ZWwoUikgWGVvbihSKSBQcm9jZXNzb3JA5QFIgBVQgFY="
)
"""The `cpuinfo.img` that CRIU 4.2 wrote on a Xeon of 2023 in a virtual machine."""
