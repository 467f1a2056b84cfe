"""Which checkpoints may go: planned, two-phased, and never the last one."""

from __future__ import annotations

from collections.abc import Container

from reconciler.core import action, lineage, model, record

GRACE = 3600.0
"""Seconds between tombstone and deletion: longer than the longest restore."""


def excess(run: record.Record, store: model.StoreSpec | None, pins: Container[str], now: float) -> tuple[record.Saved, ...]:
    """Return the checkpoints of a run that its policy does not keep, oldest first.

    Kept: the newest `keep`, what a Checkpoint manifest in `pins` holds, what the newest attempt was restored from, and the last
    verified one. Once a run is over and the store's retention has passed, only pinned ones and the last one stay.
    """
    if store is None or len(run.checkpoints) <= 1:
        return ()
    over = run.phase in record.TERMINAL and run.ended_at is not None
    aged = over and store.retention is not None and now - (run.ended_at or now) >= store.retention
    count = 1 if aged else max(run.applied.checkpoint.keep, 1)
    newest = {saved.taken.digest for saved in run.checkpoints[-count:]}
    last = lineage.latest(run, (saved.taken for saved in run.checkpoints))
    if last is not None:
        newest.add(last.digest)
    if run.newest is not None and run.phase not in record.TERMINAL:
        newest.add(run.newest.restored_from)
    loose = (saved for saved in run.checkpoints if saved.taken.digest not in newest)
    return tuple(saved for saved in loose if not any(pin in pins for pin in saved.pinned_by))


def due(saved: record.Saved, now: float) -> bool:
    """Return whether a phase of its deletion is due: the tombstone, or the deletion after the grace."""
    return saved.tombstoned_at is None or now - saved.tombstoned_at >= GRACE


def prune(run: record.Record, store: model.StoreSpec | None, pins: Container[str], now: float) -> action.Action | None:
    """Return the PRUNE action of a run, or None when nothing is due."""
    going = tuple(saved.taken.digest for saved in excess(run, store, pins, now) if due(saved, now))
    if not going or store is None:
        return None
    return action.Action(
        verb=action.Verb.PRUNE,
        tenant=run.tenant,
        job=run.job,
        replica=run.replica,
        run=run.run,
        reason="Retention",
        sentence=f"{len(going)} of {len(run.checkpoints)} checkpoints are more than `keep: {run.applied.checkpoint.keep}` asks for",
        digests=going,
        store=store.name,
    )
