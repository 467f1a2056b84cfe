"""Which checkpoint a run continues from.

Readers follow the ledger's newest attempt: what it saved, else what it was itself restored from. A given-up attempt that writes
later publishes orphans: they belong to no lineage.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core import observed, record


def latest(run: record.Record, offered: Iterable[observed.Taken]) -> observed.Taken | None:
    """Return the newest checkpoint in the lineage among `offered` (what the store holds complete and verified), or None.

    A checkpoint that a restore found damaged is passed over for the one before it.
    """
    newest = run.newest
    if newest is None:
        return None
    damaged = {saved.taken.digest for saved in run.checkpoints if saved.damaged}
    damaged |= {attempt.exit.damaged for attempt in run.attempts if attempt.exit and attempt.exit.damaged}
    usable = {taken.digest: taken for taken in offered if taken.digest not in damaged}
    for attempt in reversed(chain(run, usable.values())):
        own = head(taken for taken in usable.values() if taken.attempt == attempt.number and _counts(taken, attempt, run))
        if own is not None:
            return own
    return usable.get(newest.restored_from)


def head(checkpoints: Iterable[observed.Taken]) -> observed.Taken | None:
    """Return the last of one attempt's checkpoints: the one that is no other's parent, whatever the host's clock said."""
    taken = tuple(checkpoints)
    parents = {each.parent for each in taken}
    ends = [each for each in taken if each.digest not in parents]
    return max(ends or taken, key=lambda each: (each.taken_at, each.step or 0, each.digest), default=None)


def chain(run: record.Record, offered: Iterable[observed.Taken] = ()) -> tuple[record.Attempt, ...]:
    """Return the attempts whose work the newest one builds on, oldest first, the newest included."""
    author = {taken.digest: taken.attempt for taken in offered}
    author |= {saved.taken.digest: saved.taken.attempt for saved in run.checkpoints}
    by_number = {attempt.number: attempt for attempt in run.attempts}
    links: list[record.Attempt] = []
    attempt = run.newest
    while attempt is not None and attempt not in links:
        links.append(attempt)
        attempt = by_number.get(author.get(attempt.restored_from, -1))
    return tuple(reversed(links))


def _counts(taken: observed.Taken, attempt: record.Attempt, run: record.Record) -> bool:
    """Whether the lineage builds on `taken`: an earlier attempt's checkpoints after the one restored are orphans."""
    successor = next((each for each in run.attempts if each.number > attempt.number and each.restored_from), None)
    if attempt is run.newest or successor is None:
        return True
    known = [saved.taken for saved in run.checkpoints if saved.taken.attempt == attempt.number]
    order = [each.digest for each in known]
    if successor.restored_from in order:
        return taken.digest in order[: order.index(successor.restored_from) + 1]
    return taken.digest == successor.restored_from
