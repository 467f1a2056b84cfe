"""What `contracts.target.Target` promises, of the fake, of plain hosts over a fake link, and of a fake Swarm besides."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import pytest

from reconciler.contracts import swarm, target
from reconciler.core import model, observed, settle, spec
from reconciler.link import fake as fake_link
from reconciler.targets import books, fake, hosts
from reconciler.targets.swarm import fake as fake_swarm
from reconciler.targets.swarm import services
from tests.link.site import attempt
from tests.targets.hands import Clock, Host

AT = 1_000_000.0
RUN = spec.Assignment(spec=attempt())
REF = RUN.spec.ref


class World(Protocol):
    """One implementation with a host "a" that is heard."""

    run: spec.Assignment
    """An attempt as the plan makes it for this kind of target."""

    @property
    def target(self) -> target.Target: ...

    def work(self) -> None:
        """Let the host do what it was told, and report."""

    def end(self) -> None:
        """Let the attempt on the host come to its end, and report."""

    def silence(self) -> None:
        """Let the host be heard no more."""

    def speak(self) -> None:
        """Let it be heard again."""


def stopped(world: World) -> spec.Assignment:
    return dataclasses.replace(world.run, want=spec.Want.STOP)


class HostsWorld:
    run = RUN

    def __init__(self) -> None:
        self.clock = Clock()
        self.link = fake_link.FakeLink(self.clock)
        self.target: target.Target = hosts.HostsTarget(model.TargetSpec(name="plain"), books.Books(self.link, self.clock))
        self.host = Host(self.link, "a")
        self.host.report()

    def work(self) -> None:
        self.host.obey()

    def end(self) -> None:
        self.host.report(*(dataclasses.replace(item, state=observed.ItemState.ENDED) for item in self.host.state.items))

    def silence(self) -> None:
        self.host.leave()

    def speak(self) -> None:
        self.host.report()
        self.host.obey()


class SwarmWorld(HostsWorld):
    """Like plain hosts, with a node of a fake Swarm that the host's machine is."""

    run = spec.Assignment(
        spec=dataclasses.replace(RUN.spec, created_by=spec.Creator.ENGINE, workload=model.Workload(image="i"))
    )

    def __init__(self) -> None:
        super().__init__()
        self.managers = fake_swarm.FakeSwarm(swarm.Node(id="n1", cpu=4000, memory=2**33))
        self.target = services.SwarmTarget(
            model.TargetSpec(name="plain"), "test", books.Books(self.link, self.clock), self.managers, self.clock
        )
        self.host.report(facts={"swarm.node": "n1"})


class FakeWorld:
    run = RUN

    def __init__(self) -> None:
        self.clock = Clock()
        self.target = fake.FakeTarget("plain", self.clock, lambda _: fake.Program(steps=3))
        self.target.hosts["a"] = self.host = fake.FakeHost("a")
        self.target.observe(AT)

    def work(self) -> None:
        self.target.step()

    def end(self) -> None:
        for _ in range(4):
            self.target.step()

    def silence(self) -> None:
        self.host.silent = True

    def speak(self) -> None:
        self.host.silent = False


@pytest.fixture(params=[FakeWorld, HostsWorld, SwarmWorld], ids=["fake", "hosts", "swarm"])
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.param()
    return made


Result = settle.Result


def test_it_says_by_which_engines_attempts_can_be_saved(world: World) -> None:
    assert model.EngineName.NONE in world.target.capabilities().engines


def test_a_heard_host_is_listed(world: World) -> None:
    view = world.target.observe(AT)
    assert (view.name, view.known) == ("plain", True), view.error
    assert view.hosts["a"].silent_since is None
    assert view.hosts["a"].seen_at == AT
    assert view.items == {}


def test_an_attempt_is_created_once(world: World) -> None:
    assert world.target.apply(world.run).result is Result.CREATED
    assert world.target.apply(world.run).result is Result.UNCHANGED
    world.work()
    assert world.target.apply(world.run).result is Result.UNCHANGED
    item = world.target.observe(AT).items[REF]
    assert (item.host, item.want, item.spec) == ("a", spec.Want.RUN, world.run.spec)


def test_what_stands_is_adopted_and_changed(world: World) -> None:
    world.target.apply(world.run)
    world.work()
    changed = dataclasses.replace(world.run, spec=dataclasses.replace(world.run.spec, timeout=60.0))
    assert world.target.apply(changed).result is Result.CHANGED
    world.work()
    item = world.target.observe(AT).items[REF]
    assert item.spec == changed.spec
    assert len(world.target.observe(AT).items) == 1


def test_a_stopped_attempt_ends(world: World) -> None:
    world.target.apply(world.run)
    world.work()
    assert world.target.apply(stopped(world)).result is Result.CHANGED
    world.work()
    assert world.target.observe(AT).items[REF].state is observed.ItemState.ENDED


def test_an_attempt_without_a_host_is_refused(world: World) -> None:
    nowhere = dataclasses.replace(world.run, spec=dataclasses.replace(world.run.spec, host=""))
    assert world.target.apply(nowhere).result is Result.REFUSED


def test_an_unknown_host_is_not_an_absent_one(world: World) -> None:
    elsewhere = dataclasses.replace(world.run, spec=dataclasses.replace(world.run.spec, host="nobody"))
    assert world.target.apply(elsewhere).result is Result.UNKNOWN
    assert world.target.delete(REF, "nobody").result is Result.UNKNOWN
    assert world.target.confirm_gone(REF, "nobody") is target.Presence.UNKNOWN


def test_deleting_frees_what_ended_and_deleting_again_is_success(world: World) -> None:
    world.target.apply(world.run)
    world.work()
    world.end()
    assert world.target.delete(REF, "a").result is Result.DELETED
    world.work()
    assert world.target.observe(AT).items == {}
    assert world.target.delete(REF, "a").result is Result.UNCHANGED


def test_a_silent_host_keeps_its_last_state_and_nothing_of_it_is_absent(world: World) -> None:
    world.target.apply(world.run)
    world.work()
    before = world.target.observe(AT).items[REF]
    world.silence()
    for tries in (1, 2, 3):
        view = world.target.observe(AT + 60 * tries)
        assert view.known
        assert view.hosts["a"].silent_tries == tries
        assert view.hosts["a"].silent_since is not None
        assert view.items[REF] == before


def test_a_host_that_speaks_again_is_silent_no_more(world: World) -> None:
    world.silence()
    world.target.observe(AT)
    world.speak()
    view = world.target.observe(AT + 1)
    assert view.hosts["a"].silent_since is None
    assert view.hosts["a"].silent_tries == 0


def test_a_silent_host_answers_nothing(world: World) -> None:
    world.target.apply(world.run)
    world.work()
    world.silence()
    assert world.target.apply(stopped(world)).result is Result.UNKNOWN
    assert world.target.delete(REF, "a").result is Result.UNKNOWN
    assert world.target.confirm_gone(REF, "a") is target.Presence.UNKNOWN


def test_presence_follows_the_attempt(world: World) -> None:
    world.target.apply(world.run)
    world.work()
    assert world.target.confirm_gone(REF, "a") is target.Presence.PRESENT
    world.end()
    assert world.target.confirm_gone(REF, "a") is target.Presence.GONE
    world.target.delete(REF, "a")
    world.work()
    assert world.target.confirm_gone(REF, "a") is target.Presence.GONE
