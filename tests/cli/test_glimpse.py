"""What commands beside a loop see between two of its passes."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.cli import glimpse
from reconciler.core import model, observed
from reconciler.targets import hosts
from tests.targets.test_swarm import AT, Site, State, item, run


@pytest.fixture
def site() -> Site:
    made = Site()
    made.view()
    made.a.report(item(run(), ready=True))
    made.target.apply(run())
    made.managers.step()
    return made


def world(site: Site) -> observed.World:
    machines = hosts.HostsTarget(model.TargetSpec(name="machines"), site.books)
    return observed.World(at=AT, targets={"cluster": site.view(), "machines": machines.observe(AT)}, stores={}, unheard={})


def test_what_a_target_knows_of_an_attempt_besides_its_host_stays(site: Site) -> None:
    (node,) = (node for node in site.managers.nodes.values() if node.id == "n1")
    site.managers.nodes["n1"] = dataclasses.replace(node, availability="pause", labels={"disk": "ssd"})
    seen = world(site)
    site.a.report(item(run(), ready=True, progress=observed.Progress(step=7)))
    now = glimpse.newer(seen, site.link.hosts())
    shown = now.targets["cluster"].items[run().spec.ref]
    assert (shown.ready, shown.condition) == (False, seen.targets["cluster"].items[run().spec.ref].condition)
    assert shown.condition.startswith("Swarm: ")
    assert shown.progress == observed.Progress(step=7)
    host = now.targets["cluster"].hosts["a"].state
    assert (host.labels["disk"], host.conditions) == ("ssd", ("its node is set to pause in the Swarm",))
    assert now.targets["machines"].items == {}, "it is another target's"


def test_what_its_host_says_otherwise_since_is_shown(site: Site) -> None:
    seen = world(site)
    site.a.report(item(run(), State.RUNNING, started_at=AT))
    shown = glimpse.newer(seen, site.link.hosts()).targets["cluster"].items[run().spec.ref]
    assert (shown.state, shown.started_at) == (State.RUNNING, AT)
    site.a.report(items=())
    assert glimpse.newer(seen, site.link.hosts()).targets["cluster"].items == {}
