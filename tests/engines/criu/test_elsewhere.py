"""Sockets whose address does not exist where a program goes on, and timers that have rung unheard."""

from __future__ import annotations

import socket

import pytest

from reconciler.engines.criu import elsewhere, messages
from tests.engines.criu import stream

ESTABLISHED, LISTENING, CLOSED = 1, 10, 7
TCP, UDP = 6, 17


def words(address: str, family: int) -> list[int]:
    raw = socket.inet_pton(family, address)
    return [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]


def sock(source: str, peer: str, *, proto: int = TCP, state: int = ESTABLISHED) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    numbers = [(1, 7), (2, 99), (3, family), (4, 1), (5, proto), (6, state), (7, 4000), (8, 80), (9, 2), (10, 0)]
    numbers += [(11, word) for word in words(source, family)] + [(12, word) for word in words(peer, family)]
    isk = messages.encode(numbers) + stream.text(14, b"\x08\x01") + stream.text(17, b"eth0")
    return messages.encode([(1, 2), (2, 7)]) + stream.text(4, isk)


def image(*entries: bytes) -> bytes:
    return messages.image(messages.COMMON_MAGIC, messages.FILES_MAGIC, entries)


def adapted(entry: bytes, *there: str) -> dict[int, list[int | bytes]]:
    content = elsewhere.adapted(image(entry), lambda address: str(address) in there)
    (one,) = messages.messages(content, messages.COMMON_MAGIC, messages.FILES_MAGIC, "files.img")
    inner = messages.nested(messages.decode(one, ""), 4)
    assert inner is not None
    return messages.decode(inner, "")


KEPT = {
    "inside": sock("127.0.0.1", "127.0.0.1"),
    "inside, version 6": sock("::1", "::1"),
    "inside, version 4 in 6": sock("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
    "listening everywhere": sock("0.0.0.0", "0.0.0.0", state=LISTENING),
    "an address that exists": sock("10.0.0.2", "10.0.0.9"),
}


@pytest.mark.parametrize("entry", KEPT.values(), ids=KEPT)
def test_what_can_be_the_same_is(entry: bytes) -> None:
    assert elsewhere.adapted(image(entry), lambda address: str(address) == "10.0.0.2") == image(
        messages.edited(entry, "", {}, {4: messages.nested(messages.decode(entry, ""), 4) or b""})
    )


@pytest.mark.parametrize("source", ["172.17.0.2", "fd00::2", "::ffff:172.17.0.2"])
def test_a_connection_whose_address_is_gone_is_closed(source: str) -> None:
    found = adapted(sock(source, source))
    assert (found[6], found[7], found[8]) == ([CLOSED], [0], [0])
    assert set(found[11]) == set(found[12]) == {0}
    assert 17 not in found
    assert found[14] == [b"\x08\x01"]
    assert found[1] == [7]


def test_a_listener_goes_on_under_the_new_address() -> None:
    found = adapted(sock("172.17.0.2", "0.0.0.0", state=LISTENING))
    assert (found[6], found[7], found[11]) == ([LISTENING], [4000], [0])


def test_datagrams_keep_their_port_and_lose_their_peer() -> None:
    found = adapted(sock("172.17.0.2", "8.8.8.8", proto=UDP))
    assert (found[6], found[7], found[8], found[11], found[12]) == ([CLOSED], [4000], [0], [0], [0])


@pytest.mark.parametrize(("left", "every", "now"), [(0, 5, 1), (3, 5, 3), (0, 0, 0)])
def test_a_timer_that_has_rung_unheard_rings_on(left: int, every: int, now: int) -> None:
    timer = messages.encode([(1, 1), (7, 0), (8, left), (9, 0), (10, every)])
    content = elsewhere.adapted(image(messages.encode([(1, 9)]) + stream.text(12, timer)), lambda address: False)
    (one,) = messages.messages(content, messages.COMMON_MAGIC, messages.FILES_MAGIC, "files.img")
    assert messages.number(messages.decode(messages.nested(messages.decode(one, ""), 12) or b"", ""), 8) == now
