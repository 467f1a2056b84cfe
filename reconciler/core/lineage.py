"""Which checkpoint a run continues from.

Readers follow the ledger's newest attempt: what it saved, else what it was itself restored from. A given-up attempt that writes
later publishes orphans: they belong to no lineage.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core import observed, record


def latest(run: record.Record, offered: Iterable[observed.Taken]) -> observed.Taken | None:
    """Return the newest checkpoint in the lineage among `offered` (what the store holds complete and verified), or None.

    The walk goes from the newest attempt to the one whose checkpoint it was restored from, and so on: of that one only the
    checkpoint restored and those before it count. One that a restore found damaged is passed over for the one before it.
    """
    damaged = {saved.taken.digest for saved in run.checkpoints if saved.damaged}
    damaged |= {attempt.exit.damaged for attempt in run.attempts if attempt.exit and attempt.exit.damaged}
    usable = {taken.digest: taken for taken in offered if taken.digest not in damaged}
    known = {saved.taken.digest: saved.taken for saved in run.checkpoints} | usable
    by_number = {attempt.number: attempt for attempt in run.attempts}
    attempt = run.newest
    best = head(taken for taken in usable.values() if attempt is not None and taken.attempt == attempt.number)
    while attempt is not None and best is None:
        until = attempt.restored_from
        author = known.get(until)
        # An author that is not older would be a circle, and a checkpoint of another run has no author here.
        older = by_number.get(author.attempt) if author is not None and author.attempt < attempt.number else None
        if older is None:
            return usable.get(until)
        own = [saved.taken.digest for saved in run.checkpoints if saved.taken.attempt == older.number]
        counting = own[: own.index(until) + 1] if until in own else [until]
        best = next((usable[digest] for digest in reversed(counting) if digest in usable), None)
        attempt = older
    return best


def newest(checkpoints: Iterable[observed.Taken]) -> observed.Taken | None:
    """Return the head of the newest of these attempts."""
    taken = tuple(checkpoints)
    last = max((each.attempt for each in taken), default=0)
    return head(each for each in taken if each.attempt == last)


def head(checkpoints: Iterable[observed.Taken]) -> observed.Taken | None:
    """Return the last of one attempt's checkpoints, whatever the host's clock said: that of the highest number, or the one that
    is no other's parent where they have none."""
    taken = tuple(checkpoints)
    if len(taken) < 2:
        return taken[0] if taken else None
    parents = {each.parent for each in taken}
    return max(taken, key=lambda each: (each.number, each.digest not in parents, each.taken_at, each.step or 0, each.digest))
