"""What `contracts.link.AgentLink` promises, of the fake, the embedded door and gRPC over real mutual TLS."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from reconciler import errors
from reconciler.contracts import link
from reconciler.core import codec, observed, spec
from reconciler.link import embedded, fake, switchboard
from reconciler.wire import protocol, rpc
from tests.conditions import eventually
from tests.link import site
from tests.link.site import assignments, attempt, state


class Agent(Protocol):
    """The other end, as a test drives it."""

    def hear(self, one: observed.HostState) -> None:
        """Send a state and wait until it is accepted; raises `errors.Refused` when it is not."""

    def newest(self) -> spec.Assignments | None:
        """What this connection has received last."""

    def leave(self) -> None:
        """End the connection and wait until that is known."""


class World(Protocol):
    """One implementation under test."""

    @property
    def link(self) -> link.AgentLink: ...

    def connect(self, host: str) -> Agent: ...


class FakeWorld:
    def __init__(self) -> None:
        self.link = fake.FakeLink(site.Clock())

    def connect(self, host: str) -> Agent:
        return FakeAgent(self.link, host)


class FakeAgent:
    def __init__(self, one: fake.FakeLink, host: str) -> None:
        self._link, self._host = one, host

    def hear(self, one: observed.HostState) -> None:
        self._link.hear(one)

    def newest(self) -> spec.Assignments | None:
        return self._link.newest(self._host)

    def leave(self) -> None:
        self._link.disconnect(self._host)


class EmbeddedWorld:
    def __init__(self) -> None:
        self.link = switchboard.Switchboard(site.Clock())

    def connect(self, host: str) -> Agent:
        return EmbeddedAgent(embedded.EmbeddedDoor(self.link, host))


class EmbeddedAgent:
    def __init__(self, door: embedded.EmbeddedDoor) -> None:
        self._door = door
        self.hear = door.deliver
        self.newest = door.assignments
        self.leave = door.close


class GrpcWorld:
    def __init__(self, one: site.Site) -> None:
        self._site = one
        self.link = one.board
        self.agents: list[GrpcAgent] = []

    def connect(self, host: str) -> Agent:
        agent = GrpcAgent(self._site, host)
        self.agents.append(agent)
        return agent


class GrpcAgent:
    def __init__(self, one: site.Site, host: str) -> None:
        self._site, self._host = one, host
        self.raw = site.Raw(one.join(host))
        self._newest: spec.Assignments | None = None
        self._reason: str | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while True:
                message = self.raw.next()
                if message.assignments:
                    self._newest = codec.decode(message.assignments, spec.Assignments)
        except StopIteration:
            self._reason = ""
        except rpc.grpc.RpcError as error:
            self._reason = str(error.details())

    def hear(self, one: observed.HostState) -> None:
        self.raw.say(one)

        def answered() -> bool:
            now = self._site.board.hosts().get(self._host)
            return self._reason is not None or (now is not None and now.connected and _number(now.state) == _number(one))

        eventually(answered)
        if self._reason:
            raise errors.Refused(self._reason)

    def newest(self) -> spec.Assignments | None:
        return self._newest

    def leave(self) -> None:
        self.raw.close()
        eventually(lambda: not self._site.board.hosts()[self._host].connected)


def _number(one: observed.HostState) -> tuple[int, int]:
    return one.session, one.generation


@pytest.fixture(params=["fake", "embedded", "grpc"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "grpc":
        with site.Site(tmp_path) as one:
            world = GrpcWorld(one)
            yield world
            for agent in world.agents:
                agent.raw.close()
    else:
        yield FakeWorld() if request.param == "fake" else EmbeddedWorld()


def test_a_host_is_heard_with_its_newest_state(world: World) -> None:
    assert world.link.hosts() == {}
    agent = world.connect("a")
    agent.hear(state("a", 1))
    agent.hear(state("a", 2, draining=True))
    heard = world.link.hosts()["a"]
    assert heard.state == state("a", 2, draining=True)
    assert heard.connected


def test_the_same_state_may_be_sent_again(world: World) -> None:
    agent = world.connect("a")
    agent.hear(state("a", 5))
    agent.hear(state("a", 5))
    assert world.link.hosts()["a"].state.generation == 5


@pytest.mark.parametrize("older", [state("a", 4, session=3), state("a", 9, session=2)], ids=["generation", "session"])
def test_an_older_state_is_refused_and_changes_nothing(world: World, older: observed.HostState) -> None:
    agent = world.connect("a")
    agent.hear(state("a", 5, session=3))
    with pytest.raises(errors.Refused, match="older than"):
        agent.hear(older)
    assert world.link.hosts()["a"].state == state("a", 5, session=3)


def test_a_replay_on_a_new_connection_is_refused(world: World) -> None:
    first = world.connect("a")
    first.hear(state("a", 5, session=3))
    first.leave()
    with pytest.raises(errors.Refused, match="older than"):
        world.connect("a").hear(state("a", 4, session=3))


def test_a_host_that_left_is_known_but_not_connected(world: World) -> None:
    agent = world.connect("a")
    agent.hear(state("a", 1))
    agent.leave()
    heard = world.link.hosts()["a"]
    assert not heard.connected
    assert heard.state == state("a", 1)


def test_items_are_their_hosts_own_whatever_they_say(world: World) -> None:
    item = observed.Item(ref=attempt().ref, state=observed.ItemState.RUNNING, host="b")
    agent = world.connect("a")
    agent.hear(state("a", 1, items=(item,)))
    assert world.link.hosts()["a"].state.items == (dataclasses.replace(item, host="a"),)


def test_a_set_sent_before_the_host_came_waits_for_its_first_state(world: World) -> None:
    world.link.send(assignments("a", 1, spec.Assignment(spec=attempt())))
    agent = world.connect("a")
    assert agent.newest() is None
    agent.hear(state("a", 1))
    eventually(lambda: agent.newest() == assignments("a", 1, spec.Assignment(spec=attempt())))


def test_only_the_newest_set_counts(world: World) -> None:
    agent = world.connect("a")
    agent.hear(state("a", 1))
    for generation in range(1, 101):
        world.link.send(assignments("a", generation))
    world.link.send(assignments("a", 7))
    eventually(lambda: (now := agent.newest()) is not None and now.generation == 100)


def test_a_reconnecting_agent_is_sent_the_newest_set_at_once(world: World) -> None:
    agent = world.connect("a")
    agent.hear(state("a", 1))
    world.link.send(assignments("a", 3))
    agent.leave()
    world.link.send(assignments("a", 4))
    again = world.connect("a")
    again.hear(state("a", 2))
    eventually(lambda: (now := again.newest()) is not None and now.generation == 4)


def test_a_host_without_its_journal_is_not_handed_what_it_once_ran(world: World) -> None:
    agent = world.connect("a")
    agent.hear(state("a", 1))
    world.link.send(assignments("a", 3, spec.Assignment(spec=attempt())))
    agent.hear(state("a", 2, accepted=3))
    agent.leave()
    again = world.connect("a")
    again.hear(state("a", 1, session=2, accepted=0))
    world.link.send(assignments("a", 4))
    eventually(lambda: again.newest() is not None)
    assert again.newest() == assignments("a", 4)


def test_sets_go_to_their_own_host_only(world: World) -> None:
    a, b = world.connect("a"), world.connect("b")
    a.hear(state("a", 1))
    b.hear(state("b", 1))
    world.link.send(assignments("a", 1))
    eventually(lambda: a.newest() is not None)
    assert b.newest() is None


def test_a_change_wakes_and_mere_progress_does_not(world: World) -> None:
    woken: list[int] = []
    world.link.listen(lambda: woken.append(1))
    item = observed.Item(ref=attempt().ref, state=observed.ItemState.RUNNING, host="a")
    agent = world.connect("a")
    agent.hear(state("a", 1, items=(item,)))
    assert len(woken) == 1
    agent.hear(state("a", 2, items=(dataclasses.replace(item, progress=observed.Progress(step=5)),)))
    assert len(woken) == 1
    agent.hear(state("a", 3, items=(dataclasses.replace(item, state=observed.ItemState.ENDED),)))
    assert len(woken) == 2


def test_a_set_longer_than_a_message_is_refused_where_it_is_sent(world: World) -> None:
    if isinstance(world.link, fake.FakeLink):
        world.link.too_long = {"a"}
    huge = assignments("a", 1, spec.Assignment(spec=attempt(env="x" * protocol.MESSAGE_BYTES)))
    with pytest.raises(errors.Refused):
        world.link.send(huge)


def test_two_hundred_attempts_fit_both_ways(world: World) -> None:
    agent = world.connect("a")
    specs = [attempt(f"r{number}", env="y" * 40_000) for number in range(200)]
    items = tuple(observed.Item(ref=one.ref, state=observed.ItemState.RUNNING, host="a", spec=one) for one in specs)
    agent.hear(state("a", 1, items=items))
    world.link.send(assignments("a", 1, *(spec.Assignment(spec=one) for one in specs)))
    eventually(lambda: (now := agent.newest()) is not None and len(now.items) == 200)
