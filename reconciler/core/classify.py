"""What a changed field of a Job means for a live attempt: a table, shown in the plan and by `perdure explain`."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.core import codec, model


class FieldClass(enum.Enum):
    """From harmless to a new execution."""

    IN_PLACE = "in place"
    RECREATE = "checkpoint, recreate, restore"
    NEW_RUN = "new run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One row: the path below `Job`, how to read it, what changing it means, and why."""

    path: str
    read: Callable[[model.Job], object]
    field_class: FieldClass
    why: str


def _code(job: model.Job) -> object:
    """The program itself: a folder that only moved is the same program."""
    code = job.workload.code
    return (code.tree, code.entrypoint, code.requirements) if code else None


def _policy(job: model.Job) -> object:
    """The rest of the checkpoint policy, as people read it in a plan."""
    policy = codec.plain(job.checkpoint)
    return {name: value for name, value in policy.items() if name not in ("engine", "store")}


_IN_PLACE, _RECREATE, _NEW_RUN = FieldClass.IN_PLACE, FieldClass.RECREATE, FieldClass.NEW_RUN

# One class for every kind of target. On a Swarm too: what is in place goes to the host's agent and never touches the service,
# for any update of one runs its container again.
TABLE = (
    Field(path="metadata.labels", read=lambda job: job.labels, field_class=_IN_PLACE, why="labels only describe"),
    Field(path="spec.timeout", read=lambda job: job.timeout, field_class=_IN_PLACE, why="the supervisor reads it anew"),
    Field(
        path="spec.retries.failure",
        read=lambda job: job.retries.failure,
        field_class=_IN_PLACE,
        why="it is read when an attempt ends",
    ),
    Field(
        path="spec.retries.preemption",
        read=lambda job: job.retries.preemption,
        field_class=_IN_PLACE,
        why="it is read when an attempt ends",
    ),
    Field(path="spec.priority", read=lambda job: job.priority, field_class=_IN_PLACE, why="it only orders waiting runs"),
    Field(path="spec.onLost", read=lambda job: job.on_lost, field_class=_IN_PLACE, why="it is read when a host is silent"),
    Field(
        path="spec.onChange",
        read=lambda job: job.on_change,
        field_class=_IN_PLACE,
        why="it is read when a change means a new run",
    ),
    Field(path="spec.drift", read=lambda job: job.drift, field_class=_IN_PLACE, why="it is read when a live object differs"),
    Field(
        path="spec.dependsOn", read=lambda job: job.depends_on, field_class=_IN_PLACE, why="it is read before the first attempt"
    ),
    Field(
        path="spec.checkpoint.engine",
        read=lambda job: job.checkpoint.engine,
        field_class=_IN_PLACE,
        why="it holds from the next attempt: the program was started under the old one",
    ),
    Field(
        path="spec.checkpoint.store",
        read=lambda job: job.checkpoint.store,
        field_class=_IN_PLACE,
        why="it holds from the next run: a run keeps its store",
    ),
    Field(path="spec.checkpoint", read=_policy, field_class=_IN_PLACE, why="the agent reads the policy anew"),
    Field(
        path="spec.resources.cpu",
        read=lambda job: job.resources.cpu,
        field_class=_RECREATE,
        why="limits are set when an attempt starts",
    ),
    Field(
        path="spec.resources.memory",
        read=lambda job: job.resources.memory,
        field_class=_RECREATE,
        why="limits are set when an attempt starts",
    ),
    Field(path="spec.target", read=lambda job: job.target, field_class=_RECREATE, why="the attempt moves to another target"),
    Field(path="spec.pool", read=lambda job: job.pool, field_class=_RECREATE, why="the attempt moves, unless its host fits"),
    Field(
        path="spec.placement",
        read=lambda job: job.placement,
        field_class=_RECREATE,
        why="the attempt moves, unless its host fits",
    ),
    Field(
        path="spec.restore.from",
        read=lambda job: job.restore_from,
        field_class=_RECREATE,
        why="a digest is restored into a new attempt",
    ),
    Field(path="spec.workload.image", read=lambda job: job.workload.image, field_class=_NEW_RUN, why="another program"),
    Field(path="spec.workload.code", read=_code, field_class=_NEW_RUN, why="another program"),
    Field(path="spec.workload.command", read=lambda job: job.workload.command, field_class=_NEW_RUN, why="another program"),
    Field(path="spec.workload.args", read=lambda job: job.workload.args, field_class=_NEW_RUN, why="another input"),
    Field(path="spec.workload.env", read=lambda job: job.workload.env, field_class=_NEW_RUN, why="another input"),
    Field(path="spec.workload.secrets", read=lambda job: job.workload.secrets, field_class=_NEW_RUN, why="another input"),
    Field(path="spec.workload.configs", read=lambda job: job.workload.configs, field_class=_NEW_RUN, why="another input"),
    Field(path="spec.workload.workdir", read=lambda job: job.workload.workdir, field_class=_NEW_RUN, why="another input"),
    Field(path="spec.workload.volumes", read=lambda job: job.workload.volumes, field_class=_NEW_RUN, why="another input"),
    Field(path="spec.rerun", read=lambda job: job.rerun, field_class=_NEW_RUN, why="a new text asks for one more run"),
    Field(path="spec.replicas", read=lambda job: job.replicas, field_class=_IN_PLACE, why="each replica is a run of its own"),
    Field(path="spec.state", read=lambda job: job.state, field_class=_IN_PLACE, why="the plan acts on it"),
    Field(path="spec.suspend", read=lambda job: job.suspend, field_class=_IN_PLACE, why="the plan acts on it"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One changed field, as `diff` shows it."""

    path: str
    before: str
    after: str
    field_class: FieldClass


def changes(before: model.Job, after: model.Job) -> tuple[FieldChange, ...]:
    """Return what differs between two versions of a Job, in the table's order."""
    if before is after or before == after:
        return ()
    return tuple(
        FieldChange(path=row.path, before=_show(old), after=_show(new), field_class=row.field_class)
        for row in TABLE
        if (old := row.read(before)) != (new := row.read(after))
    )


def _show(value: object) -> str:
    return codec.encode(value).decode() if value not in (None, "", (), {}) else ""
