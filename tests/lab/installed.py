"""`perdure-agent install` in a node, as the tests of it and of the doctor call it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cli import outputs
from tests.lab.docker import LOG, Docker
from tests.lab.node import Node

PROGRAMS = Path(sys.executable).parent
AGENT, PERDURE = (str(PROGRAMS / name) for name in ("perdure-agent", "perdure"))
DAEMON_JSON = "/etc/docker/daemon.json"
LIBRARY = "/usr/local/lib/perdure"


def agent(node: Node, *words: str) -> Mapping[str, Any]:
    done = node.run([AGENT, *words, "-o", "json"])
    found: Mapping[str, Any] = outputs.conforms("agent-install", json.loads(done.stdout))
    return found


def restart(docker: Docker) -> None:
    """dockerd ends and starts with the file as it is: `Docker.restart` would write the lab's own again."""
    docker.stop()
    docker.node.path("/run/docker.pid").unlink(missing_ok=True)
    docker.daemon = docker.node.daemon(["dockerd"], log=LOG)
    docker.ready()
