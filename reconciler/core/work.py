"""How much work an action saves or throws away: what a reviewer wants to know before a merge."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core import action, lineage, observed, record


def at_stake(run: record.Record, item: observed.Item | None, now: float) -> tuple[action.Work, action.Work]:
    """Return (work since the last checkpoint, work in it) of a live attempt: what ending it at once would lose and keep."""
    attempt = run.newest
    if attempt is None or attempt.started_at is None:
        return action.NOTHING, action.NOTHING
    last = lineage.latest(run, (saved.taken for saved in run.checkpoints))
    step = item.progress.step if item and item.progress else attempt.last_step
    since = max(attempt.started_at, last.taken_at if last and last.attempt == attempt.number else attempt.started_at)
    lost = action.Work(steps=beyond(step, last.step if last else 0), seconds=max(now - since, 0.0))
    return lost, action.Work(steps=last.step if last else 0)


def on_launch(run: record.Record, taken: observed.Taken | None) -> tuple[action.Work, action.Work]:
    """Return (work lost, work saved) by beginning the next attempt from `taken`."""
    newest = run.newest
    if newest is None:
        return action.NOTHING, action.NOTHING
    lost = beyond(reached(run.attempts), taken.step if taken else 0)
    return action.Work(steps=lost), action.Work(steps=taken.step if taken else 0)


def reached(attempts: Sequence[record.Attempt]) -> int | None:
    """Return the step that the last of the attempts to begin had come to; None where it counted none."""
    return next((attempt.last_step for attempt in reversed(attempts) if attempt.started_at is not None), None)


def beyond(step: int | None, saved: int | None) -> int | None:
    """Return how many steps lie between the saved one and the one reached; None where either is not known."""
    return None if step is None or saved is None else max(step - saved, 0)
