"""What a container of an attempt is called and carries, whichever engine runs it and whoever has it created. Pure.

A checkpoint restores under any engine because every engine is told the same here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core import model, spec

GENERATION_FILE = "/dev/perdure-generation"
"""Where the interposer puts a file that differs after each restore; the Job learns it from PERDURE_GENERATION_FILE."""

MARKER = "PERDURE_ATTEMPT"
"""Variable by which the interposer knows a container of ours; its value names run and attempt."""

NO_ENGINE, NO_CHECKPOINTS = "containers", "checkpoints of containers"
"""How a host's conditions begin that say why it runs no containers, or takes no checkpoints of them."""

INSTANCE = "dev.perdure.instance"
TENANT = "dev.perdure.tenant"
JOB = "dev.perdure.job"
REPLICA = "dev.perdure.replica"
RUN = "dev.perdure.run"
ATTEMPT = "dev.perdure.attempt"
SPEC = "dev.perdure.spec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose an object is, read from its labels."""

    instance: str
    ref: spec.AttemptRef
    digest: str = ""
    """Of the specification it was created from."""


def name(ref: spec.AttemptRef) -> str:
    """Return the name of an attempt's container or service: at most 63 characters."""
    return f"perdure-{ref}"


def labels(what: spec.AttemptSpec) -> dict[str, str]:
    """Return by which labels an object is known as an attempt's."""
    return {
        INSTANCE: what.instance,
        TENANT: what.tenant,
        JOB: what.job,
        REPLICA: str(what.replica),
        RUN: what.run,
        ATTEMPT: str(what.attempt),
        SPEC: made_from(what),
    }


def made_from(what: spec.AttemptSpec) -> str:
    """Return the digest of what a container is created from: what can change in place afterwards does not enter."""
    return spec.AttemptSpec(
        instance=what.instance,
        run=what.run,
        attempt=what.attempt,
        tenant=what.tenant,
        job=what.job,
        replica=what.replica,
        revision="",
        workload=what.workload,
        resources=what.resources,
        restore=what.restore,
        host=what.host,
        created_by=what.created_by,
    ).digest()


def owner(carried: Mapping[str, str]) -> Owner | None:
    """Return whose an object with these labels is; None for one that is not ours or does not say."""
    instance, run, number = (carried.get(label, "") for label in (INSTANCE, RUN, ATTEMPT))
    if not instance or not run or not number.isdecimal():
        return None
    return Owner(instance=instance, ref=spec.AttemptRef(run=run, attempt=int(number)), digest=carried.get(SPEC, ""))


def environment(what: spec.AttemptSpec) -> dict[str, str]:
    """Return the Job's variables, then ours, which the Job cannot change. Secrets are not among them."""
    return {
        **what.workload.env,
        "PERDURE_RUN": what.run,
        MARKER: str(what.ref),
        "PERDURE_TENANT": what.tenant,
        "PERDURE_JOB": what.job,
        "PERDURE_REPLICA": str(what.replica),
        "PERDURE_GENERATION_FILE": GENERATION_FILE,
    }


def binds(workload: model.Workload) -> tuple[model.Volume, ...]:
    """Return the volumes in the order in which they are mounted: what lies above comes first."""
    return tuple(sorted(workload.volumes, key=lambda volume: volume.target.count("/")))
