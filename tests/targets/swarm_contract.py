"""What the managers of every Swarm promise. The fake keeps it in `test_swarm_contract.py`, a real one in the lab."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from reconciler import errors
from reconciler.contracts import swarm
from reconciler.core import model, spec
from reconciler.targets.swarm import wire


class Site(Protocol):
    """A Swarm with at least one node, and an image on it whose containers go on until they are ended."""

    image: str

    @property
    def managers(self) -> swarm.Swarm: ...

    def work(self) -> None:
        """Let the nodes do what they were told, as far as they can at once."""

    def secret(self, name: str) -> None:
        """Let there be a secret."""


def what(site: Site, run: str, secrets: tuple[str, ...] = (), **more: Any) -> spec.AttemptSpec:
    command = ("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
    workload = model.Workload(image=site.image, command=command, secrets=secrets, env={"GREETING": "hello world"})
    return spec.AttemptSpec(
        instance="contract",
        run=run,
        attempt=1,
        tenant="default",
        job="train",
        replica=0,
        revision="c0ffee",
        workload=workload,
        checkpoint=model.CheckpointPolicy(engine=model.EngineName.NONE),
        created_by=spec.Creator.ENGINE,
        **more,
    )


def body(site: Site, run: str, node: str = "", **more: Any) -> dict[str, Any]:
    node = node or site.managers.look().nodes[0].id
    return wire.service(what(site, run, **more), node, wire.Known())


def task(site: Site, run: str) -> swarm.Task | None:
    listing = site.managers.look()
    service = next((each for each in listing.services if each.name == f"perdure-{run}-1"), None)
    return next((each for each in listing.tasks if service is not None and each.service == service.id), None)


class Managers:
    def test_nodes_say_what_they_have(self, site: Site) -> None:
        listing = site.managers.look()
        assert listing.cluster
        assert sum(node.leads for node in listing.nodes) == 1
        for node in listing.nodes:
            assert (node.state, node.availability) == ("ready", "active")
            assert node.cpu >= 1000
            assert node.memory > 2**28

    def test_a_service_is_created_once(self, site: Site) -> None:
        wanted = body(site, "once")
        assert site.managers.create(wanted)
        assert not site.managers.create(wanted)
        found = site.managers.find("perdure-once-1")
        assert found is not None
        assert found.labels == wanted["Labels"]
        assert [each.id for each in site.managers.look().services if each.name == "perdure-once-1"] == [found.id]

    def test_its_task_comes_to_the_node_and_runs(self, site: Site) -> None:
        node = site.managers.look().nodes[-1].id
        site.managers.create(body(site, "runs", node))
        site.work()
        found = task(site, "runs")
        assert found is not None
        assert (found.node, found.state, found.wanted) == (node, "running", "running")

    def test_nothing_is_placed_where_it_may_not_be(self, site: Site) -> None:
        site.managers.create(body(site, "nowhere", "there-is-no-such-node"))
        site.work()
        found = task(site, "nowhere")
        assert found is not None
        assert (found.node, found.state in swarm.OVER) == ("", False)
        assert "no suitable node" in found.said

    def test_what_is_removed_is_not_listed_and_removing_it_again_is_no_error(self, site: Site) -> None:
        site.managers.create(body(site, "gone"))
        found = site.managers.find("perdure-gone-1")
        assert found is not None
        assert site.managers.remove(found.id)
        assert site.managers.find("perdure-gone-1") is None
        assert not site.managers.remove(found.id)
        assert task(site, "gone") is None

    def test_a_name_is_found_whole(self, site: Site) -> None:
        site.managers.create(body(site, "whole"))
        assert site.managers.find("perdure-whole") is None
        assert site.managers.find("perdure-whole-11") is None

    def test_a_secret_is_known_by_name(self, site: Site) -> None:
        site.secret("TOKEN")
        known = wire.Known(secrets=site.managers.ids("secrets", ("TOKEN",)))
        node = site.managers.look().nodes[0].id
        assert site.managers.create(wire.service(what(site, "secret", secrets=("TOKEN",)), node, known))
        with pytest.raises(errors.Refused, match="has no secret OTHER"):
            site.managers.ids("secrets", ("TOKEN", "OTHER"))
        with pytest.raises(errors.Refused, match="has no config"):
            site.managers.ids("configs", ("settings",))

    def test_what_makes_no_sense_is_refused(self, site: Site) -> None:
        wanted = body(site, "senseless")
        wanted["TaskTemplate"]["ContainerSpec"]["Image"] = ""
        with pytest.raises(errors.Refused, match="the Swarm says no"):
            site.managers.create(wanted)

    def test_reservations_are_listed(self, site: Site) -> None:
        resources = model.Resources(cpu=250, memory=64 * 2**20)
        site.managers.create(body(site, "reserves", resources=resources))
        site.work()
        found = task(site, "reserves")
        assert found is not None
        assert (found.cpu, found.memory) == (250, 64 * 2**20)
