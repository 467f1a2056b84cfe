"""Loading: from the files of one revision to what it desires, with every problem of every file at once."""

from __future__ import annotations

import dataclasses

from reconciler.contracts.source import Tree
from reconciler.core import model
from reconciler.load import layout, references, settle, world
from reconciler.load.cache import Cache


def revision(
    tree: Tree,
    *,
    previous: model.Desired | None = None,
    cache: Cache | None = None,
    allow_empty: bool = False,
) -> model.Desired:
    """Return what a revision desires. Never raises for anything that people wrote: see `Desired.problems`.

    `previous` is the last good revision, at which invalid objects stay; without it they are only named in `frozen`.
    `cache` keeps parsed files from one revision to the next. With `Desired.refused` set the objects are those of
    `previous`, whatever this revision says.
    """
    selection = layout.select(tree)
    files = (cache or Cache()).files(tree, selection.entries)
    before = settle.known_before(previous)
    everything = world.gather(tree, selection.links, files)
    unread = settle.freeze_unread(everything, files, selection.unread, before)
    references.check(everything)
    references.unnamed_store(everything)
    broken = None
    while broken != len(everything.broken):  # what falls back to its last valid version may close another circle
        broken = len(everything.broken)
        references.circles(everything, settle.effective_jobs(everything, before))
    refused = str(selection.problems[0]) if selection.problems else settle.refusal(everything, unread, before)
    problems = settle.sorted_problems([*selection.problems, *selection.unread, *everything.problems])
    if refused:
        unread = tuple(sorted({*unread, *(problem.file for problem in problems)}))
    base = previous if refused else settle.desired(everything, before)
    return dataclasses.replace(
        base or model.Desired(revision=""),
        revision=tree.revision,
        frozen={} if base is None else base.frozen,
        problems=problems,
        unread=unread,
        refused=refused,
        allow_empty=allow_empty,
    )
