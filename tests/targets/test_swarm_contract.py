"""The fake Swarm keeps the contract that the real one keeps in the lab."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.contracts import swarm
from reconciler.targets.swarm import fake
from tests.targets import swarm_contract


class FakeSite:
    image = "perdure-lab/tiny:1"

    def __init__(self) -> None:
        node = swarm.Node(id="n1", name="one", cpu=4000, memory=2**33)
        self.managers = fake.FakeSwarm(dataclasses.replace(node, leads=True), dataclasses.replace(node, id="n2", name="two"))

    def work(self) -> None:
        self.managers.step()

    def secret(self, name: str) -> None:
        self.managers.named["secrets"][name] = f"id-{name}"


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


class TestFake(swarm_contract.Managers):
    pass
