"""A Swarm in memory: managers that list and obey, nodes whose containers a test moves on, and faults on request."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from reconciler import errors
from reconciler.contracts import swarm
from reconciler.targets.swarm import wire


class FakeSwarm:
    """`contracts.swarm.Swarm`. Tasks move by `step`, `end` and `reject` only; nothing fails but by the flags."""

    def __init__(self, *nodes: swarm.Node, cluster: str = "swarm-1") -> None:
        self.cluster = cluster
        self.nodes = {node.id: node for node in nodes}
        self.bodies: dict[str, dict[str, Any]] = {}
        """What each service was created from, by its id."""
        self.tasks: dict[str, swarm.Task] = {}
        """By the id of their service, of which each has one here."""
        self.others: list[swarm.Task] = []
        """Tasks of services that are not listed: other people's."""
        self.named: dict[str, dict[str, str]] = {"secrets": {}, "configs": {}}
        """Ids of secrets and configs by name."""
        self.silent = ""
        """What the managers fail with, while it is not empty."""
        self.lost_answers = 0
        """So many of the next calls that change something do so and are not answered."""
        self.blank = False
        """Services and tasks are not listed although they are there."""
        self.asked: list[str] = []
        """Every change that was asked for, in order."""
        self._numbers = itertools.count(1)

    def look(self) -> swarm.Listing:
        """Return what there is."""
        self._answer()
        services = [] if self.blank else [wire.read_service(each) for each in self._services()]
        tasks = () if self.blank else tuple(self.tasks.values())
        return swarm.Listing(
            cluster=self.cluster, nodes=tuple(self.nodes.values()), services=tuple(services), tasks=(*tasks, *self.others)
        )

    def create(self, service: swarm.Body) -> bool:
        """Create a service and its task."""
        self._answer()
        body = copy.deepcopy(dict(service))
        self.asked.append(f"create {body['Name']}")
        if not body["TaskTemplate"]["ContainerSpec"]["Image"]:
            raise errors.Refused("the Swarm says no: ContainerSpec: image reference must be provided")
        known = {each["SecretName"] for each in body["TaskTemplate"]["ContainerSpec"].get("Secrets", ())}
        if missing := known - self.named["secrets"].keys():
            raise errors.Refused(f"the Swarm says no: secret not found: {missing}")
        if any(each["Name"] == body["Name"] for each in self.bodies.values()):
            return False
        number = f"s{next(self._numbers)}"
        self.bodies[number] = body
        answer = {"ID": f"t{number}", "ServiceID": number, "Spec": body["TaskTemplate"], "DesiredState": "running"}
        self.tasks[number] = wire.task(answer)
        self._unanswered()
        return True

    def find(self, name: str) -> swarm.Service | None:
        """Look a service up."""
        self._answer()
        return next((each for each in map(wire.read_service, self._services()) if each.name == name), None)

    def remove(self, id: str) -> bool:
        """Remove a service and its task."""
        self._answer()
        body = self.bodies.pop(id, None)
        self.tasks.pop(id, None)
        self.asked.append(f"remove {body['Name'] if body else id}")
        self._unanswered()
        return body is not None

    def ids(self, kind: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """Look up secrets or configs."""
        self._answer()
        known = self.named[kind]
        if missing := [name for name in names if name not in known]:
            raise errors.Refused(f"the Swarm has no {kind.removesuffix('s')} {', '.join(missing)}")
        return {name: known[name] for name in names}

    def step(self) -> None:
        """Let every task that is not placed come to its node and run there, if the node may and can be reached."""
        for number, task in self.tasks.items():
            if task.state == "new":
                node = self.nodes.get(self._constraint(number))
                if node is None or (node.state, node.availability) != ("ready", "active"):
                    self.tasks[number] = dataclasses.replace(task, said="no suitable node")
                else:
                    self.tasks[number] = dataclasses.replace(task, node=node.id, state="running", said="started", created=True)

    def end(self, name: str, state: str = "failed", said: str = "task: non-zero exit (137)") -> None:
        """Let a service's task come to its end; the managers want nothing more of it then."""
        number = next(number for number, body in self.bodies.items() if body["Name"] == name)
        node = self._constraint(number)
        self.tasks[number] = dataclasses.replace(self.tasks[number], node=node, state=state, wanted="shutdown", said=said)

    def _constraint(self, number: str) -> str:
        constraint: str = self.bodies[number]["TaskTemplate"]["Placement"]["Constraints"][0]
        return constraint.removeprefix("node.id==")

    def _services(self) -> list[dict[str, Any]]:
        return [{"ID": number, "Spec": body} for number, body in self.bodies.items()]

    def _answer(self) -> None:
        if self.silent:
            raise errors.Unavailable(self.silent)

    def _unanswered(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise errors.Unavailable("no answer in time")
