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


def test_how_it_ended_is_known_though_somebody_has_told_it_to_start_again(docker_node: Docker) -> None:
    """`docker start`, or `docker restart`: what stands in the way is then said in place of the program's own status."""
    bench, program = RealBench(docker_node), "/srv/shown/program"
    docker_node.node.write(program, "#!/bin/sh\n", 0o755)
    docker_node.cli("run", "--name", "once", "--mount", "type=bind,source=/srv/shown,target=/x", bench.image, "/x/program")
    docker_node.node.path(program).unlink()
    with pytest.raises(errors.Refused, match="no such file"):
        bench.docker.start("once")
    said = docker_node.inspect("once")
    assert said["State"]["ExitCode"] in dockerd.NO_START
    found = bench.docker.inspect(said["Id"])
    bench.docker.close()
    assert (found.code, found.witnessed) == (0, True)


def test_an_engine_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(errors.Unavailable, match="does not answer"):
        dockerd.Dockerd("/nowhere/docker.sock").about()
