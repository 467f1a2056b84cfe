"""The Docker API's words: services to ask for, answers to read. Pure.

Forms: Docker Engine API 1.44, https://docs.docker.com/reference/api/engine/version/v1.44/ (Node, Service, Task).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.contracts import swarm
from reconciler.core import container, model, spec

SECRETS = "/run/secrets"
"""Where Swarm shows secrets to a container: a file each, in memory only."""

STOP_MARGIN = 10
"""Seconds that Swarm waits for a stopped container beyond the deadline of a checkpoint that is taken first."""

LOG = {"Name": "json-file", "Options": {"max-size": "4m", "max-file": "20"}}
"""What the node keeps of the output until the store has it: 80 MiB an attempt."""

PIDS = 16_384
"""Most processes and threads of one attempt."""

NANO = 1_000_000
"""Billionths of a core in a thousandth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the names in a specification stand for."""

    image: str = ""
    """The image that its node has prepared; empty: as the Job names it."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Their ids, by name."""
    configs: Mapping[str, str] = field(default_factory=dict)


def service(what: spec.AttemptSpec, node: str, known: Known) -> dict[str, Any]:
    """Return the body that creates the service of one attempt on one node.

    Replicated with one replica and without restarts: of all modes the one that never makes a second container for it. Should
    Swarm place it again all the same, the constraint leaves it no other node, and there the agent grants a number once.
    """
    labels = container.labels(what)
    wanted = _resources(what.resources)
    return {
        "Name": container.name(what.ref),
        "Labels": labels,
        "TaskTemplate": {
            "ContainerSpec": _container(what, labels, known),
            "Resources": {"Limits": {**wanted, "Pids": PIDS}, "Reservations": wanted},
            "RestartPolicy": {"Condition": "none"},
            "LogDriver": LOG,
            "Placement": {"Constraints": [f"node.id=={node}"]},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
    }


def _container(what: spec.AttemptSpec, labels: dict[str, str], known: Known) -> dict[str, Any]:
    workload = what.workload
    files = {f"{name}_FILE": f"{SECRETS}/{name}" for name in workload.secrets}
    body: dict[str, Any] = {
        # By digest or id a node makes it of what it has, and asks no registry what the name means by now.
        "Image": known.image or workload.image,
        "Labels": labels,
        "Env": sorted(f"{name}={value}" for name, value in {**files, **container.environment(what)}.items()),
        # A container that is frozen for its checkpoint answers nobody: Swarm would end it for that, and nothing restarts it.
        "HealthCheck": {"Test": ["NONE"]},
        "StopGracePeriod": int((_saving(what) + STOP_MARGIN) * 1e9),
    }
    if workload.command:
        body["Command"] = list(workload.command)
    if workload.args:
        body["Args"] = list(workload.args)
    if workload.workdir:
        body["Dir"] = workload.workdir
    if workload.volumes:
        body["Mounts"] = [_mount(volume) for volume in container.binds(workload)]
    if workload.secrets:
        body["Secrets"] = [_secret(name, known.secrets[name]) for name in workload.secrets]
    if workload.configs:
        body["Configs"] = [_config(each, known.configs[each.name]) for each in workload.configs]
    return body


def _saving(what: spec.AttemptSpec) -> float:
    """Seconds that a checkpoint may take between the stop signal and the end."""
    policy = what.checkpoint
    return policy.deadline if policy.engine is model.EngineName.CRIU and model.Occasion.NOTICE in policy.on else 0.0


def _mount(volume: model.Volume) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": posixpath.normpath(volume.source),
        "Target": posixpath.normpath(volume.target),
        "ReadOnly": volume.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _secret(name: str, id: str) -> dict[str, Any]:
    return {"SecretID": id, "SecretName": name, "File": {"Name": name, "UID": "0", "GID": "0", "Mode": 0o444}}


def _config(config: model.Config, id: str) -> dict[str, Any]:
    return {"ConfigID": id, "ConfigName": config.name, "File": {"Name": config.target, "UID": "0", "GID": "0", "Mode": 0o444}}


def _resources(wanted: model.Resources) -> dict[str, int]:
    body: dict[str, int] = {}
    if wanted.cpu is not None:
        body["NanoCPUs"] = wanted.cpu * NANO
    if wanted.memory is not None:
        body["MemoryBytes"] = wanted.memory
    return body


def node(answer: Mapping[str, Any]) -> swarm.Node:
    """Return one node as `GET /nodes` has it."""
    about, said = answer.get("Spec") or {}, answer.get("Description") or {}
    cpu, memory = _amounts(said.get("Resources"))
    return swarm.Node(
        id=answer["ID"],
        name=said.get("Hostname", ""),
        labels=dict(about.get("Labels") or {}),
        cpu=cpu,
        memory=memory,
        state=(answer.get("Status") or {}).get("State", "unknown"),
        availability=about.get("Availability", "active"),
        leads=bool((answer.get("ManagerStatus") or {}).get("Leader")),
    )


def read_service(answer: Mapping[str, Any]) -> swarm.Service:
    """Return one service as `GET /services` has it."""
    about = answer.get("Spec") or {}
    replicas = ((about.get("Mode") or {}).get("Replicated") or {}).get("Replicas", 1)
    return swarm.Service(
        id=answer["ID"], name=about.get("Name", ""), labels=dict(about.get("Labels") or {}), replicas=int(replicas)
    )


def task(answer: Mapping[str, Any]) -> swarm.Task:
    """Return one task as `GET /tasks` has it."""
    status = answer.get("Status") or {}
    cpu, memory = _amounts(((answer.get("Spec") or {}).get("Resources") or {}).get("Reservations"))
    return swarm.Task(
        id=answer["ID"],
        service=answer.get("ServiceID", ""),
        node=answer.get("NodeID", ""),
        state=status.get("State", "new"),
        wanted=answer.get("DesiredState", ""),
        said=status.get("Err") or status.get("Message") or "",
        created=bool((status.get("ContainerStatus") or {}).get("ContainerID")),
        cpu=cpu,
        memory=memory,
    )


def _amounts(resources: Mapping[str, Any] | None) -> tuple[int, int]:
    said = resources or {}
    return int(said.get("NanoCPUs") or 0) // NANO, int(said.get("MemoryBytes") or 0)


def names(answers: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the ids by name of what `GET /secrets` or `/configs` lists."""
    return {(answer.get("Spec") or {}).get("Name", ""): answer["ID"] for answer in answers}
