"""Real engines that map users, under the interposer: no container of ours starts there, and all others do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from agent.containers import dockerd, seam
from tests import conditions
from tests.lab import docker, interposer
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.recipe import TINY_IMAGE

MAPPED = ["0", "100000", "65536"]
REFUSED = "its engine maps users (userns-remap, or rootless), and CRIU cannot"
DOCKER = f"unix://{docker.SOCKET}"
FOLDER = "/var/lib/rootless"
ROOTLESS = """
import os, sys
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNS | os.CLONE_NEWNET)
    os.write(ready[1], b".")
    os.read(go[0], 1)
    os.setgid(0)
    os.setuid(0)
    os.environ["XDG_RUNTIME_DIR"] = sys.argv[1]
    start = 'mount -t tmpfs run /run && exec dockerd --rootless --config-file "$0/daemon.json"'
    os.execvp("sh", ["sh", "-c", start, sys.argv[1]])
os.read(ready[0], 1)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{child}/{name}", "w") as file:
        file.write("0 100000 65536")
os.write(go[1], b".")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""What rootlesskit does, less the network: root of a namespace of users starts dockerd."""


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    node = lab.node("mapped")
    interposer.install(node)
    yield node
    lab.remove(node)


def test_userns_remap(node: Node) -> None:
    for name in ("subuid", "subgid"):
        node.write(f"/etc/{name}", f"daemon:{MAPPED[1]}:{MAPPED[2]}\n")
    node.docker({**interposer.OPTIONS, "userns-remap": "daemon"}, images=(TINY_IMAGE,))
    _starts_none_of_ours(node)
    assert _about(node).userns


def test_rootless(lab: Lab, node: Node) -> None:
    node.run(["mkdir", FOLDER])
    node.run(["chown", MAPPED[1], FOLDER])
    host = f"unix://{FOLDER}/docker.sock"
    own = {"hosts": [host], "data-root": f"{FOLDER}/data", "exec-root": f"{FOLDER}/exec"}
    plain = {"pidfile": f"{FOLDER}/pid", "group": "root", "storage-driver": "vfs", "bridge": "none", "iptables": False}
    node.write(f"{FOLDER}/daemon.json", json.dumps({**interposer.OPTIONS, **own, **plain}))
    daemon = node.daemon(["python3", "-c", ROOTLESS, FOLDER], log="/var/log/rootless")
    try:
        conditions.eventually(lambda: not _docker(node, host, "info").returncode, 120, message=daemon.output)
        _docker(node, host, "load", "--input", lab.share_image(TINY_IMAGE))
        _starts_none_of_ours(node, host)
        assert _about(node, host).rootless
    finally:
        daemon.stop()


def _starts_none_of_ours(node: Node, host: str = DOCKER) -> None:
    run = ("run", "--network", "none")
    begun = _docker(node, host, *run, "--name", "plain", TINY_IMAGE, "cat", "/proc/self/uid_map")
    assert _docker(node, host, "logs", "plain").stdout.split() == MAPPED, begun.stderr
    ours = _docker(node, host, *run, "--rm", "--env", "PERDURE_ATTEMPT=abc-1", TINY_IMAGE, "true")
    assert ours.returncode == 125
    assert REFUSED in ours.stderr


def _about(node: Node, host: str = DOCKER) -> seam.About:
    """What the agent hears of it."""
    client = dockerd.Dockerd(str(node.path(host.removeprefix("unix://"))))
    try:
        return client.about()
    finally:
        client.close()


def _docker(node: Node, host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return node.run(["docker", "--host", host, *arguments], check=False)
