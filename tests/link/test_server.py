"""Who gets through the gRPC server over real TLS on loopback, and what everybody else is told."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import identity
from reconciler import errors
from reconciler.core import observed, spec
from reconciler.link import authority, server
from reconciler.wire import agent_pb2, certificates, protocol, rpc
from tests.conditions import eventually
from tests.link import site
from tests.link.site import Raw, Site, state


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as one:
        yield one


def calls(stub: Any) -> dict[str, Callable[[], object]]:
    """Every method of service Agent, called in earnest."""
    key, _ = certificates.new_key()
    up = agent_pb2.Up(version=1, oldest=1, host="a", session=1, generation=1, state=b"{}")
    renew = agent_pb2.RenewRequest(version=1, oldest=1, request=certificates.request(key))
    return {
        "Renew": lambda: stub.Renew(renew, timeout=10),
        "Session": lambda: next(stub.Session(iter([up]), timeout=10)),
        "Code": lambda: next(stub.Code(agent_pb2.CodeRequest(tree=site.TREE), timeout=10)),
    }


def refusal(call: Callable[[], object]) -> Any:
    with pytest.raises(rpc.grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("method", ["Renew", "Session", "Code"])
def test_nobody_gets_through_the_agents_port_without_a_certificate(here: Site, method: str) -> None:
    with rpc.secure_channel(here.addresses.agents, here.authority.certificate) as channel:
        assert refusal(calls(rpc.services.AgentStub(channel))[method]).code() is rpc.grpc.StatusCode.UNAVAILABLE
    assert here.board.hosts() == {}


@pytest.mark.parametrize("method", ["Renew", "Session", "Code"])
def test_the_port_for_joining_serves_nothing_else(here: Site, method: str) -> None:
    own = here.join("a")
    for key, certificate in ((None, None), (own.key.encode(), own.certificate.encode())):
        with rpc.secure_channel(here.addresses.joining, here.authority.certificate, key, certificate) as channel:
            error = refusal(calls(rpc.services.AgentStub(channel))[method])
            assert error.code() is rpc.grpc.StatusCode.UNIMPLEMENTED


def test_no_plain_text_is_spoken(here: Site) -> None:
    for address in (here.addresses.agents, here.addresses.joining):
        with rpc.grpc.insecure_channel(address) as channel:
            stub = rpc.services.JoiningStub(channel)
            error = refusal(lambda stub=stub: stub.Authority(agent_pb2.AuthorityRequest(), timeout=10))  # type: ignore[misc]
            assert error.code() is rpc.grpc.StatusCode.UNAVAILABLE


def test_old_versions_of_tls_are_refused(here: Site) -> None:
    for address in (here.addresses.agents, here.addresses.joining):
        host, _, port = address.rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection((host, int(port)), timeout=10) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain)


def test_a_certificate_of_another_authority_is_worthless(here: Site, tmp_path: Path) -> None:
    other = authority.create(tmp_path / "foreign", "test", here.clock)
    own = here.join("a")
    key, pem = certificates.new_key()
    forged = other.certify(certificates.request(key), "a", "")
    with rpc.secure_channel(here.addresses.agents, own.authority.encode(), pem, forged) as channel:
        for call in calls(rpc.services.AgentStub(channel)).values():
            assert refusal(call).code() is rpc.grpc.StatusCode.UNAVAILABLE


def test_a_host_cannot_pose_as_the_server(here: Site) -> None:
    own = here.join("a")
    grpc = rpc.grpc
    impostor = grpc.server(thread_pool())
    credentials = grpc.ssl_server_credentials([(own.key.encode(), own.certificate.encode() + own.authority.encode())])
    port = impostor.add_secure_port("127.0.0.1:0", credentials)
    impostor.start()
    try:
        with rpc.secure_channel(f"127.0.0.1:{port}", own.authority.encode()) as channel:
            stub = rpc.services.JoiningStub(channel)
            error = refusal(lambda: stub.Authority(agent_pb2.AuthorityRequest(), timeout=10))
            assert "VERIFY_FAILED" in error.details() or "name" in error.details().lower()
    finally:
        impostor.stop(0).wait()


def thread_pool() -> Any:
    from concurrent import futures

    return futures.ThreadPoolExecutor(max_workers=2)


@pytest.mark.parametrize("days", [-3, 3], ids=["expired", "not-yet-valid"])
def test_a_certificate_is_good_in_its_time_only(here: Site, days: int) -> None:
    own = here.join("a")
    here.clock.ahead = days * 86400
    key, pem = certificates.new_key()
    old = here.authority.certify(certificates.request(key), "a", "")
    with rpc.secure_channel(here.addresses.agents, own.authority.encode(), pem, old) as channel:
        for call in calls(rpc.services.AgentStub(channel)).values():
            assert refusal(call).code() is rpc.grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_another_instance_under_the_same_authority_is_refused(here: Site, tmp_path: Path) -> None:
    here.join("a")
    sibling = authority.load(tmp_path / "keys", "other", here.clock)
    key, pem = certificates.new_key()
    certificate = sibling.certify(certificates.request(key), "a", "")
    with rpc.secure_channel(here.addresses.agents, here.authority.certificate, pem, certificate) as channel:
        for call in calls(rpc.services.AgentStub(channel)).values():
            error = refusal(call)
            assert error.code() is rpc.grpc.StatusCode.PERMISSION_DENIED
            assert "for instance other" in error.details()


def test_a_host_may_not_speak_for_another(here: Site) -> None:
    session = Raw(here.join("a"))
    session.say(state("b", 1))
    assert "the certificate is for host a, the message for host b" in session.refused()
    session.close()
    assert "b" not in here.board.hosts()


def test_nor_with_an_honest_envelope_around_it(here: Site) -> None:
    session = Raw(here.join("a"))
    session.say(state("b", 1), host="a")
    assert "host a may not speak for host b" in session.refused()
    session.close()
    assert here.board.hosts() == {}


def test_the_pool_is_the_certificates(here: Site) -> None:
    session = Raw(here.join("a", pool="spot"))
    session.say(state("a", 1, pool="trusted"))
    eventually(lambda: "a" in here.board.hosts())
    assert here.board.hosts()["a"].state.pool == "spot"
    session.close()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"state": b"{"}, "not a valid HostState"),
        ({"state": b'{"host": "a", "items": [{}]}'}, "not a valid HostState"),
        ({"generation": 9}, "do not have the same number"),
        ({"session": 9}, "do not have the same number"),
        ({"state": b""}, "begins with a state"),
        ({"version": 9, "oldest": 8}, "speaks protocol 8 to 9 and the reconciler 1: update the reconciler"),
        ({"version": 0, "oldest": 0}, "speaks protocol 0 and the reconciler 1: update the agent of host a"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_plain_words(here: Site, fields: dict[str, object], reason: str) -> None:
    session = Raw(here.join("a"))
    session.say(state("a", 1), **fields)
    assert reason in session.refused()
    session.close()


def test_a_sign_of_life_moves_the_number_and_never_back(here: Site) -> None:
    session = Raw(here.join("a"))
    session.say(state("a", 5))
    session.say(state("a", 8), state=b"")
    site.heard(here, "a", state("a", 8))
    session.say(state("a", 7), state=b"")
    assert "no state of host a came before 1.7" in session.refused()
    session.close()


def test_an_agent_one_version_newer_is_understood(here: Site) -> None:
    session = Raw(here.join("a"))
    newer = b'{"host":"a","session":1,"generation":1,"weather":{"mood":"fair"},"items":[]}'
    session.say(state("a", 1), version=protocol.VERSION + 1, oldest=protocol.VERSION, state=newer)
    site.heard(here, "a", state("a", 1))
    session.close()


def test_a_message_over_the_limit_ends_the_session_and_nothing_else(here: Site) -> None:
    session = Raw(here.join("a"))
    other = Raw(here.join("b"))
    other.say(state("b", 1))
    site.heard(here, "b", state("b", 1))
    session.say(state("a", 1, conditions=("x" * protocol.MESSAGE_BYTES,)))
    assert "larger than max" in session.refused()
    assert "a" not in here.board.hosts()
    other.say(state("b", 2))
    site.heard(here, "b", state("b", 2))
    session.close()
    other.close()


def test_a_second_connection_of_a_host_takes_over(here: Site) -> None:
    own = here.join("a")
    first = Raw(own)
    first.say(state("a", 1))
    site.heard(here, "a", state("a", 1))
    second = Raw(own)
    second.say(state("a", 2))
    assert "another connection of host a has taken over" in first.refused()
    site.heard(here, "a", state("a", 2))
    assert here.board.hosts()["a"].connected
    first.close()
    second.close()


def test_an_older_agent_with_a_copied_identity_does_not_break_in_on_the_newer_one(here: Site) -> None:
    own = here.join("a")
    newer = Raw(own)
    newer.say(state("a", 1, session=7))
    site.heard(here, "a", state("a", 1, session=7))
    older = Raw(own)
    assert here.board.hosts()["a"].connected
    older.say(state("a", 9, session=6))
    assert "older than that of another agent with its identity" in older.refused()
    assert here.board.hosts()["a"].connected
    newer.say(state("a", 2, session=7))
    site.heard(here, "a", state("a", 2, session=7))
    older.close()
    newer.close()


def test_a_revoked_host_is_thrown_out_and_stays_out(here: Site) -> None:
    own = here.join("a")
    session = Raw(own)
    session.say(state("a", 1))
    site.heard(here, "a", state("a", 1))
    here.book.revoked_hosts.add("a")
    assert "host a is revoked" in session.refused()
    session.close()
    assert not here.board.hosts()["a"].connected
    with rpc.secure_channel(own.address, own.authority.encode(), own.key.encode(), own.certificate.encode()) as channel:
        for call in calls(rpc.services.AgentStub(channel)).values():
            error = refusal(call)
            assert error.code() is rpc.grpc.StatusCode.PERMISSION_DENIED
            assert "host a is revoked" in error.details()


def test_an_agent_that_another_one_has_followed_is_told_what_to_do(here: Site) -> None:
    own = here.join("a")
    later = dataclasses.replace(state("a", 1), session=8)
    first = Raw(own)
    first.say(later)
    site.heard(here, "a", later)
    first.close()
    second = Raw(own)
    second.say(dataclasses.replace(later, session=7))
    assert "end one of the two; if the other has gone, start this one anew" in second.refused()
    second.close()


def test_a_session_ends_with_its_certificate(here: Site) -> None:
    session = Raw(here.join("a"))
    session.say(state("a", 1))
    site.heard(here, "a", state("a", 1))
    here.clock.ahead = 2 * 86400
    assert "has expired" in session.refused()
    session.close()


def test_while_the_ledger_is_out_of_reach_sessions_go_on_and_new_ones_wait(here: Site) -> None:
    own = here.join("a")
    session = Raw(own)
    session.say(state("a", 1))
    site.heard(here, "a", state("a", 1))
    here.book.unavailable = True
    with rpc.secure_channel(own.address, own.authority.encode(), own.key.encode(), own.certificate.encode()) as channel:
        error = refusal(calls(rpc.services.AgentStub(channel))["Renew"])
    assert error.code() is rpc.grpc.StatusCode.UNAVAILABLE
    session.say(state("a", 2))
    site.heard(here, "a", state("a", 2))
    session.close()


def test_a_slow_agent_finds_the_newest_set_and_holds_nobody_up(here: Site) -> None:
    """It reads nothing for a while, as a stopped process would: the server keeps one set for it, whatever is sent."""
    slow, quick = Raw(here.join("a")), Raw(here.join("b"))
    slow.say(state("a", 1))
    quick.say(state("b", 1))
    site.heard(here, "a", state("a", 1))
    site.heard(here, "b", state("b", 1))
    big = spec.Assignment(spec=site.attempt(env="z" * 2**20))
    for generation in range(1, 51):
        here.board.send(site.assignments("a", generation, big))
        here.board.send(site.assignments("b", generation))
    eventually(lambda: quick.next().generation == 50)
    eventually(lambda: slow.next().generation == 50)
    assert len(slow.down) < 50, "sets between were skipped"
    slow.close()
    quick.close()


def test_code_comes_in_chunks_and_only_by_tree_id(here: Site) -> None:
    own = here.join("a")
    with rpc.secure_channel(own.address, own.authority.encode(), own.key.encode(), own.certificate.encode()) as channel:
        stub = rpc.services.AgentStub(channel)
        chunks = [chunk.data for chunk in stub.Code(agent_pb2.CodeRequest(tree=site.TREE))]
        assert [len(chunk) for chunk in chunks] == [protocol.CHUNK_BYTES, 1]
        for tree in ("HEAD", "--output=/etc/passwd", "main:secret", "4B825DC642CB6EB9A060E54BF8D69288FBEE4904"):
            error = refusal(lambda tree=tree: list(stub.Code(agent_pb2.CodeRequest(tree=tree))))  # type: ignore[misc]
            assert error.code() is rpc.grpc.StatusCode.INVALID_ARGUMENT
        error = refusal(lambda: list(stub.Code(agent_pb2.CodeRequest(tree="0" * 40))))
        assert error.code() is rpc.grpc.StatusCode.UNAVAILABLE


def test_renewal_keeps_name_and_pool_whatever_is_asked(here: Site) -> None:
    own = here.join("a", pool="spot")
    key, _ = certificates.new_key()
    with rpc.secure_channel(own.address, own.authority.encode(), own.key.encode(), own.certificate.encode()) as channel:
        request = agent_pb2.RenewRequest(version=1, oldest=1, request=certificates.request(key))
        bearer = certificates.read(rpc.services.AgentStub(channel).Renew(request).certificate)
    assert (bearer.host, bearer.pool, bearer.instance) == ("a", "spot", "test")
    assert bearer.serial != own.bearer.serial


def test_the_address_can_be_had_once(here: Site, tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match="cannot be listened on") as caught:
        Site(tmp_path / "second").server.start(here.addresses.agents)
    assert caught.value.where == here.addresses.agents


@pytest.mark.parametrize("listen", ["", "7443", "localhost", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:65535", "127.0.0.1:-1"])
def test_what_is_no_address_is_refused(here: Site, listen: str) -> None:
    with pytest.raises(errors.UsageError, match="not an address"):
        server.AgentServer(here.board, here.authority, here.book, here.code, here.clock).start(listen)


def test_the_identity_of_one_host_used_by_another_is_that_host(here: Site) -> None:
    """A stolen certificate gives its own host's name and no other."""
    a, b = here.join("a"), here.join("b")
    stolen = dataclasses.replace(b, key=a.key, certificate=a.certificate)
    session = Raw(stolen)
    session.say(state("b", 1))
    assert "the certificate is for host a, the message for host b" in session.refused()
    session.close()


def test_a_key_without_its_certificate_is_worthless(here: Site) -> None:
    a, b = here.join("a"), here.join("b")
    mixed = dataclasses.replace(a, key=b.key)
    session = Raw(mixed)
    session.say(state("a", 1))
    with pytest.raises((rpc.grpc.RpcError, ValueError)):
        session.next()
    session.close()
    assert here.board.hosts() == {}


def test_an_identity_never_shows_its_key(here: Site) -> None:
    own = here.join("a")
    assert isinstance(own, identity.Identity)
    assert "PRIVATE" not in repr(own)
    assert observed.HostState(host="a").host in repr(own)
