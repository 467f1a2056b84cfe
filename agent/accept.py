"""Taking over assignments: what changes in the journal when a new set has come. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping

from agent import journal
from reconciler.core import observed, spec

ORDER = (spec.Want.RUN, spec.Want.STOP, spec.Want.REMOVE)
"""What is wanted of one attempt only ever moves to the right."""

HAD = observed.Exit(
    kind=observed.ExitKind.UNKNOWN,
    detail="this host has had the attempt before, and has removed it once its end was recorded: the ledger is from before that",
)
"""The end of an attempt that was here and is asked for again."""


def accept(
    known: Mapping[spec.AttemptRef, journal.Entry],
    assignments: spec.Assignments,
    started: Callable[[spec.AttemptRef], bool],
    forgotten: Container[spec.AttemptRef] = (),
) -> tuple[journal.Entry, ...]:
    """Return the entries that are new or changed. An attempt that is not listed stays as it is.

    `started` tells of an attempt without an entry whether its program was ever started here (its journal was damaged): it is
    then watched, never started again. What is in `forgotten` was here, has ended and was removed: it is not begun again,
    whoever asks for it. A reconciler that wants it to run has a ledger from before its end and would ask for ever: it is told.
    """
    entries = []
    for item in assignments.items:
        entry = known.get(item.spec.ref)
        if entry is not None:
            changed = dataclasses.replace(entry, assignment=_merge(entry, item))
            if changed != entry:
                entries.append(changed)
        elif item.spec.ref in forgotten:
            if item.want is spec.Want.RUN:
                entries.append(journal.Entry(assignment=item, stage=journal.Stage.ENDED, exit=HAD))
        elif started(item.spec.ref):
            entries.append(journal.Entry(assignment=item, stage=journal.Stage.STARTED))
        elif item.want is not spec.Want.REMOVE:
            entries.append(journal.Entry(assignment=item))
    return tuple(entries)


def _merge(entry: journal.Entry, item: spec.Assignment) -> spec.Assignment:
    """What can change under a program that runs: its bounds and its checkpoint policy. The rest is as it was started."""
    old = entry.assignment
    policy = dataclasses.replace(item.spec.checkpoint, engine=old.spec.checkpoint.engine)
    changeable = dataclasses.replace(
        old.spec,
        timeout=item.spec.timeout,
        checkpoint=policy,
        store=item.spec.store or old.spec.store,
        labels=item.spec.labels,
    )
    return dataclasses.replace(
        old,
        spec=changeable if entry.stage is not journal.Stage.ACCEPTED else item.spec,
        want=max(old.want, item.want, key=ORDER.index),
        request=item.request,
        grace=item.grace,
    )
