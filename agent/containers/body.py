"""The container of an attempt as dockerd's API wants it made. Pure."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping
from typing import Any

from agent import cgroups
from reconciler.core import container, model, spec

INSIDE = "/run/perdure"
"""Where a container sees the files of the application contract."""
LOG = {"Type": "json-file", "Config": {"max-size": "4m", "max-file": "20"}}
"""What the engine keeps of the output until the store has it: 80 MiB an attempt."""


def create(
    what: spec.AttemptSpec, image: str, secrets: Mapping[str, str], *, inside: str, runtime: str, grace: float
) -> dict[str, Any]:
    """Return the body of `/containers/create`.

    `image` is an image's id, so that what runs is what was prepared; `inside` the folder of the application contract
    (empty: none); `runtime` the engine's name of the interposer where it must be asked for.
    """
    workload, resources = what.workload, what.resources
    limits: dict[str, Any] = {"PidsLimit": cgroups.PIDS}
    if resources.memory is not None:
        limits |= {"Memory": resources.memory, "MemorySwap": resources.memory}
    if resources.cpu is not None:
        limits["NanoCpus"] = resources.cpu * 10**6
    variables = {**container.environment(what), **_contract(what, inside), **secrets}
    body: dict[str, Any] = {
        "Image": image,
        "Labels": container.labels(what),
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "Tty": False,
        "OpenStdin": False,
        # The agent judges whether a job does well, and a program that stands still for a checkpoint is not ill.
        "Healthcheck": {"Test": ["NONE"]},
        "StopTimeout": math.ceil(grace + (what.checkpoint.deadline if _saves_at_stop(what) else 0)),
        "HostConfig": {
            **limits,
            "Mounts": [_mount(volume) for volume in container.binds(workload)] + _contract_mount(inside),
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,
            "LogConfig": LOG,
            **({"Runtime": runtime} if runtime else {}),
        },
    }
    if workload.command:
        body |= {"Entrypoint": list(workload.command), "Cmd": list(workload.args)}
    elif workload.args:
        body["Cmd"] = list(workload.args)
    if workload.workdir:
        body["WorkingDir"] = workload.workdir
    return body


def contract(what: spec.AttemptSpec) -> bool:
    """Whether the program is given the folder of the application contract.

    Not where it is saved from outside: a file that it holds open there would be missing where it is restored. Such a program
    counts its steps in its own layer (`agent.containers.counting`).
    """
    return what.checkpoint.engine is not model.EngineName.CRIU


def _contract(what: spec.AttemptSpec, inside: str) -> dict[str, str]:
    if not inside:
        return {}
    found = {"PERDURE_PROGRESS_FILE": f"{INSIDE}/progress.jsonl"}
    if what.checkpoint.engine is model.EngineName.APPLICATION:
        found |= {"PERDURE_CHECKPOINT_DIR": f"{INSIDE}/checkpoint", "PERDURE_REQUEST_FILE": f"{INSIDE}/request.json"}
        if what.restore:
            found["PERDURE_RESTORE_DIR"] = f"{INSIDE}/restore"
    return found


def _mount(volume: model.Volume) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": posixpath.normpath(volume.source),
        "Target": posixpath.normpath(volume.target),
        "ReadOnly": volume.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _contract_mount(inside: str) -> list[dict[str, Any]]:
    return [{"Type": "bind", "Source": inside, "Target": INSIDE, "ReadOnly": False}] if inside else []


def _saves_at_stop(what: spec.AttemptSpec) -> bool:
    return what.checkpoint.engine is model.EngineName.CRIU and model.Occasion.NOTICE in what.checkpoint.on
