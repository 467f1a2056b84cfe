"""dependsOn: which Jobs a run waits for, and cycles."""

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


def cycle(edges: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return one cycle of the graph as a path that ends where it began, or an empty tuple. No recursion: depth is unbounded."""
    done: set[str] = set()
    for start in sorted(edges):
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            node, index = stack.pop()
            if index == 0:
                if node in done:
                    continue
                path.append(node)
                on_path.add(node)
            successors = edges.get(node, ())
            if index >= len(successors):
                done.add(node)
                on_path.discard(path.pop())
                continue
            stack.append((node, index + 1))
            successor = successors[index]
            if successor in on_path:
                return (*path[path.index(successor) :], successor)
            stack.append((successor, 0))
    return ()
