"""dependsOn: which Jobs a run waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core import model, record

STANDING: Mapping[record.Phase, str] = {
    record.Phase.FAILED: "failed",
    record.Phase.STOPPED: "stopped",
    record.Phase.SUSPENDED: "suspended",
    record.Phase.PENDING: "not started",
    record.Phase.RUNNING: "running",
}
"""What a Job that has not finished is called, by the worst phase among its runs: worst first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One dependency that has not finished."""

    name: str
    phase: record.Phase

    def __str__(self) -> str:
        return f"{self.name} ({STANDING[self.phase]})"


def unfinished(job: model.Job, phases: Mapping[model.ObjectRef, tuple[record.Phase, ...]]) -> tuple[Held, ...]:
    """Return the dependencies of `job` that hold it back.

    `phases` gives, by Job, the phases of the runs that its manifest asks for now; a Job without runs has not started.
    """
    waiting: list[Held] = []
    for name in job.depends_on:
        standing = phases.get(model.ObjectRef(kind="Job", tenant=job.tenant, name=name), (record.Phase.PENDING,))
        worst = next((phase for phase in STANDING if phase in standing), None)
        if worst is not None:
            waiting.append(Held(name=name, phase=worst))
    return tuple(waiting)
