"""Small files in one step, and what an error of the operating system means to a person."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from reconciler import errors
from reconciler.storage.disk import Disk, File

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

FOREIGN = errors.IN_ITS_PLACE | {errno.EINVAL}
"""The same, and what reading a link that is none comes to."""

SHARED = (
    "Share its folder DIR by a group of all accounts that use it: "
    "chgrp -R GROUP DIR; chmod -R g+rwX DIR; find DIR -type d -exec chmod g+s {} +"
)
READ_ONLY = "Mount it for writing; where the kernel has taken that back, its log (dmesg) says why."

TRIES = 5
"""Times that something is done again which a sweep has undone between two of its operations."""


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn an `OSError` into the error that says what to do next."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            remedy = "Free space (`perdure checkpoints` shows what is kept), or raise the limit of the file system or quota."
            raise errors.Unavailable(f"the store is full: {reason}", where=where, remedy=remedy) from error
        if error.errno == errno.ENOENT:
            raise errors.Damaged(f"a file of the store is missing: {error.filename}", where=where) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = READ_ONLY if error.errno == errno.EROFS else SHARED
            raise errors.Unavailable(f"the store may not be used: {reason}", where=where, remedy=remedy) from error
        if error.errno == errno.ESTALE:
            raise errors.Unavailable(
                f"the store is not where it was: {reason}", where=where, remedy="Mount it again."
            ) from error
        name = str(error.filename or "")
        if error.errno in (errno.ENOTDIR, errno.EEXIST) and (not name or os.path.isabs(name)):
            raise errors.Unavailable(
                "the store is not a folder", where=where, remedy="Name a folder in `path.root` of its manifest."
            ) from error
        if error.errno in FOREIGN and name:
            raise errors.Unavailable(
                f"something else lies in the place of {name}: {reason[:1].lower()}{reason[1:]}",
                where=where,
                remedy="See what it is, and move it out of the store.",
            ) from error
        raise errors.Unavailable(f"the store does not answer: {reason}", where=where) from error


@contextlib.contextmanager
def in_place(path: str, where: str) -> Iterator[None]:
    """Call it damage of the image `where`, and of nothing else, when something else lies in the place of a file of it."""
    try:
        yield
    except OSError as error:
        if error.errno not in FOREIGN:
            raise
        raise errors.Damaged(
            f"something else lies in the place of {path}", where=where, remedy="See what it is, and move it out of the store."
        ) from error


def write_aside(disk: Disk, path: str, aside: str, data: bytes) -> None:
    """Put `data` at `path` in one durable step: written to `aside` in the same folder, synced, renamed, the folder synced."""
    file = disk.create(aside)
    try:
        file.write(data)
        file.sync()
    finally:
        file.close()
    disk.rename(aside, path)
    disk.sync_folder(path.rpartition("/")[0])


def create_aside(disk: Disk, folder: str, name: str) -> File:
    """Create a file for a name that is given later, and its folder. A sweep may take the folder while it is empty."""
    for _ in range(TRIES):
        disk.folder(folder)
        with contextlib.suppress(FileNotFoundError):
            return disk.create(f"{folder}/{name}")
    raise errors.Busy("a sweep took the folder away again and again; try again", where=folder)


def discard(disk: Disk, path: str) -> None:
    """Remove a file that somebody else may be removing too."""
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(path)


def read_all(disk: Disk, path: str, limit: int) -> bytes:
    """Return a file's bytes. Raises `errors.Damaged` when it is longer than `limit`: it is not what it pretends to be."""
    file = disk.open(path)
    try:
        if file.size() > limit:
            raise errors.Damaged(f"longer than {limit} bytes", where=path)
        return file.read(0, limit)
    finally:
        file.close()
