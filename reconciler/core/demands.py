"""Checkpoint manifests: which runs each one still asks something of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from reconciler.core import codec, facts, model, record

Demands = tuple[tuple[str, model.CheckpointRequest], ...]


def request_id(manifest: model.CheckpointRequest) -> str:
    """Return the id under which a Checkpoint manifest is served: another job, reason or `stop` is another request."""
    text = codec.digest([manifest.tenant, manifest.name, manifest.job, manifest.reason, manifest.stop])
    return f"{manifest.name}-{text.removeprefix('sha256:')[:12]}"


def by_run(desired: model.Desired, records: Iterable[record.Record]) -> Mapping[str, Demands]:
    """Return the Checkpoint manifests by run; one that another run of the same Job has served asks nothing of this one."""
    if not desired.checkpoints:
        return {}
    by_job: dict[tuple[str, str], list[tuple[str, model.CheckpointRequest]]] = {}
    for _, manifest in sorted(desired.checkpoints.items()):
        by_job.setdefault((manifest.tenant, manifest.job), []).append((request_id(manifest), manifest))
    concerned = [run for run in records if (run.tenant, run.job) in by_job]
    served: dict[facts.Key, set[str]] = {}
    for run in concerned:
        served.setdefault(run.key, set()).update(run.served)
    return {
        run.run: tuple(
            (name, manifest)
            for name, manifest in by_job[run.tenant, run.job]
            if name in run.served or name not in served[run.key]
        )
        for run in concerned
    }


def unsure(desired: model.Desired) -> str:
    """Return why it is not known which Checkpoint manifests there are, or nothing where that is known."""
    if desired.unread:
        return f"{desired.unread[0]} could not be read"
    lacking = (text for ref, text in desired.frozen.items() if ref.kind == "Checkpoint" and ref not in desired.checkpoints)
    return next(lacking, "")


def remembered(desired: model.Desired, run: record.Record) -> record.Record:
    """Return the run with what it has served, under the names that its manifests have now.

    Without requests whose manifests are gone: declared again, such a manifest asks again. One that has lost its `stop` since it
    was served (`perdure run` takes it out) is served all the same: its checkpoint was taken, and stays pinned.
    """
    if not run.served:
        return run
    now = {name: name for name in run.served} if unsure(desired) else {}
    for manifest in desired.checkpoints.values():
        own = request_id(manifest)
        if not manifest.stop:
            now[request_id(dataclasses.replace(manifest, stop=True))] = own
        now[own] = own
    served = tuple(dict.fromkeys(now[name] for name in run.served if name in now))
    if served == run.served:
        return run
    saved = tuple(
        dataclasses.replace(each, pinned_by=tuple(dict.fromkeys(now.get(name, name) for name in each.pinned_by)))
        for each in run.checkpoints
    )
    return dataclasses.replace(run, served=served, checkpoints=saved)
