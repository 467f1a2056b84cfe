"""All that a plan depends on, and which runs the manifests ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core import identity, model, observed, record, situation

Key = tuple[str, str, int]
"""Tenant, job and replica: what a person calls a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs one revision asks for."""

    instance: str
    by_run: Mapping[str, tuple[model.Job, int]]
    by_key: Mapping[Key, str]
    jobs: Mapping[model.ObjectRef, model.Job] | None = field(default=None, compare=False, repr=False)
    """Whose runs these are, all of them, as the revision declares them; None: not only those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What `plan.compute` is given."""

    instance: str
    desired: model.Desired
    records: Mapping[str, record.Record]
    """The ledger as read, by run."""
    world: observed.World
    now: float
    """POSIX time in seconds."""
    budgets: situation.Budgets = field(default_factory=situation.Budgets)
    ledger: str = ""
    """Name of the ledger (`identity.ledger`)."""
    wanted: Wanted | None = None
    """What `wanted` returned for `desired`, by a caller that keeps it from pass to pass; None: it is worked out anew."""


def wanted(instance: str, desired: model.Desired, before: Wanted | None = None) -> Wanted:
    """Return which runs a revision asks for. A Job that is the same object as in `before` keeps its names unhashed."""
    by_run: dict[str, tuple[model.Job, int]] = {}
    by_key: dict[Key, str] = {}
    known = before if before is not None and before.instance == instance else None
    if known is not None and known.jobs is desired.jobs:
        return known
    for job in desired.jobs.values():
        for replica in range(job.replicas):
            key = (job.tenant, job.name, replica)
            run = known.by_key.get(key) if known is not None else None
            if run is None or known is None or known.by_run[run][0] is not job:
                run = identity.run_id(instance, job, replica)
            by_run[run] = (job, replica)
            by_key[key] = run
    return Wanted(instance=instance, by_run=by_run, by_key=by_key, jobs=desired.jobs)


def frozen(given: Facts) -> Mapping[str, str]:
    """Return, by run, why its manifest stands at its last valid version.

    That is so when the loader says so, and when a Job is missing while the file that declared it has a problem, or while any
    file could not be read at all: after a restart only the ledger still knows what such a file held.
    """
    desired = given.desired
    if not desired.frozen and not desired.problems and not desired.unread:
        return {}
    broken = {problem.file: str(problem) for problem in reversed(desired.problems)}
    unread = f"{desired.unread[0]} could not be read, and may declare it" if desired.unread else ""
    found: dict[str, str] = {}
    for name, run in given.records.items():
        ref = run.applied.ref
        text = desired.frozen.get(ref) or ("" if ref in desired.jobs else broken.get(run.applied.origin.file, unread))
        if text:
            found[name] = text
    return found


def standing(known: Wanted, given: Facts, kept: Mapping[str, str]) -> Wanted:
    """Return `known` with the runs of frozen manifests that only the ledger knows: they go on as they were started.

    A halted one stays halted: what the manifest said of `state` is not known.
    """
    going = (record.Phase.PENDING, record.Phase.RUNNING)
    added = {
        name: given.records[name]
        for name in kept
        if given.records[name].applied.ref not in given.desired.jobs and given.records[name].phase in going
    }
    if not added:
        return known
    return Wanted(
        instance=known.instance,
        by_run={**known.by_run, **{name: (run.applied, run.replica) for name, run in added.items()}},
        by_key={**known.by_key, **{run.key: name for name, run in added.items()}},
    )
