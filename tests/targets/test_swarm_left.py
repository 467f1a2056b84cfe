"""Machines that leave a Swarm, or are closed to new tasks, while an attempt waits there for its container."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.core import observed
from tests.targets.test_swarm import Site, State, item, run

LEFT = {"docker.version": "26.1.5"}
"""What the agent of a machine knows whose engine is in no Swarm."""


@pytest.fixture
def site() -> Site:
    return Site()


def given_up(site: Site, facts: dict[str, str]) -> str:
    """Why the attempt that still waits has not started, once its host has said again how it stands."""
    site.a.report(item(run(), ready=True), facts=facts)
    exit = site.view().items[run().spec.ref].exit
    assert exit is not None
    assert exit.kind is observed.ExitKind.NOT_STARTED
    return exit.detail


@pytest.mark.parametrize("created", [True, False])
def test_what_waits_for_a_container_on_a_machine_that_has_left_the_swarm_has_not_started(site: Site, created: bool) -> None:
    """For the managers its node is down, and the task may begin there at any time."""
    site.ready(run())
    site.view()
    if created:
        site.target.apply(run())
    for _ in range(3):
        site.a.report(item(run(), ready=True), facts=LEFT)
        seen = site.view().items[run().spec.ref]
        assert seen.state is State.PREPARING
        assert (seen.condition, seen.ready) == ("host a is not a node of the Swarm now", False)
        site.clock.pass_(10.0)
    assert given_up(site, LEFT) == "Swarm could not create its container: host a is not a node of it any more"


def test_a_machine_that_leaves_before_it_speaks_of_its_attempt_is_seen_all_the_same(site: Site) -> None:
    site.view()
    site.target.apply(run())
    site.a.report(facts=LEFT)
    assert "a" not in site.view().hosts
    site.target.apply(run())
    site.a.report(item(run(), ready=True))
    assert site.view().items[run().spec.ref].condition == "host a is not a node of the Swarm now"


def test_an_engine_that_does_not_answer_for_long_may_begin_what_waits(site: Site) -> None:
    """It does not say which node it is, and comes back as the same."""
    site.ready(run())
    site.target.apply(run())
    for _ in range(5):
        site.a.report(item(run(), ready=True), facts={})
        assert site.view().items[run().spec.ref].state is State.PREPARING
        site.clock.pass_(20.0)


def waits(site: Site, seconds: float) -> observed.Item:
    """What is said of the attempt once its host has waited so long."""
    for _ in range(4):
        site.a.report(item(run(), ready=True))
        site.view()
        site.clock.pass_(seconds / 4)
    site.a.report(item(run(), ready=True))
    return site.view().items[run().spec.ref]


@pytest.mark.parametrize("availability", ["pause", "drain"])
def test_what_waits_on_a_node_that_is_closed_by_then_begins_elsewhere(site: Site, availability: str) -> None:
    """`docker node update` while its image was pulled: its task would wait for as long as the node is closed."""
    site.ready(run())
    site.view()
    site.target.apply(run())
    site.managers.nodes["n1"] = dataclasses.replace(site.managers.nodes["n1"], availability=availability)
    site.managers.step()
    seen = waits(site, 20.0)
    assert (seen.state, seen.condition) == (State.PREPARING, "Swarm: task new, wanted running: no suitable node")
    seen = waits(site, 40.0)
    assert seen.state is State.ENDED
    assert seen.exit is not None
    assert (seen.exit.kind, seen.exit.detail) == (
        observed.ExitKind.NOT_STARTED,
        "Swarm could not create its container: no suitable node",
    )


def test_what_has_no_room_on_an_open_node_waits(site: Site) -> None:
    site.ready(run())
    site.view()
    site.target.apply(run())
    assert waits(site, 300.0).state is State.PREPARING


def test_a_service_that_somebody_has_scaled_to_nothing_begins_nothing(site: Site) -> None:
    site.ready(run())
    site.view()
    site.target.apply(run())
    (number,) = site.managers.bodies
    site.managers.bodies[number]["Mode"] = {"Replicated": {"Replicas": 0}}
    del site.managers.tasks[number]
    assert waits(site, 20.0).condition == "Swarm: somebody has scaled its service to nothing"
    exit = waits(site, 40.0).exit
    assert exit is not None
    assert exit.detail == "Swarm could not create its container: somebody has scaled its service to nothing"


def test_what_waits_for_the_node_that_its_machine_was_begins_anew(site: Site) -> None:
    """`docker swarm leave` and `join` in between: the former node is down, and its task is kept for a day."""
    site.ready(run())
    site.view()
    site.target.apply(run())
    site.managers.nodes["n4"] = dataclasses.replace(site.managers.nodes["n1"], id="n4")
    site.managers.nodes["n1"] = dataclasses.replace(site.managers.nodes["n1"], state="down")
    ((number, task),) = site.managers.tasks.items()
    site.managers.tasks[number] = dataclasses.replace(task, node="n1", state="assigned", wanted="shutdown")
    joined = {**LEFT, "swarm.node": "n4"}
    for _ in range(3):
        site.a.report(item(run(), ready=True), facts=joined)
        assert site.view().items[run().spec.ref].state is State.PREPARING
        site.clock.pass_(10.0)
    assert given_up(site, joined) == "Swarm could not create its container: host a has become another node of it"
