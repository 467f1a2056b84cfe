"""A registry of container images on a node, open or with a password."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from tests import conditions
from tests.lab.docker import PATIENCE, Docker
from tests.lab.node import Daemon, Node

PORT = 5000
CONFIG = "/etc/docker/registry/lab.json"
USERS = "/etc/docker/registry/lab.htpasswd"


@dataclass(kw_only=True)
class Registry:
    """Debian's docker-registry. Engines must know its address as insecure: it speaks plain HTTP."""

    node: Node
    daemon: Daemon | None = None

    @property
    def name(self) -> str:
        """By which its images' names begin."""
        return f"{self.node.address}:{PORT}"

    @property
    def trust(self) -> Mapping[str, list[str]]:
        """What daemon.json of an engine says so that it uses this registry."""
        return {"insecure-registries": [self.name]}

    def start(self, users: Mapping[str, str] | None = None) -> Registry:
        """Starts it, for everybody or for these users with their passwords alone. Its images stay."""
        config = {
            "version": "0.1",
            "log": {"accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": "/var/lib/docker-registry"}},
            "http": {"addr": f":{PORT}"},
            "auth": {"htpasswd": {"realm": "lab", "path": USERS}} if users else {},
        }
        lines = [self.node.out("htpasswd", "-Bbn", "-C", "4", *pair).strip() for pair in (users or {}).items()]
        self.node.write(USERS, "\n".join(lines) + "\n")
        self.node.write(CONFIG, json.dumps({name: value for name, value in config.items() if value}))
        self.daemon = self.node.daemon(["docker-registry", "serve", CONFIG], log="/var/log/registry.log")
        conditions.eventually(
            self._answers, PATIENCE, interval=0.1, message=lambda: self.daemon.output() if self.daemon else ""
        )
        return self

    def stop(self) -> None:
        """Ends it."""
        if self.daemon and self.node.running:
            self.daemon.stop(signal.SIGKILL)
        self.daemon = None

    def pause(self, *, still: bool) -> None:
        """Lets it answer nobody, or go on."""
        assert self.daemon
        self.daemon.send(signal.SIGSTOP if still else signal.SIGCONT)

    def push(self, docker: Docker, base: str, tag: str, which: str) -> str:
        """Has an engine make an image that differs from `base` by the variable WHICH, and push it. Answers its id there.

        The engine keeps neither the name nor the image.
        """
        full = f"{self.name}/{tag}"
        made = docker.cli("create", base)
        docker.cli("commit", "--change", f"ENV WHICH={which}", made, full)
        docker.cli("rm", made)
        docker.cli("push", "--quiet", full)
        identity = docker.cli("image", "inspect", "--format", "{{.Id}}", full)
        docker.cli("image", "rm", full)
        return identity

    def _answers(self) -> bool:
        asked = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", f"http://127.0.0.1:{PORT}/v2/"]
        return self.node.run(asked, check=False).stdout in ("200", "401")
