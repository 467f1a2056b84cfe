"""Send a folder that somebody else wrote into an image, without following or trusting anything in it."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat

from reconciler import errors
from reconciler.contracts import store

READ = 256 * store.UNIT
"""Bytes read at a time: 1 MiB."""
MOST_NAMES = 500_000
"""Entries of one folder, more than any image holds: beyond, they are not even listed."""
SMALL = 4096
"""Most bytes of a file that is read for a hint."""


def send(path: os.PathLike[str], sink: store.Sink, *, owner: tuple[int, int] | None, leave_out: str = "") -> None:
    """Announce and send every folder, file and link below `path`, holes left out. `leave_out` names one entry at the top.

    With `owner`, files of any other user are refused: a hard link may name what its maker could not read. Raises
    `errors.InvalidInput` for what an image cannot hold (links that leave, devices, FIFOs, sockets, names that are not UTF-8)
    and `errors.Unavailable` when a file changes while it is read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _send_folder(descriptor, "", sink, owner, leave_out)
    finally:
        os.close(descriptor)


def discard(path: os.PathLike[str]) -> None:
    """Remove a folder that somebody else wrote, also where it has closed its folders to us. Nobody may be writing any more."""
    if os.geteuid() != 0 and os.path.isdir(path):
        os.chmod(path, 0o700)
        for folder, folders, _ in os.walk(path):
            for name in folders:
                inner = os.path.join(folder, name)
                if not os.path.islink(inner):
                    os.chmod(inner, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def read_small(path: os.PathLike[str]) -> bytes:
    """Return the first bytes of a regular file without following a link or waiting on a FIFO. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, SMALL) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


def _send_folder(folder: int, prefix: str, sink: store.Sink, owner: tuple[int, int] | None, leave_out: str) -> None:
    for name in _names(folder, prefix):
        if name == leave_out:
            continue
        path = f"{prefix}{name}"
        _check_name(path)
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if owner is not None and status.st_uid != owner[0]:
            raise errors.InvalidInput(f"{path!r} belongs to another user", remedy="Copy the file instead of linking it.")
        if stat.S_ISDIR(status.st_mode):
            sink.file(_entry(path, "directory", status))
            _descend(folder, name, path, sink, owner)
        elif stat.S_ISREG(status.st_mode):
            _send_file(folder, name, path, sink)
        elif stat.S_ISLNK(status.st_mode):
            sink.file(_entry(path, "symlink", status, link=_link(folder, name, path)))
        else:
            raise errors.InvalidInput(
                f"{path!r} is {_kind(status.st_mode)}, which a checkpoint cannot hold",
                remedy="Write only files, folders and links between them into the checkpoint folder.",
            )


def _names(folder: int, prefix: str) -> list[str]:
    """Return what a folder contains, sorted. One that a program has filled without end is not read to its end."""
    with os.scandir(folder) as found:
        names = [entry.name for entry in itertools.islice(found, MOST_NAMES + 1)]
    if len(names) > MOST_NAMES:
        where = prefix.rstrip("/") or "the checkpoint folder"
        raise errors.InvalidInput(f"{where!r} has more than {MOST_NAMES} entries", remedy="Put the files into an archive.")
    return sorted(names)


def _descend(folder: int, name: str, path: str, sink: store.Sink, owner: tuple[int, int] | None) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        inner = os.open(name, flags, dir_fd=folder)
        os.close(os.open(".", flags, dir_fd=inner))  # a folder that may be listed but not entered fails here
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=folder)  # the folder was moved out of the program's reach: its mode is kept in the image
        inner = os.open(name, flags, dir_fd=folder)
    try:
        _send_folder(inner, f"{path}/", sink, owner, "")
    finally:
        os.close(inner)


def _send_file(folder: int, name: str, path: str, sink: store.Sink) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    try:
        file = os.open(name, flags, dir_fd=folder)
    except PermissionError:
        os.chmod(name, 0o600, dir_fd=folder)
        file = os.open(name, flags, dir_fd=folder)
    try:
        status = os.fstat(file)
        sink.file(store.FileEntry(path=path, mode=mode & 0o777, size=status.st_size, mtime_ns=status.st_mtime_ns))
        position = 0
        while (position := _next_data(file, position, status.st_size)) < status.st_size:
            data = os.pread(file, min(READ, status.st_size - position), position)
            if len(data) < min(READ, status.st_size - position):
                raise errors.Unavailable(f"{path!r} changed while it was read", remedy="Write nothing after COMPLETE.")
            sink.extent(path, position, data)
            position += len(data)
    finally:
        os.close(file)


def _next_data(file: int, position: int, size: int) -> int:
    """Return where the next bytes that are not a hole may begin, rounded down to a unit; `size` when there are none."""
    if position >= size:
        return size
    try:
        found = os.lseek(file, position, os.SEEK_DATA)
    except AttributeError:  # a system that cannot tell
        return position
    except OSError as error:
        return size if error.errno == errno.ENXIO else position
    return max(position, found - found % store.UNIT)


def _entry(path: str, kind: str, status: os.stat_result, link: str = "") -> store.FileEntry:
    return store.FileEntry(path=path, kind=kind, mode=status.st_mode & 0o777, mtime_ns=status.st_mtime_ns, link=link)


def _link(folder: int, name: str, path: str) -> str:
    target = os.readlink(name, dir_fd=folder)
    inside = os.path.normpath(os.path.join(os.path.dirname(path), target))
    if os.path.isabs(target) or inside == ".." or inside.startswith("../"):
        raise errors.InvalidInput(f"the link {path!r} leads out of the checkpoint folder", remedy="Copy the file instead.")
    _check_name(target)
    return target


def _check_name(path: str) -> None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise errors.InvalidInput(f"the name {path!r} is not UTF-8", remedy="Rename the file.") from error


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISBLK, "a device"), (stat.S_ISCHR, "a device"))
    return next((name for test, name in kinds if test(mode)), "of an unknown kind")
