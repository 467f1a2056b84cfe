"""What of an image cannot be the same where a program goes on: its addresses; and a timer that CRIU would stop.

A restored container has an address of its own (a new host's, a copy's). TCP connections inside the container continue. Others
continue where their address exists, else they are restored as closed sockets: their program hears of it at its next call. So
does one that sends datagrams to one peer. What listens under an address that is not there does so under the new one.

Sources: CRIU `images/fdinfo.proto` (file_entry: isk = 4, tfd = 12), `images/sk-inet.proto`, `images/timerfd.proto`,
`criu/sk-inet.c` (what a restore does with which state), `criu/sk-tcp.c`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from reconciler.engines.criu import messages
from reconciler.engines.criu.messages import Fields

FILES = "files.img"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SOCKET, _TIMER = 4, 12
_FAMILY, _PROTOCOL, _STATE, _SOURCE_PORT, _PEER_PORT, _SOURCE, _PEER, _INTERFACE = 3, 5, 6, 7, 8, 11, 12, 17
_TCP, _CLOSED, _LISTENING = 6, 7, 10
_SECONDS, _NANOSECONDS, _EVERY_SECONDS, _EVERY_NANOSECONDS = 7, 8, 9, 10


def adapted(content: bytes, exists: Callable[[Address], bool]) -> bytes:
    """Return `files.img` for a place where only some addresses exist. Raises `errors.Damaged`."""
    entries = messages.messages(content, messages.COMMON_MAGIC, messages.FILES_MAGIC, FILES)
    return messages.image(messages.COMMON_MAGIC, messages.FILES_MAGIC, [_entry(one, exists) for one in entries])


def exists_here(address: Address) -> bool:
    """Whether an address is one of this host's: for containers that have the host's network."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _entry(content: bytes, exists: Callable[[Address], bool]) -> bytes:
    fields = messages.decode(content, FILES)
    found = messages.nested(fields, _SOCKET)
    if found is not None:
        return messages.edited(content, FILES, {}, {_SOCKET: _socket(found, exists)})
    found = messages.nested(fields, _TIMER)
    if found is not None:
        return messages.edited(content, FILES, {}, {_TIMER: _timer(found)})
    return content


def _socket(content: bytes, exists: Callable[[Address], bool]) -> bytes:
    fields = messages.decode(content, FILES)
    source = _address(fields)
    if source is None or source.is_unspecified or source.is_loopback or exists(source):
        return content
    nowhere = [0] * len(messages.numbers(fields, _SOURCE))
    changed = {_SOURCE: nowhere, _INTERFACE: list[int]()}
    if messages.number(fields, _STATE) != _LISTENING:
        changed |= {_STATE: [_CLOSED], _PEER_PORT: [0], _PEER: nowhere}
        if messages.number(fields, _PROTOCOL) == _TCP:
            changed |= {_SOURCE_PORT: [0]}
    return messages.edited(content, FILES, changed, {})


def _timer(content: bytes) -> bytes:
    """A periodic timer that has rung unheard has no time left, which CRIU takes for one that is switched off."""
    fields = messages.decode(content, FILES)
    left = messages.number(fields, _SECONDS) or messages.number(fields, _NANOSECONDS)
    every = messages.number(fields, _EVERY_SECONDS) or messages.number(fields, _EVERY_NANOSECONDS)
    return content if left or not every else messages.edited(content, FILES, {_NANOSECONDS: [1]}, {})


def _address(fields: Fields) -> Address | None:
    """CRIU keeps a socket's address as words in the order of the network, read as numbers of this machine (little endian)."""
    raw = b"".join((word & 0xFFFFFFFF).to_bytes(4, "little") for word in messages.numbers(fields, _SOURCE))
    family = messages.number(fields, _FAMILY)
    if family == socket.AF_INET and len(raw) >= 4:
        return ipaddress.IPv4Address(raw[:4])
    if family == socket.AF_INET6 and len(raw) == 16:
        found = ipaddress.IPv6Address(raw)
        return found.ipv4_mapped or found
    return None
