"""dockerd keeps the promises of the agent's seam."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from agent.containers import dockerd
from reconciler import errors
from tests.agent.containers import docker_contract
from tests.lab import recipe
from tests.lab.docker import Docker


class RealBench:
    """Shell programs."""

    image = recipe.TINY_IMAGE

    def __init__(self, docker: Docker) -> None:
        self.docker = dockerd.Dockerd(docker.url.removeprefix("unix://"))

    def waits(self) -> Mapping[str, Any]:
        return {"Cmd": ["sleep", "4246"]}

    def says(self, *lines: str, code: int) -> Mapping[str, Any]:
        said = "; ".join(f"echo {shlex.quote(line)}" for line in lines)
        return {"Cmd": ["sh", "-c", f"{said}; exit {code}"]}

    def settle(self) -> None:
        """It needs no help."""


class TestDockerd(docker_contract.DockerContract):
    @pytest.fixture
    def bench(self, docker_node: Docker) -> Iterator[RealBench]:
        made = RealBench(docker_node)
        yield made
        made.docker.close()


def test_an_engine_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(errors.Unavailable, match="does not answer"):
        dockerd.Dockerd("/nowhere/docker.sock").about()
