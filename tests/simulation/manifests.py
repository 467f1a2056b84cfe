"""Drafts as people write them: files of JSON, which is YAML, for the real loader."""

from __future__ import annotations

import datetime
import json
from typing import Any

from reconciler.core import model

BROKEN = (b"apiVersion: [", b"", b"kind: Job\nspec: {replicas: many}\n")
"""What a broken manifest looks like: not YAML, nothing at all, or not a Job."""


def job(draft: model.Job) -> bytes:
    """Return a Job's file."""
    policy = draft.checkpoint
    checkpoint = {"engine": policy.engine.value, "deadline": _seconds(policy.deadline), "keep": policy.keep}
    checkpoint |= {"store": policy.store} if policy.store else {}
    checkpoint |= {"interval": _seconds(policy.interval)} if isinstance(policy.interval, float) else {}
    retries = {"failure": draft.retries.failure}
    retries |= {"preemption": draft.retries.preemption} if draft.retries.preemption is not None else {}
    spec: dict[str, Any] = {
        "target": draft.target,
        "state": draft.state.value,
        "replicas": draft.replicas,
        "workload": {"command": list(draft.workload.command)},
        "resources": {"cpu": f"{draft.resources.cpu}m", "memory": "1Mi"},
        "retries": retries,
        "priority": draft.priority,
        "checkpoint": checkpoint,
        "restore": {"from": draft.restore_from},
        "dependsOn": list(draft.depends_on),
        "onLost": draft.on_lost.value,
        "onChange": draft.on_change.value,
    }
    spec |= {"timeout": _seconds(draft.timeout)} if draft.timeout is not None else {}
    spec |= {"rerun": draft.rerun} if draft.rerun else {}
    spec |= {"placement": {"node": draft.placement.node}} if draft.placement.node else {}
    if draft.suspend.until is not None:
        until = datetime.datetime.fromtimestamp(draft.suspend.until, datetime.UTC)
        spec["suspend"] = {"reason": draft.suspend.reason, "until": until.isoformat()}
    return _document("Job", draft.name, spec)


def checkpoint(draft: model.CheckpointRequest) -> bytes:
    """Return a Checkpoint's file."""
    return _document("Checkpoint", draft.name, {"job": draft.job, "stop": draft.stop})


def store(draft: model.StoreSpec) -> bytes:
    """Return a Store's file."""
    assert draft.retention is not None
    return _document("Store", draft.name, {"path": {"root": draft.root}, "retention": _seconds(draft.retention)})


def target(draft: model.TargetSpec) -> bytes:
    """Return a Target's file."""
    return _document("Target", draft.name, {"hosts": {"selector": dict(draft.selector)}})


def _document(kind: str, name: str, spec: dict[str, Any]) -> bytes:
    value = {"apiVersion": model.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
    return json.dumps(value, indent=1).encode()


def _seconds(count: float) -> str:
    return f"{count:.0f}s"
