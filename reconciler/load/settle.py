"""From checked documents to what is desired: what is valid stands, what is not stays as it last was.

An invalid document freezes its own object; a file that cannot be parsed freezes everything last known from it; an invalid
Target, Store or perdure.yaml refuses the revision. Nothing of this removes an object.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler.core import model
from reconciler.load import references
from reconciler.load.documents import Document, File
from reconciler.load.world import World

REFUSING = ("Target", "Store")
"""Kinds whose mistakes concern every Job."""

_Object = model.Job | model.CheckpointRequest | model.StoreSpec | model.TargetSpec | model.PoolSpec


def known_before(previous: model.Desired | None) -> dict[model.ObjectRef, _Object]:
    """Return every object of the last good revision."""
    if previous is None:
        return {}
    named: dict[model.ObjectRef, _Object] = {**previous.jobs, **previous.checkpoints}
    for kind, values in (("Store", previous.stores), ("Target", previous.targets), ("Pool", previous.pools)):
        named.update((model.ObjectRef(kind=kind, name=name), value) for name, value in values.items())
    return named


def freeze_unread(
    world: World, files: Sequence[File], unread: Sequence[model.Problem], before: Mapping[model.ObjectRef, _Object]
) -> tuple[str, ...]:
    """Freeze what files declare that could not be parsed or do not say which object they mean; return those files."""
    reasons = {problem.file: str(problem) for problem in reversed(unread)}
    vague: dict[str, str] = {}
    for file in files:
        if file.unread:
            reasons[file.path] = str(file.unread[0])
            for document in file.documents:
                if document.ref is not None:
                    world.broken.setdefault(document.ref, reasons[file.path])
        nameless = [problem for document in file.documents if document.ref is None for problem in document.problems]
        if nameless:
            vague.setdefault(file.path, str(nameless[0]))
    for ref, value in before.items() if reasons or vague else ():
        file_path = value.origin.file
        reason = _reason(reasons, file_path)
        if reason is None and ref not in world.documents:
            reason = vague.get(file_path)
        if reason is not None:
            world.broken.setdefault(ref, reason)
            world.know(ref)
            if isinstance(value, model.StoreSpec):
                world.stores[value.name] = value
            elif isinstance(value, model.TargetSpec):
                world.targets[value.name] = value
    return tuple(sorted(reasons.keys() | vague.keys()))


def _reason(reasons: Mapping[str, str], path: str) -> str | None:
    """Why the file at `path`, or a link in place of a folder above it, could not be read."""
    while path:
        if path in reasons:
            return reasons[path]
        path = posixpath.dirname(path)
    return None


def desired(world: World, before: Mapping[model.ObjectRef, _Object]) -> model.Desired:
    """Return what stands, without revision, problems and the rest that `load` adds."""
    jobs: dict[model.ObjectRef, model.Job] = {}
    others: dict[model.ObjectRef, _Object] = {}
    default = references.default_store(world)
    has_store = bool(world.names.get("Store"))
    for ref, document in world.documents.items():
        value = document.value
        if value is None or ref in world.broken:
            continue
        if isinstance(value, model.Job):
            jobs[ref] = _final(world, document, value, (default, "yes" if has_store else ""))
        else:
            others[ref] = value
    for ref in world.broken:
        old = before.get(ref)
        if isinstance(old, model.Job):
            jobs[ref] = old
        elif old is not None:
            others[ref] = old
    _keep_what_frozen_jobs_use(world, jobs, others, before)
    pools = {value.name: value for value in others.values() if isinstance(value, model.PoolSpec)}
    by_pool = {name: pool.labels for name, pool in pools.items() if pool.labels}
    targets = (value for value in others.values() if isinstance(value, model.TargetSpec))
    return model.Desired(
        revision="",
        jobs=jobs,
        checkpoints={ref: value for ref, value in others.items() if isinstance(value, model.CheckpointRequest)},
        stores={value.name: value for value in others.values() if isinstance(value, model.StoreSpec)},
        targets={value.name: dataclasses.replace(value, by_pool=by_pool) for value in targets},
        pools=pools,
        frozen=dict(world.broken),
    )


def refusal(world: World, unread: Sequence[str], before: Mapping[model.ObjectRef, _Object]) -> str:
    """Return why the whole revision is refused, or "". What an unread file declared only stays as it was, if it was."""
    for ref, document in world.documents.items():
        if ref.kind in REFUSING and ref in world.broken and (document.origin.file not in unread or ref not in before):
            return world.broken[ref]
    return ""


def effective_jobs(world: World, before: Mapping[model.ObjectRef, _Object]) -> Iterator[model.Job]:
    """Yield the Jobs that stand as far as is known before circles are looked for."""
    for ref, document in world.documents.items():
        if ref not in world.broken and isinstance(document.value, model.Job):
            yield document.value
    for ref in world.broken:
        job = before.get(ref)
        if isinstance(job, model.Job):
            yield job


def _final(world: World, document: Document, job: model.Job, stores: tuple[str, str]) -> model.Job:
    """The Job as the revision completes it; the same object as before while nothing of that has changed."""
    code = job.workload.code
    tree = (world.tree_id(posixpath.normpath(code.path)) or "") if code else ""
    if document.settled is not None and document.settled[0] == (tree, stores):
        return document.settled[1]
    default, has_store = stores
    policy, workload = job.checkpoint, job.workload
    engine = policy.engine if has_store else model.EngineName.NONE
    if policy.store != (policy.store or default) or engine is not policy.engine:
        policy = dataclasses.replace(policy, store=policy.store or default, engine=engine)
    if code is not None:
        workload = dataclasses.replace(workload, code=dataclasses.replace(code, tree=tree))
    final = dataclasses.replace(job, checkpoint=policy, workload=workload)
    document.settled = ((tree, stores), final)
    return final


def _keep_what_frozen_jobs_use(
    world: World,
    jobs: Mapping[model.ObjectRef, model.Job],
    others: dict[model.ObjectRef, _Object],
    before: Mapping[model.ObjectRef, _Object],
) -> None:
    """A Job at its last valid version needs its Target, Pool and Store, even where this revision has removed them."""
    for ref in [*world.broken]:
        job = jobs.get(ref)
        if job is None:
            continue
        for kind, name in (("Target", job.target), ("Pool", job.pool), ("Store", job.checkpoint.store)):
            needed = model.ObjectRef(kind=kind, name=name)
            if needed not in others and needed in before:
                others[needed] = before[needed]
                world.broken.setdefault(needed, f"removed, and still used by {ref}, which is invalid")


def sorted_problems(problems: Iterable[model.Problem]) -> tuple[model.Problem, ...]:
    """Return problems by place, each once."""
    return tuple(sorted(set(problems), key=lambda one: (one.file, one.line, one.column, one.message)))
