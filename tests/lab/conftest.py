"""Fixtures of the lab, and the marker of its tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import ability, cache, seed, skipping
from tests.lab.criu_rig import Rig
from tests.lab.docker import Docker, ping
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.swarm import Swarm

HERE = Path(__file__).parent
LONGEST = "test_guest_systemd.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them. The longest file comes first of all: it waits for an emulated machine while others are at work."""
    items.sort(key=lambda item: item.path.name != LONGEST)
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab of this session."""
    if why := ability.reason():
        skipping.unable(why)
    try:
        seed.ensure(cache.ensure(cache.tell))
        site = Lab()
    except ability.LabUnable as error:
        skipping.unable(str(error))
    with site:
        try:
            site.remove(site.node("probe"))  # a container may let root make a bridge, and then no mount
        except ability.LabUnable as error:
            skipping.unable(str(error))
        yield site


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    """A new machine for this test alone."""
    fresh = lab.node()
    yield fresh
    lab.remove(fresh)


@pytest.fixture(scope="session")
def shared_docker(lab: Lab) -> Docker:
    """What `docker_node` hands out."""
    return lab.node("docker").docker()


@pytest.fixture
def docker_node(shared_docker: Docker) -> Iterator[Docker]:
    """A dockerd with the lab's images and no containers, shared by the session and cleaned after each test."""
    _mend(shared_docker)
    yield shared_docker
    _mend(shared_docker)
    shared_docker.clean()


@pytest.fixture(scope="module")
def shared_rig(lab: Lab) -> Rig:
    """What `rig` hands out."""
    return Rig(lab)


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    """A node for containers of plain runc, shared by a module and cleaned after each test."""
    yield shared_rig
    shared_rig.clean()


@pytest.fixture(scope="session")
def shared_swarm(lab: Lab) -> Swarm:
    """What `swarm` hands out."""
    return lab.swarm(managers=3)


@pytest.fixture
def swarm(lab: Lab, shared_swarm: Swarm) -> Iterator[Swarm]:
    """Three managers, shared by the session; after each test healed, switched on, and without services and containers."""
    yield shared_swarm
    lab.heal()
    for one in shared_swarm.all:
        _mend(one)
    shared_swarm.settled()
    shared_swarm.clean()


def _mend(docker: Docker) -> None:
    if not docker.node.running:
        docker.node.start()
    if not docker.daemon or not ping(docker.node):
        docker.stop(9)
        docker.start()
