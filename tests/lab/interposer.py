"""The interposer in a node, put there by hand: what `perdure-agent install` does takes seconds and has its own tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.runtime import capture, compare, pack
from reconciler.engines.criu import credentials, filters
from tests.lab.docker import Docker
from tests.lab.node import Node

FOLDER = "/usr/local/lib/perdure/lab"
PROGRAM = f"{FOLDER}/{pack.PROGRAM}"
LIBRARY = f"{FOLDER}/{pack.LIBRARY}"
LOG = "/var/log/perdure/runtime.log"
SOCKET = "/run/perdure/runtime.sock"
CONTAINERS = "/run/perdure/containers"
RUNTIMES = "/run/docker/runtime-runc/moby"
OPTIONS: dict[str, Any] = {"runtimes": {"perdure-runc": {"path": PROGRAM}}, "default-runtime": "perdure-runc"}
"""For daemon.json."""


def install(node: Node, *, deadline: float = 5, roots: Sequence[str] = (), namespaces: Sequence[str] = ("moby",)) -> None:
    """Puts the files of the interposer and of its host in place, as a release does."""
    for name, content in pack.files().items():
        path = node.path(f"{FOLDER}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
    node.write("/etc/perdure/programs", "/usr/sbin/runc\n/usr/bin/python3\n")
    host = {
        "version": 1,
        "runc": "/usr/sbin/runc",
        "python": "/usr/bin/python3",
        "criu": "/usr/sbin/criu",
        "socket": SOCKET,
        "log": LOG,
        "deadline": deadline,
        "arch": {"roots": list(roots), "namespaces": list(namespaces)},
    }
    node.write("/etc/perdure/runtime.json", json.dumps(host))
    node.path("/run/perdure").mkdir(mode=0o700, exist_ok=True)


def checkpoint(docker: Docker, name: str, directory: str) -> None:
    """Ends a container of ours with runc's own checkpoint, and makes of it a directory as the agent fills one for a restore."""
    found = docker.inspect(name)
    node, identity = docker.node, str(found["Id"])
    image = node.path(directory)
    (image / "criu").mkdir(parents=True)
    image.chmod(0o700)
    bundle = node.path(f"/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/{identity}")
    config = json.loads((bundle / "config.json").read_text())
    shm = Path(next(mount["source"] for mount in config["mounts"] if mount["destination"] == "/dev/shm"))
    words = ["checkpoint", "--tcp-established", "--file-locks", "--ext-unix-sk", "--leave-running"]
    places = ["--image-path", f"{directory}/criu", "--work-path", f"{directory}/work"]
    node.run(["runc", "--root", RUNTIMES, "pause", identity])
    node.run(["runc", "--root", RUNTIMES, *words, *places, identity])
    capture.take(str(node.path(found["GraphDriver"]["Data"]["UpperDir"])), str(image), "layer")
    if shm != Path("/dev/shm"):
        capture.take(str(node.path(str(shm))), str(image), "shm")
    node.run(["runc", "--root", RUNTIMES, "kill", "--all", identity, "KILL"])
    node.run(["runc", "--root", RUNTIMES, "resume", identity], check=False)
    cores = {path.name: path.read_bytes() for path in (image / "criu").glob("core-*.img")}
    who = credentials.collect(cores, (image / "criu" / credentials.TREE).read_bytes())
    kept = image / "criu" / filters.IMAGE
    (image / "credentials.json").write_text(json.dumps(who))
    (image / "filters.json").write_text(json.dumps(filters.collect(kept.read_bytes() if kept.exists() else b"", who["tasks"])))
    (image / "container.json").write_text(json.dumps(compare.described(config)))
