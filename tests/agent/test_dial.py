"""The agent's connection: newest state up, newest set down, mended and renewed by itself, over real mutual TLS."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent import dial, identity
from reconciler import errors
from reconciler.core import codec, observed, spec
from reconciler.wire import agent_pb2, protocol, rpc
from tests.conditions import eventually
from tests.link import site
from tests.link.site import Site, assignments, attempt, heard, state

QUICK = dial.Pace(keepalive=1.0, renewal=0.05, backoff=0.02, backoff_cap=0.1, refused=0.05)
HOUR = 3600.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as one:
        yield one


@pytest.fixture
def connect(here: Site) -> Iterator[Callable[[str], dial.Dial]]:
    """Lets a host join and dial."""
    made: list[dial.Dial] = []

    def start(host: str) -> dial.Dial:
        here.join(host)
        one = dial.Dial(here.folder / f"agent-{host}", here.clock, QUICK)
        one.start()
        made.append(one)
        return one

    yield start
    for one in made:
        one.stop()


Connect = Callable[[str], dial.Dial]


def test_states_go_up_and_sets_come_down(here: Site, connect: Connect) -> None:
    a = connect("a")
    woken: list[int] = []
    a.listen(lambda: woken.append(1))
    assert a.newest() is None
    a.send(state("a", 1))
    heard(here, "a", state("a", 1))
    wanted = assignments("a", 1, spec.Assignment(spec=attempt()))
    here.board.send(wanted)
    eventually(lambda: a.newest() == wanted)
    assert woken
    assert a.trouble == ""


def test_what_is_received_encodes_to_the_bytes_that_were_sent(here: Site, connect: Connect) -> None:
    a = connect("a")
    a.send(state("a", 1))
    wanted = assignments("a", 1, spec.Assignment(spec=attempt(env="ünï\u0000 \U0001f600"), want=spec.Want.STOP))
    here.board.send(wanted)
    eventually(lambda: a.newest() is not None)
    assert codec.encode(a.newest()) == codec.encode(wanted)


def test_only_the_newest_of_many_states_matters(here: Site, connect: Connect) -> None:
    a = connect("a")
    for generation in range(1, 1001):
        a.send(state("a", generation, draining=generation == 1000))
    heard(here, "a", state("a", 1000, draining=True))


def test_signs_of_life_keep_the_host_heard(here: Site, connect: Connect) -> None:
    a = connect("a")
    a.send(state("a", 1))
    heard(here, "a", state("a", 1))
    first = here.board.hosts()["a"].at
    a.send(state("a", 2))
    heard(here, "a", state("a", 2))
    assert here.board.hosts()["a"].at > first


def test_a_restarted_reconciler_hears_the_newest_state_and_sends_the_newest_set(here: Site, connect: Connect) -> None:
    a = connect("a")
    a.send(state("a", 1))
    heard(here, "a", state("a", 1))
    here.server.stop()
    eventually(lambda: not here.board.hosts()["a"].connected)
    eventually(lambda: "cannot be reached" in a.trouble)
    a.send(state("a", 2))
    a.send(state("a", 3))
    here.board.send(assignments("a", 7))
    here.start()
    heard(here, "a", state("a", 3))
    eventually(lambda: a.newest() == assignments("a", 7))


def test_it_waits_for_a_reconciler_that_comes_later(here: Site) -> None:
    here.join("a")
    here.server.stop()
    a = dial.Dial(here.folder / "agent-a", here.clock, QUICK)
    a.start()
    a.send(state("a", 1))
    eventually(lambda: "cannot be reached" in a.trouble)
    here.start()
    heard(here, "a", state("a", 1))
    a.stop()


def test_the_certificate_is_renewed_at_two_thirds_of_its_life(here: Site, connect: Connect, tmp_path: Path) -> None:
    a = connect("a")
    a.send(state("a", 1))
    heard(here, "a", state("a", 1))
    before = identity.load(tmp_path / "agent-a")
    here.clock.ahead = 14 * HOUR
    a.send(state("a", 2))
    heard(here, "a", state("a", 2))
    assert identity.load(tmp_path / "agent-a") == before, "too early"
    here.clock.ahead = 16.5 * HOUR
    after = eventually(lambda: (now := identity.load(tmp_path / "agent-a")) != before and now)
    assert isinstance(after, identity.Identity)
    assert after.key != before.key
    assert after.bearer.host == "a"
    assert after.bearer.expires_at > before.bearer.expires_at + 15 * HOUR
    assert not list((tmp_path / "agent-a").glob(".partial*"))


def test_a_renewal_that_fails_costs_no_session(
    here: Site, connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = connect("a")
    a.send(state("a", 1))
    heard(here, "a", state("a", 1))
    before = identity.load(tmp_path / "agent-a")
    here.book.unavailable = True
    here.clock.ahead = 17 * HOUR
    eventually(lambda: "could not be renewed yet" in caplog.text)
    a.send(state("a", 2))
    heard(here, "a", state("a", 2))
    assert here.board.hosts()["a"].connected
    assert identity.load(tmp_path / "agent-a") == before
    here.book.unavailable = False
    eventually(lambda: identity.load(tmp_path / "agent-a") != before)


def test_an_expired_certificate_is_told_in_plain_words(here: Site) -> None:
    here.join("a")
    here.clock.ahead = 48 * HOUR
    a = dial.Dial(here.folder / "agent-a", here.clock, QUICK)
    a.start()
    eventually(lambda: "expired" in a.trouble)
    assert "join again with a new token" in a.trouble
    until = identity.load(here.folder / "agent-a").bearer.expires_at
    assert told(until) in a.trouble
    assert f"by this machine's clock it is {told(here.clock.now())[:10]}" in a.trouble
    here.clock.ahead = 0.0
    a.send(state("a", 1))
    heard(here, "a", state("a", 1))
    a.stop()


def test_a_certificate_of_tomorrow_is_told_with_both_moments(here: Site) -> None:
    here.clock.ahead = 48 * HOUR
    here.join("a")
    here.clock.ahead = 0.0
    a = dial.Dial(here.folder / "agent-a", here.clock, QUICK)
    a.start()
    eventually(lambda: "is not valid yet" in a.trouble)
    assert f"good from {told(identity.load(here.folder / 'agent-a').bearer.starts_at)} until" in a.trouble
    assert "set the clock of this machine" in a.trouble
    a.stop()


def test_a_reconciler_that_hangs_up_may_have_another_clock(here: Site) -> None:
    """By its own clock the host's certificate is over: it says nothing, for it knows nobody yet."""
    here.clock.ahead = -72 * HOUR
    here.join("a")
    a = dial.Dial(here.folder / "agent-a", here.clock, QUICK)
    a.start()
    eventually(lambda: "cannot be reached" in a.trouble)
    assert "compare the reconciler's clock with this one" in a.trouble
    assert told(identity.load(here.folder / "agent-a").bearer.expires_at) in a.trouble
    a.stop()


def told(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="seconds")


def test_a_revoked_host_hears_why(here: Site, connect: Connect) -> None:
    a = connect("a")
    a.send(state("a", 1))
    heard(here, "a", state("a", 1))
    here.book.revoked_hosts.add("a")
    eventually(lambda: "host a is revoked" in a.trouble)
    assert not here.board.hosts()["a"].connected


def test_a_host_that_joins_again_is_dialled_with_its_new_identity(here: Site, connect: Connect) -> None:
    a = connect("a")
    a.send(state("a", 1))
    heard(here, "a", state("a", 1))
    here.clock.ahead = 48 * HOUR
    eventually(lambda: "expired" in a.trouble)
    here.clock.ahead = 0.0
    here.join("a")
    eventually(lambda: here.board.hosts()["a"].connected and a.trouble == "")


def test_an_agent_whose_machine_joins_under_another_name_says_that_it_is_to_be_started_anew(
    here: Site, connect: Connect
) -> None:
    """Its states carry the name that it was started with: it can speak for no other."""
    a = connect("a")
    a.send(state("a", 1))
    heard(here, "a", state("a", 1))
    identity.save(here.folder / "agent-a", here.join("b"))
    here.book.revoked_hosts.add("a")
    eventually(lambda: "has joined again as host b: start the agent of a anew" in a.trouble)
    assert not here.board.hosts()["a"].connected
    assert "b" not in here.board.hosts()


def test_a_state_longer_than_a_message_is_not_sent_and_said(here: Site, connect: Connect) -> None:
    a = connect("a")
    a.send(state("a", 1, conditions=("x" * protocol.MESSAGE_BYTES,)))
    eventually(lambda: "more than a message holds" in a.trouble)
    assert here.board.hosts() == {}
    a.send(state("a", 2))
    heard(here, "a", state("a", 2))


def test_code_is_fetched_whole(connect: Connect) -> None:
    a = connect("a")
    assert b"".join(a.archive(site.TREE)) == b"x" * (protocol.CHUNK_BYTES + 1)
    with pytest.raises(errors.Unavailable, match="could not be fetched"):
        list(a.archive("0" * 40))
    next(a.archive(site.TREE))  # an archive left half read holds nothing open


class Stranger(rpc.services.AgentServicer):
    """A reconciler that sends one message of a test's making to whoever calls."""

    def __init__(self, message: agent_pb2.Down) -> None:
        self.message = message

    def Session(self, request_iterator: Iterator[Any], context: Any) -> Iterator[agent_pb2.Down]:
        del context
        yield self.message
        for _ in request_iterator:
            continue


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (agent_pb2.Down(version=9, oldest=8), "speaks protocol 8 to 9 and this agent 1: update this agent"),
        (agent_pb2.Down(version=0, oldest=0), "update the reconciler"),
        (agent_pb2.Down(version=1, oldest=1, host="a", assignments=b"{"), "not a valid Assignments"),
        (
            agent_pb2.Down(version=1, oldest=1, host="a", assignments=codec.encode(assignments("b", 1))),
            "the assignments of host b",
        ),
    ],
)
def test_a_reconciler_that_is_not_understood_is_named_and_not_obeyed(here: Site, message: agent_pb2.Down, reason: str) -> None:
    here.join("a")
    here.server.stop()
    key, chain = here.authority.serve()
    server = rpc.grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    rpc.services.add_AgentServicer_to_server(Stranger(message), server)
    credentials = rpc.grpc.ssl_server_credentials([(key, chain)], here.authority.certificate, require_client_auth=True)
    server.add_secure_port(here.addresses.agents, credentials)
    server.start()
    a = dial.Dial(here.folder / "agent-a", here.clock, QUICK)
    a.start()
    try:
        eventually(lambda: reason in a.trouble, message=lambda: a.trouble)
        assert a.newest() is None
    finally:
        a.stop()
        server.stop(0).wait()


def test_a_lower_generation_changes_nothing(here: Site, connect: Connect) -> None:
    a = connect("a")
    a.send(state("a", 1))
    here.board.send(assignments("a", 5))
    eventually(lambda: a.newest() == assignments("a", 5))
    here.server.stop()
    here.board = type(here.board)(here.clock)
    here.board.send(assignments("a", 4))
    here.start()
    heard(here, "a", state("a", 1))
    a.send(state("a", 2))
    heard(here, "a", state("a", 2))
    assert a.newest() == assignments("a", 5)


def test_stopping_takes_no_reconciler(here: Site) -> None:
    here.join("a")
    here.server.stop()
    a = dial.Dial(here.folder / "agent-a", here.clock, QUICK)
    a.stop()
    a = dial.Dial(here.folder / "agent-a", here.clock, QUICK)
    a.start()
    eventually(lambda: "cannot be reached" in a.trouble)
    a.stop()


def test_who_has_not_joined_cannot_dial(here: Site, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="has not joined"):
        dial.Dial(tmp_path / "nobody", here.clock).start()


PROGRAM = """
import sys
from pathlib import Path
from agent import dial
from reconciler.core import observed
from reconciler.seams import clock
import logging
logging.getLogger("perdure").addHandler(logging.NullHandler())
pace = dial.Pace(keepalive=1.0, backoff=0.02, backoff_cap=0.1)
one = dial.Dial(Path(sys.argv[1]), clock.System(), pace)
one.start()
one.send(observed.HostState(host="a", session=1, generation=1))
print("ready", flush=True)
for line in sys.stdin:
    one.send(observed.HostState(host="a", session=1, generation=int(line)))
one.stop()
"""


@pytest.fixture
def process(here: Site) -> Iterator[subprocess.Popen[str]]:
    """An agent's connection in a process of its own."""
    here.join("a")
    arguments = [sys.executable, "-W", "error", "-c", PROGRAM, str(here.folder / "agent-a")]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as started:
        try:
            assert started.stdout
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.send_signal(signal.SIGCONT)
            started.kill()


def tell(process: subprocess.Popen[str], generation: int) -> None:
    assert process.stdin
    process.stdin.write(f"{generation}\n")
    process.stdin.flush()


def listening(pid: int) -> list[str]:
    """The sockets on which a process listens, by what the kernel knows."""
    inodes = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            inodes.add(os.readlink(path))
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs Linux's /proc")
def test_an_agent_listens_on_no_port(here: Site, process: subprocess.Popen[str]) -> None:
    heard(here, "a", state("a", 1))
    assert listening(os.getpid()), "the check itself finds the server's ports"
    assert listening(process.pid) == []


def test_a_stopped_agent_falls_silent_holds_nobody_up_and_comes_back(
    here: Site, process: subprocess.Popen[str], connect: Connect
) -> None:
    heard(here, "a", state("a", 1))
    process.send_signal(signal.SIGSTOP)
    big = spec.Assignment(spec=attempt(env="z" * 2**20))
    for generation in range(1, 21):
        here.board.send(assignments("a", generation, big))
    connect("b").send(state("b", 1))
    heard(here, "b", state("b", 1))
    eventually(lambda: not here.board.hosts()["a"].connected)
    process.send_signal(signal.SIGCONT)
    tell(process, 2)
    heard(here, "a", state("a", 2))


def test_reconnecting_is_quiet(here: Site, process: subprocess.Popen[str]) -> None:
    heard(here, "a", state("a", 1))
    here.server.stop()
    eventually(lambda: not here.board.hosts()["a"].connected)
    tell(process, 2)
    here.start()
    heard(here, "a", state("a", 2))
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("", "", 0)


def test_the_state_is_the_hosts_own(here: Site, connect: Connect) -> None:
    """An agent configured with another name than it joined under is told so, and not heard under either."""
    a = connect("a")
    a.send(observed.HostState(host="b", session=1, generation=1))
    eventually(lambda: "host a may not speak for host b" in a.trouble)
    assert here.board.hosts() == {}
