"""Versions and limits of the conversation between reconciler and agents."""

from __future__ import annotations

from reconciler import errors

VERSION = 1
"""Newest protocol this release speaks."""

OLDEST = 1
"""Oldest protocol this release still speaks. A release that raises VERSION keeps the one before it."""

MESSAGE_BYTES = 16 * 2**20
"""Longest message of a session: room for two hundred attempts with 80 KB of specification each."""

STATE_BYTES = MESSAGE_BYTES - 1024
"""What a state or a set of assignments may take of it: the rest is left to the fields beside."""

JOIN_BYTES = 64 * 2**10
"""Longest message of whoever has no certificate yet."""

CHUNK_BYTES = 256 * 2**10
"""Bytes of an archive sent in one message."""


def join_address(listen: str) -> str:
    """Return the address for joining that belongs to the address (HOST:PORT) agents dial: the next port.

    Port 0, any free one, stays 0. Raises `errors.UsageError` when `listen` is no such address.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) < 65535:
        raise errors.UsageError(
            f"{listen!r} is not an address to listen on",
            where="agents.listen",
            remedy="Write HOST:PORT, e.g. 127.0.0.1:7443; joining takes place on the port after it.",
        )
    return f"{host}:{int(port) + 1 if int(port) else 0}"


def mismatch(version: int, oldest: int, me: str, peer: str) -> str:
    """Return why two ends cannot work together, "" when they can. `me` and `peer` name them in the sentence."""
    if version >= OLDEST and oldest <= VERSION:
        return ""
    newer, older = (peer, me) if version > VERSION else (me, peer)
    return (
        f"{peer} speaks protocol {_range(oldest, version)} and {me} {_range(OLDEST, VERSION)}: "
        f"update {older} to a release close to that of {newer}"
    )


def _range(oldest: int, newest: int) -> str:
    return str(newest) if oldest == newest else f"{oldest} to {newest}"
