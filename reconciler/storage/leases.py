"""Which writers live: each holds a lock on a file named by its token, and the lock ends with its process.

The packs of a living writer belong to no image yet. A sweep must not take them, and can take everything of a dead one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from reconciler import errors
from reconciler.storage import files, layout
from reconciler.storage.disk import Disk, File


@dataclass(frozen=True, slots=True)
class Writers:
    """The writers of one run. What belongs to neither is also nobody's."""

    living: frozenset[str]
    dead: frozenset[str]


def begin(disk: Disk, run: str, fresh: Callable[[], str]) -> tuple[str, File]:
    """Become a living writer under a `fresh` token. Close the file to end; `end` also removes its name."""
    folder = layout.writing(run)
    disk.folder(folder)
    disk.folder(layout.packs(run))
    for _ in range(files.TRIES):
        token = fresh()
        file = disk.create(f"{folder}/{token}")
        if file.lock(exclusive=True) and file.linked():
            disk.sync_folder(folder)  # the store may be another machine's, whose power can go while we live
            return token, file
        file.close()  # a sweep came between the file and its lock, took it for a dead one's, and removes it: another token
    raise errors.Busy("a sweep took this writer's lock again and again; try again", where=run)


def end(disk: Disk, run: str, token: str, lock: File) -> None:
    """Stop being one, in an order that never shows packs without an owner that lives."""
    with contextlib.suppress(OSError):
        disk.unlink(f"{layout.writing(run)}/{token}")
    lock.close()


def writers(disk: Disk, run: str) -> Writers:
    """Return who lives now. Anyone who is not known to be dead lives."""
    folder = layout.writing(run)
    living: set[str] = set()
    dead: set[str] = set()
    try:
        names = disk.names(folder)
    except FileNotFoundError:
        names = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            (living if held(disk, f"{folder}/{name}") else dead).add(name)
    return Writers(frozenset(living), frozenset(dead))


def bury(disk: Disk, run: str, token: str) -> None:
    """Remove the name of a dead writer, under its lock: one that had only begun when it was looked at may hold it by now."""
    path = f"{layout.writing(run)}/{token}"
    with contextlib.suppress(FileNotFoundError):
        file = disk.open(path, write=True)
        try:
            if file.lock(exclusive=True):
                disk.unlink(path)
        finally:
            file.close()


def held(disk: Disk, path: str) -> bool:
    """Return whether somebody who lives has locked a file. Raises `FileNotFoundError`."""
    file = disk.open(path, write=True)
    try:
        return not file.lock(exclusive=True)
    finally:
        file.close()
