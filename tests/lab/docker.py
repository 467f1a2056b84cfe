"""dockerd and containerd in a node."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests import conditions
from tests.lab.cache import Cache

if TYPE_CHECKING:
    from tests.lab.node import Daemon, Node

SOCKET = "/run/docker.sock"
LOG = "/var/log/dockerd.log"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CONTAINERD_LOG = "/var/log/containerd.log"
PATIENCE = 120.0
"""Seconds that an engine may take to answer on a loaded machine."""


@dataclass(kw_only=True)
class Docker:
    """A dockerd of a node; `start` after `stop`, or after the node's restart, goes on with its data."""

    node: Node
    cache: Cache
    options: Mapping[str, Any] = field(default_factory=dict)
    """What daemon.json says beside the lab's own: `runtimes`, `default-runtime`, `live-restore`, …"""
    images: Sequence[str] = ()
    """Images of the lab that it has."""
    daemon: Daemon | None = None

    def start(self) -> Docker:
        """Starts it, waits until it answers, and gives it its images."""
        self.configure(self.options)
        self._seed()
        self.node.path("/run/docker.pid").unlink(missing_ok=True)
        self.daemon = self.node.daemon(["dockerd"], log=LOG)
        self.ready()
        for image in self.images:
            self.load(image)
        return self

    def configure(self, options: Mapping[str, Any]) -> None:
        """Writes daemon.json; dockerd reads it when it starts, and parts of it on SIGHUP."""
        self.options = options
        # Without a size the journal of a test grows for ever; cgroupfs because no systemd runs in a node.
        own = {"hosts": [f"unix://{SOCKET}"], "exec-opts": ["native.cgroupdriver=cgroupfs"], "log-driver": "json-file"}
        self.node.write("/etc/docker/daemon.json", json.dumps({**own, **options}))

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it as an init system would, or by another signal. Containers go on only with `live-restore` or SIGKILL."""
        if self.daemon and self.node.running:
            self.daemon.stop(number, PATIENCE)
        self.daemon = None

    def restart(self) -> None:
        """Ends it and starts it again."""
        self.stop()
        self.start()

    def ready(self) -> None:
        """Waits until it answers."""

        def answers() -> bool:
            assert self.daemon
            if not self.daemon.alive():
                raise AssertionError(f"{self.node.name}: dockerd has ended:\n{self.daemon.output()}")
            return ping(self.node)

        conditions.eventually(
            answers, PATIENCE, interval=0.05, message=lambda: f"dockerd is silent:\n{self.daemon and self.daemon.output()}"
        )

    @property
    def url(self) -> str:
        """Its address for a client in the tests, whatever network that is in: `docker.DockerClient(base_url=…)`."""
        return f"unix://{self.node.path(SOCKET)}"

    def cli(self, *arguments: str, timeout: float = 120.0) -> str:
        """What `docker ARGUMENTS` prints. Raises CommandFailed."""
        return self.node.run(["docker", *arguments], timeout=timeout).stdout.rstrip("\n")

    def printed(self, *arguments: str) -> str:
        """What the container of `docker run ARGUMENTS` prints, from its log: a client of a busy engine may get nothing of it
        (moby/moby#43121). Raises CommandFailed."""
        name = f"printed-{secrets.token_hex(4)}"
        try:
            self.cli("run", "--name", name, *arguments)
            return self.cli("logs", name)
        finally:
            self.node.run(["docker", "rm", "--force", name], check=False)

    def inspect(self, name: str, kind: str = "container") -> dict[str, Any]:
        """What Docker knows of one object."""
        found: list[dict[str, Any]] = json.loads(self.cli("inspect", "--type", kind, name))
        return found[0]

    def load(self, tag: str) -> None:
        """Gives it an image of the lab; one that it has is success."""
        if self.node.run(["docker", "image", "inspect", tag], check=False).returncode:
            with self.cache.image(tag).open("rb") as archive:
                loading = self.node.popen(["docker", "load", "--quiet"], stdin=archive)
                output, _ = loading.communicate(timeout=PATIENCE)
            assert loading.returncode == 0, f"{self.node.name}: docker load of {tag}: {output}"

    def _seed(self) -> None:
        """Links the images into a new data directory: a moment instead of seconds."""
        data = self.node.disk / "data/var/lib/docker"
        if self.images and self.cache.seed.exists() and not (data / "image").exists():
            subprocess.run(["cp", "--archive", "--link", f"{self.cache.seed}/.", str(data)], check=True)

    def clean(self) -> None:
        """Removes every container and the volumes and networks that nothing uses."""
        if names := self.cli("ps", "--all", "--quiet", "--no-trunc").split():
            self.node.run(["docker", "rm", "--force", "--volumes", *names], check=False)
        self.node.run(["docker", "system", "prune", "--force", "--volumes"], check=False)


@dataclass(kw_only=True)
class Containerd:
    """A containerd of a node, without Docker."""

    node: Node
    cache: Cache
    config: str = "version = 2\n"
    """config.toml as a whole."""
    daemon: Daemon | None = None

    def start(self) -> Containerd:
        """Starts it and waits until it answers."""
        self.node.write("/etc/containerd/config.toml", self.config)
        self.daemon = daemon = self.node.daemon(["containerd"], log=CONTAINERD_LOG)

        def answers() -> bool:
            assert daemon.alive(), f"{self.node.name}: containerd has ended:\n{daemon.output()}"
            return self.node.run(["ctr", "version"], check=False).returncode == 0

        conditions.eventually(answers, PATIENCE, interval=0.1, message=lambda: f"containerd is silent:\n{daemon.output()}")
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it; containers go on."""
        if self.daemon and self.node.running:
            self.daemon.stop(number, PATIENCE)
        self.daemon = None

    def ctr(self, *arguments: str, namespace: str = "default", timeout: float = 120.0) -> str:
        """What `ctr ARGUMENTS` prints. Raises CommandFailed."""
        return self.node.run(["ctr", "--namespace", namespace, *arguments], timeout=timeout).stdout.rstrip("\n")

    def load(self, tag: str, namespace: str = "default") -> str:
        """Gives it an image of the lab; answers the name under which it has it."""
        with self.cache.image(tag).open("rb") as archive:
            argv = ["ctr", "--namespace", namespace, "images", "import", "--local", "-"]
            loading = self.node.popen(argv, stdin=archive)
            output, _ = loading.communicate(timeout=PATIENCE)
        assert loading.returncode == 0, f"{self.node.name}: ctr images import of {tag}: {output}"
        return f"docker.io/{tag}"


def ping(node: Node) -> bool:
    """Whether the node's dockerd answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(node.path(SOCKET)))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False
