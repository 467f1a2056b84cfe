"""Joining by a one-time token over real TLS: what works once, and what is refused without leaving a trace."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from agent import identity, join
from reconciler import errors
from reconciler.link import authority
from reconciler.wire import agent_pb2, certificates, protocol, rpc, token
from tests.link import site
from tests.link.site import Raw, Site, heard, state


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as one:
        yield one


def test_a_token_gives_a_host_its_identity(here: Site, tmp_path: Path) -> None:
    data = tmp_path / "new" / "agent"
    own = join.join(here.token("gpu-1", pool="spot"), "gpu-1", data)
    assert identity.load(data) == own
    assert (own.instance, own.host, own.pool, own.address) == ("test", "gpu-1", "spot", here.addresses.agents)
    assert own.authority.encode() == here.authority.certificate
    assert (data / identity.FILE).stat().st_mode & 0o777 == 0o600
    session = Raw(own)
    session.say(state("gpu-1"))
    heard(here, "gpu-1", state("gpu-1", pool="spot"))
    session.close()


def test_the_identity_never_shows_its_key(here: Site) -> None:
    own = here.join("a")
    assert "PRIVATE" in own.key
    assert "PRIVATE" not in repr(own)


@pytest.mark.parametrize("before", [True, False], ids=["joined-before", "new-host"])
def test_a_used_token_is_refused_and_changes_nothing(here: Site, tmp_path: Path, before: bool) -> None:
    text = here.token("a")
    first = join.join(text, "a", tmp_path / "first")
    second = tmp_path / ("first" if before else "second")
    with pytest.raises(errors.Refused, match="the token has been used") as caught:
        join.join(text, "a", second)
    assert caught.value.exit_code == 2
    assert "perdure token create a" in caught.value.remedy
    if before:
        assert identity.load(second) == first
        assert [path.name for path in second.iterdir()] == [identity.FILE]
    else:
        assert not second.exists()


def refused(text: str, host: str, tmp_path: Path) -> str:
    with pytest.raises(errors.Refused) as caught:
        join.join(text, host, tmp_path / "agent")
    assert not (tmp_path / "agent").exists()
    assert token.parse(text).secret not in str(caught.value)
    return str(caught.value)


def test_an_expired_token_is_refused(here: Site, tmp_path: Path) -> None:
    assert "the token has expired" in refused(here.token("a", seconds=-1.0), "a", tmp_path)


def test_a_token_for_another_host_is_refused_and_not_used_up(here: Site, tmp_path: Path) -> None:
    text = here.token("a")
    assert "the token is for another host" in refused(text, "b", tmp_path)
    assert join.join(text, "a", tmp_path / "agent").host == "a"


def test_an_unknown_token_is_refused(here: Site, tmp_path: Path) -> None:
    text = token.Token(address=here.addresses.joining, pin=here.authority.pin, secret=token.secret()).text()
    assert "the token is not known" in refused(text, "a", tmp_path)


def test_a_server_with_another_authority_never_sees_the_secret(here: Site, tmp_path: Path) -> None:
    pin = authority.create(tmp_path / "other", "test", here.clock).pin
    secret = here.book.create("a")
    text = token.Token(address=here.addresses.joining, pin=pin, secret=secret).text()
    assert "does not belong to the instance" in refused(text, "a", tmp_path)
    assert all(one.used_at is None for one in here.book.joins.values())


class Thief(rpc.services.JoiningServicer):
    """Shows the true authority's certificate, which is public, and hopes for the secret."""

    def __init__(self, shown: bytes) -> None:
        self.shown = shown
        self.secrets: list[str] = []

    def Authority(self, request: Any, context: Any) -> agent_pb2.AuthorityReply:
        del request, context
        return agent_pb2.AuthorityReply(certificate=self.shown)

    def Join(self, request: Any, context: Any) -> agent_pb2.JoinReply:
        del context
        self.secrets.append(request.token)
        return agent_pb2.JoinReply()


def test_who_only_shows_the_pinned_certificate_never_sees_the_secret(here: Site, tmp_path: Path) -> None:
    thief = Thief(here.authority.certificate)
    key, chain = authority.create(tmp_path / "other", "test", here.clock).serve()
    server = rpc.grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    rpc.services.add_JoiningServicer_to_server(thief, server)
    port = server.add_secure_port("127.0.0.1:0", rpc.grpc.ssl_server_credentials([(key, chain)]))
    server.start()
    try:
        text = token.Token(address=f"127.0.0.1:{port}", pin=here.authority.pin, secret=here.book.create("a")).text()
        assert "does not belong to the instance" in refused(text, "a", tmp_path)
    finally:
        server.stop(0).wait()
    assert thief.secrets == []


def test_a_server_of_tomorrow_is_told_with_both_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.Clock, "now", lambda _: time.time() + 48 * 3600.0)
    with Site(tmp_path) as here, pytest.raises(errors.Refused, match="by this machine's clock it is") as caught:
        here.join("a")
    assert "Compare the clocks" in caught.value.remedy
    assert not (tmp_path / "agent-a").exists()


def test_nobody_there(here: Site, tmp_path: Path) -> None:
    text = here.token("a")
    here.server.stop()
    with pytest.raises(errors.Unavailable, match="no reconciler answers") as caught:
        join.join(text, "a", tmp_path / "agent")
    assert caught.value.where == here.addresses.joining
    assert not (tmp_path / "agent").exists()


def test_a_ledger_out_of_reach_uses_no_token_up_and_tells_strangers_nothing(here: Site, tmp_path: Path) -> None:
    text = here.token("a")
    here.book.unavailable = True
    with pytest.raises(errors.Unavailable, match="not used up: try again") as caught:
        join.join(text, "a", tmp_path / "agent")
    assert "ledger" not in caught.value.message
    here.book.unavailable = False
    assert join.join(text, "a", tmp_path / "agent").host == "a"


def test_a_revoked_name_is_gone_for_good(here: Site, tmp_path: Path) -> None:
    """Certificates of before are still out there: they must not become good again."""
    here.join("a")
    here.book.revoked_hosts.add("a")
    assert "this host is revoked" in refused(here.token("a"), "a", tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "../x", "a" * 64, "ä"])
def test_odd_names_are_refused_before_anything_is_sent(here: Site, tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.InvalidInput, match="name of a host"):
        join.join(here.token("a"), name, tmp_path / "agent")


@pytest.mark.parametrize(
    ("request_fields", "reason"),
    [
        ({"version": 9, "oldest": 8}, "update the reconciler"),
        ({"version": 0, "oldest": 0}, "update this agent"),
        ({"host": "../a"}, "a host's name has letters"),
        ({"request": b"nonsense"}, "cannot be read"),
    ],
)
def test_a_malformed_request_uses_no_token_up(here: Site, request_fields: dict[str, Any], reason: str) -> None:
    key, _ = certificates.new_key()
    request = {"version": 1, "oldest": 1, "token": here.book.create("a"), "host": "a", "request": certificates.request(key)}
    with rpc.secure_channel(here.addresses.joining, here.authority.certificate) as channel:
        with pytest.raises(rpc.grpc.RpcError) as caught:
            rpc.services.JoiningStub(channel).Join(agent_pb2.JoinRequest(**{**request, **request_fields}), timeout=10)
        assert reason in (caught.value.details() or "")
    assert all(one.used_at is None for one in here.book.joins.values())


def test_a_flood_is_cut_off_before_it_is_read(here: Site) -> None:
    with rpc.secure_channel(here.addresses.joining, here.authority.certificate) as channel:
        request = agent_pb2.JoinRequest(version=1, oldest=1, token="x" * protocol.JOIN_BYTES, host="a")
        with pytest.raises(rpc.grpc.RpcError) as caught:
            rpc.services.JoiningStub(channel).Join(request, timeout=10)
        assert caught.value.code() is rpc.grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_host_that_never_joined_is_told_how(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="has not joined") as caught:
        identity.load(tmp_path)
    assert "perdure token create" in caught.value.remedy


def test_a_half_written_identity_is_damaged_and_stays_private(here: Site, tmp_path: Path) -> None:
    here.join("a")
    path = tmp_path / "agent-a" / identity.FILE
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(errors.Damaged, match="cannot be used") as caught:
        identity.load(tmp_path / "agent-a")
    assert "PRIVATE" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_named_and_uses_no_token_up(here: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = here.token("a")
    with pytest.raises(errors.Unavailable, match="cannot be created"):
        join.join(text, "a", tmp_path / "file" / "agent")
    assert join.join(text, "a", tmp_path / "agent").host == "a"


def test_a_folder_that_cannot_be_written_uses_no_token_up(here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = here.token("a")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", Mock(side_effect=OSError(30, "Read-only file system")))
        with pytest.raises(errors.Unavailable, match="cannot be written: Read-only file system") as caught:
            join.join(text, "a", tmp_path / "new" / "agent")
    assert "--data" in caught.value.remedy
    assert not (tmp_path / "new").exists()
    assert join.join(text, "a", tmp_path / "new" / "agent").host == "a"
