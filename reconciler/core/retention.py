"""Which checkpoints may go: planned, two-phased, and never the last one."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from reconciler.core import action, lineage, model, record

GRACE = 3600.0
"""Seconds between tombstone and deletion: longer than the longest restore."""

Concerned = tuple[record.Record, model.StoreSpec]
"""A run and its store as that is declared now."""


def lent(records: Iterable[record.Record], desired: model.Desired) -> frozenset[str]:
    """Return the checkpoints that runs other than their own build on: restored by an unfinished one, or named by a manifest."""
    named = {job.restore_from for job in desired.jobs.values()}
    unfinished = (run for run in records if run.phase not in record.TERMINAL)
    return frozenset(
        named | {saved.taken.digest for run in unfinished for saved in run.checkpoints if saved.taken.attempt == 0}
    )


def concerned(records: Iterable[record.Record], desired: model.Desired) -> list[Concerned]:
    """Return the runs of which a deletion can be due, now or some day, also of those that are over: of many, few.

    Of a store that is not declared any more nothing is deleted.
    """
    found: list[Concerned] = []
    for run in records:
        if not run.checkpoints or run.store is None:
            continue
        kept = desired.stores.get(run.store.name)
        if kept is not None and _may_exceed(run, kept):
            found.append((run, kept))
    return found


def excess(
    run: record.Record, kept: model.StoreSpec, pins: Container[str] | None, now: float, lent: Container[str] = ()
) -> tuple[record.Saved, ...]:
    """Return the checkpoints of a run that its policy does not keep, oldest first.

    `kept` is its store. What stays: the newest `keep`, besides what a Checkpoint manifest in `pins` holds (None: it is not
    known which exist, so whatever was ever pinned), what the newest attempt was restored from, the last one of the lineage, and
    what is `lent` to other runs. Once a run is over and the store's retention has passed, only pinned, lent and the last one
    stay. A checkpoint of another run is not ours to delete.
    """
    count = 1 if _aged(run, kept, now) else max(run.applied.checkpoint.keep, 1)
    if len(run.checkpoints) <= count:
        return ()
    loose = [saved for saved in run.checkpoints if saved.taken.attempt > 0 and not _pinned(saved, pins)]
    going = loose[:-count]
    if not going:
        return ()
    last = lineage.latest(run, (saved.taken for saved in run.checkpoints))
    needed = {last.digest} if last is not None else set()
    if run.newest is not None and run.phase not in record.TERMINAL:
        needed.add(run.newest.restored_from)
    return tuple(saved for saved in going if saved.taken.digest not in needed and saved.taken.digest not in lent)


def _may_exceed(run: record.Record, kept: model.StoreSpec) -> bool:
    count = len(run.checkpoints)
    if count > 1 and (count > run.applied.checkpoint.keep or kept.retention is not None):
        return True
    return any(saved.tombstoned_at is not None for saved in run.checkpoints)


def _aged(run: record.Record, kept: model.StoreSpec, now: float) -> bool:
    over = run.phase in record.TERMINAL and run.ended_at is not None
    return over and kept.retention is not None and now - (run.ended_at or now) >= kept.retention


def _pinned(saved: record.Saved, pins: Container[str] | None) -> bool:
    return any(pins is None or pin in pins for pin in saved.pinned_by)


def prune(
    run: record.Record, kept: model.StoreSpec, pins: Container[str] | None, now: float, lent: Container[str] = ()
) -> action.Action | None:
    """Return the action that takes what is due one step further: to its tombstone, or after the grace to its deletion.

    What has a tombstone and is to stay after all (somebody has pinned it, or a manifest names it now) loses it.
    """
    loose = excess(run, kept, pins, now, lent)
    going = [saved for saved in loose if saved.tombstoned_at is None or now - saved.tombstoned_at >= GRACE]
    back = [saved for saved in run.checkpoints if saved.tombstoned_at is not None and saved not in loose]
    if not going and not back:
        return None
    why = "its run is over" if _aged(run, kept, now) else f"`keep` is {run.applied.checkpoint.keep}"
    of = f"of {len(run.checkpoints)} checkpoints"
    parts = [f"{len(going)} {of} can go: {why}"] if going else []
    parts += [f"{len(back)} {of} {'is' if len(back) == 1 else 'are'} kept after all"] if back else []
    return action.Action(
        verb=action.Verb.PRUNE,
        tenant=run.tenant,
        job=run.job,
        replica=run.replica,
        run=run.run,
        reason="Retention",
        sentence="; ".join(parts),
        digests=tuple(saved.taken.digest for saved in going),
        keep=tuple(saved.taken.digest for saved in back),
        store=kept.name,
    )


def moments(run: record.Record, kept: model.StoreSpec) -> Iterator[float]:
    """Yield when a further step of a deletion is due."""
    for saved in run.checkpoints:
        if saved.tombstoned_at is not None:
            yield saved.tombstoned_at + GRACE
    if run.phase in record.TERMINAL and run.ended_at is not None and kept.retention is not None:
        yield run.ended_at + kept.retention
