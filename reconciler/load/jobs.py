"""From a valid Job document to `model.Job`. Code trees and the default store depend on the revision: see `settle`."""

from __future__ import annotations

from typing import Any, Literal

from reconciler.core import codec, identity, model, quantities

_NOTHING: dict[str, Any] = {}
_PLACEMENT = model.Placement()
_SUSPENSION = model.Suspension()
_RESOURCES = model.Resources()
_RETRIES = model.Retries()
_POLICY = model.CheckpointPolicy()
_STATES = {state.value: state for state in model.JobState}
_ENGINES = {engine.value: engine for engine in model.EngineName}
_DEFAULT_ENGINE = {True: model.EngineName.CRIU, False: model.EngineName.APPLICATION}
"""By whether the workload is an image."""
_OCCASIONS = {occasion.value: occasion for occasion in model.Occasion}
_ON_CHANGE = {choice.value: choice for choice in model.OnChange}
_ON_LOST = {choice.value: choice for choice in model.OnLost}
_DRIFT = {choice.value: choice for choice in model.Drift}


def job(root: dict[str, Any], origin: model.Origin) -> model.Job:
    """Return the Job that a document declares, as far as the document alone says."""
    metadata, spec = root["metadata"], root["spec"]
    restore = spec.get("restore", _NOTHING)
    return model.Job(
        name=metadata["name"],
        tenant=spec.get("tenant", "default"),
        labels=dict(metadata.get("labels", _NOTHING)),
        target=spec["target"],
        pool=spec.get("pool", ""),
        placement=_placement(spec["placement"]) if "placement" in spec else _PLACEMENT,
        state=_STATES[spec.get("state", "Running")],
        suspend=_suspension(spec["suspend"]) if "suspend" in spec else _SUSPENSION,
        replicas=int(spec.get("replicas", 1)),
        workload=_workload(spec["workload"]),
        resources=_resources(spec["resources"]) if "resources" in spec else _RESOURCES,
        timeout=_seconds(spec, "timeout"),
        retries=_retries(spec["retries"]) if "retries" in spec else _RETRIES,
        priority=int(spec.get("priority", 0)),
        checkpoint=_policy(spec.get("checkpoint", _NOTHING), _DEFAULT_ENGINE["image" in spec["workload"]]),
        restore_from=restore.get("from", "latest"),
        depends_on=tuple(spec.get("dependsOn", ())),
        drift=_DRIFT[spec.get("drift", "observe")],
        on_change=_ON_CHANGE[spec.get("onChange", "refuse")],
        on_lost=_ON_LOST[spec.get("onLost", "wait")],
        rerun=spec.get("rerun", ""),
        written=written(spec),
        origin=origin,
    )


def written(spec: dict[str, Any]) -> str:
    """Return the identity's fields as they are written: canonical JSON, nothing defaulted."""
    workload = spec["workload"]
    fields: dict[str, Any] = {name: spec[name] for name in identity.SPEC_FIELDS if name in spec}
    fields["workload"] = {name: workload[name] for name in identity.WORKLOAD_FIELDS if name in workload}
    return codec.encode(fields).decode()


def _seconds(fields: dict[str, Any], name: str) -> float | None:
    return quantities.seconds(fields[name]) if name in fields else None


def _placement(fields: dict[str, Any]) -> model.Placement:
    return model.Placement(
        node=fields.get("node", ""), zone=fields.get("zone", ""), labels=dict(fields.get("labels", _NOTHING))
    )


def _suspension(fields: dict[str, Any]) -> model.Suspension:
    return model.Suspension(
        reason=fields.get("reason", ""),
        owner=fields.get("owner", ""),
        until=quantities.moment(fields["until"]) if "until" in fields else None,
    )


def _workload(fields: dict[str, Any]) -> model.Workload:
    code = fields.get("code")
    return model.Workload(
        image=fields.get("image", ""),
        code=_code(code) if code is not None else None,
        command=tuple(fields.get("command", ())),
        args=tuple(fields.get("args", ())),
        env=dict(fields.get("env", _NOTHING)),
        secrets=tuple(fields.get("secrets", ())),
        configs=tuple(model.Config(name=each["name"], target=each["target"]) for each in fields.get("configs", ())),
        workdir=fields.get("workdir", ""),
        volumes=tuple(_volume(volume) for volume in fields.get("volumes", ())),
    )


def _code(fields: dict[str, Any]) -> model.Code:
    return model.Code(path=fields["path"], entrypoint=fields.get("entrypoint", ""), requirements=fields.get("requirements", ""))


def _volume(fields: dict[str, Any]) -> model.Volume:
    return model.Volume(
        source=fields["source"],
        target=fields["target"],
        read_only=fields.get("readOnly", False),
        shared=fields.get("shared", False),
    )


def _resources(fields: dict[str, Any]) -> model.Resources:
    return model.Resources(
        cpu=quantities.millicores(fields["cpu"]) if "cpu" in fields else None,
        memory=quantities.size(fields["memory"]) if "memory" in fields else None,
    )


def _retries(fields: dict[str, Any]) -> model.Retries:
    preemption = fields.get("preemption")
    return model.Retries(failure=int(fields.get("failure", 0)), preemption=int(preemption) if preemption is not None else None)


def _policy(fields: dict[str, Any], default: model.EngineName) -> model.CheckpointPolicy:
    if not fields and default is _POLICY.engine:
        return _POLICY
    occasions = fields.get("on")
    return model.CheckpointPolicy(
        engine=_ENGINES[fields["engine"]] if "engine" in fields else default,
        interval=_interval(fields.get("interval", "none")),
        on=tuple(_OCCASIONS[name] for name in occasions) if occasions is not None else _POLICY.on,
        signal=fields.get("signal", ""),
        deadline=quantities.seconds(fields["deadline"]) if "deadline" in fields else _POLICY.deadline,
        max_frozen=_seconds(fields, "maxFrozen"),
        store=fields.get("store", ""),
        keep=int(fields.get("keep", _POLICY.keep)),
        max_size=quantities.size(fields["maxSize"]) if "maxSize" in fields else None,
    )


def _interval(text: str) -> float | Literal["auto"] | None:
    if text == "auto":
        return "auto"
    return None if text == "none" else quantities.seconds(text)
