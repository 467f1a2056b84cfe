"""An image's files in a folder of this host. Every step is taken from a descriptor of the folder above and follows no link."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from reconciler import errors
from reconciler.contracts import store
from reconciler.storage import files

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o777
"""Permission bits that are restored: never set-uid, set-gid or sticky."""


def export(image: store.Image, directory: str) -> None:
    """Write the files of `image` below `directory`, which is made private (0700) and must be empty; it is created if missing.

    Raises `errors.Refused` when it is not empty, `errors.Unavailable` when there is no room; nothing is left below it then.
    """
    with files.explained(directory):
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        root = os.open(directory, _FOLDER)
        try:
            if os.listdir(root):
                raise errors.Refused("the folder to restore into is not empty", where=directory, remedy="Give an empty one.")
            os.fchmod(root, 0o700)
            try:
                _fill(image, root)
            except BaseException:
                _empty(root)
                raise
        finally:
            os.close(root)


def _fill(image: store.Image, root: int) -> None:
    entries = list(image.entries())
    folders = [entry for entry in entries if entry.kind == "directory"]
    for entry in folders:
        with _above(root, entry.path) as (above, name):
            _make(above, name)
    for entry in entries:
        if entry.kind == "file":
            _write(image, root, entry)
    for entry in entries:
        if entry.kind == "symlink":  # last: until all else is written there is no link that could be walked through
            with _above(root, entry.path) as (above, name):
                os.symlink(entry.link, name, dir_fd=above)
    for entry in sorted(folders, key=lambda folder: folder.path.count("/"), reverse=True):
        with _above(root, entry.path) as (above, name):
            folder = os.open(name, _FOLDER, dir_fd=above)
            try:
                _finish(folder, entry)
            finally:
                os.close(folder)


def _write(image: store.Image, root: int, entry: store.FileEntry) -> None:
    with _above(root, entry.path) as (above, name):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=above)
    try:
        for offset, data in image.extents(entry.path):
            written = 0
            while written < len(data):
                written += os.pwrite(file, memoryview(data)[written:], offset + written)
        if os.fstat(file).st_size > entry.size:
            raise errors.Damaged("the image holds more of this file than it says", where=entry.path)
        os.ftruncate(file, entry.size)  # zeros at the end are not stored
        _finish(file, entry)
    finally:
        os.close(file)


def _finish(descriptor: int, entry: store.FileEntry) -> None:
    os.fchmod(descriptor, entry.mode & _MODE)
    os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))


def _make(above: int, name: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=above)


@contextlib.contextmanager
def _above(root: int, path: str) -> Iterator[tuple[int, str]]:
    """Yield the folder that `path` lies in, which is made where the image does not list it, and its last part."""
    *parts, name = path.split("/")
    current = os.dup(root)
    try:
        for part in parts:
            _make(current, part)
            below = os.open(part, _FOLDER, dir_fd=current)
            os.close(current)
            current = below
        yield current, name
    finally:
        os.close(current)


def _empty(root: int) -> None:
    """Remove what was written, as far as possible: the error that led here is the one to report."""
    for name in os.listdir(root):
        try:
            os.unlink(name, dir_fd=root)
        except OSError:
            shutil.rmtree(name, ignore_errors=True, dir_fd=root)
