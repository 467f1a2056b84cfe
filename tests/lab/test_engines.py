"""Real engines run in nodes, and CRIU works there."""

from __future__ import annotations

import json

import pytest

from tests import conditions
from tests.lab import recipe
from tests.lab.docker import Docker
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.swarm import Swarm

COUNTER = "import itertools, time\nfor number in itertools.count():\n    print(number, flush=True); time.sleep(0.02)"

BUNDLE = "/bundle"


def test_criu_is_good(node: Node) -> None:
    assert "Looks good" in node.run(["criu", "check"]).stdout


def test_runc_checkpoints_and_restores_a_counter(lab: Lab, node: Node) -> None:
    lab.unpack(recipe.BASE_IMAGE, node, f"{BUNDLE}/rootfs")
    node.run(["runc", "spec"], cwd=BUNDLE)
    config = json.loads(node.path(f"{BUNDLE}/config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sh", "-c", 'exec python3 -c "$0" > /dev/shm/count', COUNTER]}
    node.write(f"{BUNDLE}/config.json", json.dumps(config))
    quiet = ["sh", "-c", 'exec "$@" > /dev/null 2>&1 < /dev/null', "sh", "runc"]  # CRIU knows no file outside the container
    node.run([*quiet, "run", "--detach", "counter"], cwd=BUNDLE)

    def counted() -> list[int]:
        text = node.run(["runc", "exec", "counter", "cat", "/dev/shm/count"]).stdout
        return [int(line) for line in text.split()]

    conditions.eventually(lambda: len(counted()) > 10)
    node.run(["runc", "checkpoint", "--image-path", "/image", "counter"], cwd=BUNDLE)
    assert "counter" not in node.out("runc", "list", "--quiet").split()
    node.run([*quiet, "restore", "--detach", "--image-path", "/image", "counter"], cwd=BUNDLE)
    before = len(counted())
    conditions.eventually(lambda: len(counted()) > before + 10)
    assert counted()[: before + 10] == list(range(before + 10))
    node.run(["runc", "delete", "--force", "counter"])


def test_docker_runs_a_container(docker_node: Docker) -> None:
    code = "import numpy; print(int(numpy.arange(5).sum()))"
    assert docker_node.printed(recipe.BASE_IMAGE, "python3", "-c", code) == "10"
    assert docker_node.printed(recipe.TINY_IMAGE, "echo", "hello") == "hello"


def test_docker_is_clean_for_each_test(docker_node: Docker) -> None:
    assert docker_node.cli("ps", "--all", "--quiet") == ""
    docker_node.cli("run", "--detach", recipe.TINY_IMAGE, "sleep", "4245")


@pytest.mark.parametrize("way", ["restarted", "killed", "lost its power"])
def test_docker_comes_back(docker_node: Docker, way: str) -> None:
    docker_node.cli("create", "--name", "kept", recipe.TINY_IMAGE, "true")
    if way == "lost its power":
        docker_node.node.restart()
    else:
        docker_node.stop(9 if way == "killed" else 15)
    docker_node.start()
    assert docker_node.inspect("kept")["State"]["Status"] == "created"


def test_containers_reach_each_other_by_name(docker_node: Docker) -> None:
    docker_node.cli("network", "create", "inner")
    docker_node.cli("run", "--detach", "--network", "inner", "--name", "server", recipe.TINY_IMAGE, "httpd", "-f", "-h", "/etc")
    fetch = ("run", "--rm", "--network", "inner", recipe.TINY_IMAGE, "wget", "-q", "-O", "-", "http://server/passwd")
    assert "root" in conditions.eventually(lambda: docker_node.node.run(["docker", *fetch], check=False).stdout)


def test_services_of_others_run(docker_node: Docker) -> None:
    docker_node.load(recipe.SERVICES_IMAGE)
    docker_node.cli("run", "--detach", "--name", "redis", recipe.SERVICES_IMAGE, "redis-server")
    ask = ["docker", "exec", "redis", "redis-cli", "ping"]
    conditions.eventually(lambda: docker_node.node.run(ask, check=False).stdout == "PONG\n")


def test_containerd_runs_a_container(node: Node) -> None:
    containerd = node.containerd()
    name = containerd.load(recipe.TINY_IMAGE)
    assert containerd.ctr("run", "--rm", name, "one", "echo", "hello") == "hello"
    containerd.stop()


def test_podman_runs_a_container_with_runc(lab: Lab, node: Node) -> None:
    archive = lab.share_image(recipe.TINY_IMAGE)
    node.run(["podman", "--runtime", "runc", "load", "--quiet", "--input", archive])
    argv = [
        "podman",
        "--runtime",
        "runc",
        "run",
        "--rm",
        "--network",
        "host",
        f"localhost/{recipe.TINY_IMAGE}",
        "echo",
        "hello",
    ]
    assert node.out(*argv) == "hello"


def test_a_swarm_of_three_managers_runs_a_service(swarm: Swarm) -> None:
    leader = swarm.leader()
    chosen = swarm.managers[2]
    leader.cli(
        *("service", "create", "--detach", "--name", "counter", "--restart-condition", "none"),
        *("--constraint", f"node.id=={swarm.node_id(chosen.node)}", recipe.BASE_IMAGE, "python3", "-c", COUNTER),
    )
    conditions.eventually(lambda: "counter.1" in chosen.cli("ps", "--format", "{{.Names}}"))


def test_a_swarm_outlives_its_leader(swarm: Swarm) -> None:
    first = swarm.leader()
    first.node.kill()
    second = swarm.leader()
    assert second is not first
    second.cli("service", "create", "--detach", "--name", "after", recipe.TINY_IMAGE, "sleep", "4246")
