"""A real Swarm over several nodes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests import conditions
from tests.lab.docker import PATIENCE, Docker
from tests.lab.node import CommandFailed, Node

SLOW = 45.0
"""Seconds after which a node that is not ready hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarm:
    """Managers and workers, each a node with dockerd."""

    managers: tuple[Docker, ...]
    workers: tuple[Docker, ...] = ()

    @property
    def all(self) -> tuple[Docker, ...]:
        """Managers first."""
        return (*self.managers, *self.workers)

    def leader(self) -> Docker:
        """The manager that leads, as soon as there is one that a majority agrees on."""

        def found() -> Docker | None:
            for one in self.managers:
                if (name := _leader_seen_by(one)) is not None:
                    return next(other for other in self.managers if other.node.name == name)
            return None

        return _some(conditions.eventually(found, PATIENCE, interval=0.2, message="the Swarm has no leader"))

    def node_id(self, node: Node) -> str:
        """A node's name in the Swarm, for constraints `node.id==…`."""
        docker = next(one for one in self.all if one.node is node)
        return docker.cli("info", "--format", "{{.Swarm.NodeID}}")

    def settled(self) -> None:
        """Waits until the Swarm calls every node that is on ready.

        A dockerd whose first session fails because its managers have no leader yet may hang in the second (seen in 26.1.5): its
        node is down for good while everything else of it works. It is started anew, as whoever runs it would.
        """
        with contextlib.suppress(AssertionError):
            conditions.eventually(lambda: not self._away(), SLOW, interval=0.2)
        for one in self._away():
            one.restart()
        conditions.eventually(
            lambda: not self._away(), PATIENCE, interval=0.2, message=lambda: f"nodes are not ready: {nodes(self.leader())}"
        )

    def _away(self) -> list[Docker]:
        ready = {row["Hostname"] for row in nodes(self.leader()) if row["Status"] == "Ready"}
        return [one for one in self.all if one.node.running and one.node.name not in ready]

    def clean(self) -> None:
        """Removes every service, secret, config and container."""
        leader = self.leader()
        for kind in ("service", "secret", "config"):
            if names := leader.cli(kind, "ls", "--quiet").split():
                leader.node.run(["docker", kind, "rm", *names], check=False)
        for one in self.all:
            if one.node.running:
                one.clean()


def form(managers: Sequence[Docker], workers: Sequence[Docker] = ()) -> Swarm:
    """Joins running dockerds into a Swarm."""
    first = managers[0]
    address = first.node.address
    # A Swarm's own networks must not take the lab's addresses; nodes are missed after three heartbeats.
    first.cli(
        *("swarm", "init", "--advertise-addr", address, "--default-addr-pool", "10.201.0.0/16"),
        *("--dispatcher-heartbeat", "2s", "--task-history-limit", "50"),
    )
    for role, members in (("manager", managers[1:]), ("worker", workers)):
        if members:
            token = first.cli("swarm", "join-token", "--quiet", role)
            for one in members:
                one.cli("swarm", "join", "--advertise-addr", one.node.address, "--token", token, f"{address}:2377")
    swarm = Swarm(managers=tuple(managers), workers=tuple(workers))
    swarm.settled()
    return swarm


def nodes(docker: Docker) -> list[dict[str, Any]]:
    """`docker node ls` as a manager tells it."""
    return [json.loads(line) for line in docker.cli("node", "ls", "--format", "{{json .}}").splitlines()]


def _leader_seen_by(docker: Docker) -> str | None:
    if not docker.node.running:
        return None
    try:
        return next((str(row["Hostname"]) for row in nodes(docker) if row["ManagerStatus"] == "Leader"), None)
    except CommandFailed:  # without a majority there is no answer
        return None


def _some(found: Docker | None) -> Docker:
    assert found is not None
    return found
