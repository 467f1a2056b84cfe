"""The managers of a Docker Swarm: what they list, and the two things that are asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Body = Mapping[str, Any]
"""A request's body as the Docker API has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine of the Swarm as its managers know it."""

    id: str
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cpu: int = 0
    """Thousandths of a core."""
    memory: int = 0
    """Bytes."""
    state: str = "ready"
    """ready, down, disconnected or unknown: what the managers believe, which may be wrong both ways."""
    availability: str = "active"
    """active, pause or drain: what people want of it."""
    leads: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1
    """How many tasks it is told to have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One try of Swarm's to have a container for a service."""

    id: str
    service: str
    """Id of its service."""
    node: str = ""
    """Id of its node; empty while it is not placed."""
    state: str = "new"
    wanted: str = "running"
    """The state that the managers want it in."""
    said: str = ""
    """The error, or else the message."""
    created: bool = False
    """Its node has made a container for it, whether or not that has run."""
    cpu: int = 0
    """Thousandths of a core that it reserves."""
    memory: int = 0
    """Bytes that it reserves."""


OVER = frozenset({"complete", "failed", "rejected", "shutdown", "orphaned", "remove"})
"""States of a task for which its node has, or will have, no container that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything that a Swarm lists, of one moment as nearly as it can."""

    cluster: str
    """Id of the Swarm."""
    nodes: tuple[Node, ...]
    services: tuple[Service, ...]
    tasks: tuple[Task, ...]


class Swarm(Protocol):
    """The managers as one: whichever of them answers. Every call has its own deadline.

    Raises `errors.Unavailable` when none answers, there is no leader, or a deadline passes: then nothing is known, and what was
    asked may have happened. Raises `errors.Refused` when the Swarm says no.
    """

    def look(self) -> Listing:
        """Return what there is."""
        ...

    def create(self, service: Body) -> bool:
        """Create a service; False: one of this name exists already, and is as it was."""
        ...

    def find(self, name: str) -> Service | None:
        """Return the service of a name."""
        ...

    def remove(self, id: str) -> bool:
        """Remove a service by its id, and with it its tasks; False: there is none."""
        ...

    def ids(self, kind: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """Return the ids of `secrets` or `configs` by name. Raises `errors.Refused` naming those that do not exist."""
        ...
