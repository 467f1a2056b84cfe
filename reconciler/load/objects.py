"""From a valid document of any kind but Job to its value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler.core import model, quantities
from reconciler.load import jobs

Value = model.Job | model.CheckpointRequest | model.StoreSpec | model.TargetSpec | model.PoolSpec


def convert(kind: str, root: dict[str, Any], origin: model.Origin) -> Value:
    """Return what a valid document declares."""
    return _TABLE[kind](root, origin)


def job_of(text: str) -> tuple[str, str]:
    """Return tenant and name of the Job that a Checkpoint names."""
    tenant, slash, name = text.partition("/")
    return (tenant, name) if slash else ("default", text)


def _checkpoint(root: dict[str, Any], origin: model.Origin) -> model.CheckpointRequest:
    spec = root["spec"]
    tenant, job = job_of(spec["job"])
    return model.CheckpointRequest(
        name=root["metadata"]["name"],
        job=job,
        tenant=tenant,
        reason=spec.get("reason", ""),
        stop=spec.get("stop", False),
        keep=spec.get("keep", True),
        origin=origin,
    )


def _store(root: dict[str, Any], origin: model.Origin) -> model.StoreSpec:
    spec = root["spec"]
    return model.StoreSpec(
        name=root["metadata"]["name"],
        root=spec["path"]["root"],
        must_be_mounted=spec["path"].get("mustBeMounted", False),
        encryption=spec["encryption"]["key"] if "encryption" in spec else "",
        signing=spec["signing"]["key"] if "signing" in spec else "",
        max_size=quantities.size(spec["maxSize"]) if "maxSize" in spec else None,
        retention=quantities.seconds(spec["retention"]) if "retention" in spec else None,
        origin=origin,
    )


def _target(root: dict[str, Any], origin: model.Origin) -> model.TargetSpec:
    spec = root["spec"]
    selector = spec.get("hosts", {}).get("selector", {})
    swarm = _swarm(spec["swarm"]) if "swarm" in spec else None
    return model.TargetSpec(name=root["metadata"]["name"], selector=dict(selector), swarm=swarm, origin=origin)


def _swarm(fields: dict[str, Any]) -> model.SwarmSpec:
    return model.SwarmSpec(host=fields["host"], others=tuple(fields.get("others", ())), tls=fields.get("tls", ""))


def _pool(root: dict[str, Any], origin: model.Origin) -> model.PoolSpec:
    spec = root["spec"]
    return model.PoolSpec(
        name=root["metadata"]["name"],
        hosts=tuple(spec.get("hosts", ())),
        labels=dict(spec.get("labels", {})),
        origin=origin,
    )


_TABLE: dict[str, Callable[[dict[str, Any], model.Origin], Value]] = {
    "Job": jobs.job,
    "Checkpoint": _checkpoint,
    "Store": _store,
    "Target": _target,
    "Pool": _pool,
}
