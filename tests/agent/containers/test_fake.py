"""The shipped fake keeps the engine's promises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from agent.containers import fake, seam
from reconciler.seams import clock
from tests.agent.containers import docker_contract


class FakeBench:
    """Programs of one line, played by the bench."""

    image = "base:1"

    def __init__(self) -> None:
        self.docker = fake.FakeDocker(clock.System().now, images={self.image: seam.Image(id="sha256:" + "1" * 64)})

    def waits(self) -> Mapping[str, Any]:
        return {"Cmd": ["wait"]}

    def says(self, *lines: str, code: int) -> Mapping[str, Any]:
        return {"Cmd": ["say", str(code), *lines]}

    def settle(self) -> None:
        for one in self.docker.containers.values():
            verb, *rest = one.body["Cmd"]
            if one.state is seam.State.RUNNING and verb == "say":
                for line in rest[1:]:
                    self.docker.say(one.id, f"{line}\n")
                self.docker.end(one.id, int(rest[0]))


class TestFake(docker_contract.DockerContract):
    @pytest.fixture
    def bench(self) -> FakeBench:
        return FakeBench()


def test_ids_are_those_of_an_engine() -> None:
    bench = FakeBench()
    assert re.fullmatch("[0-9a-f]{64}", bench.docker.create("a", {"Image": bench.image}))
