"""Send a folder that somebody else wrote into an image, without following or trusting anything in it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import stat
from collections.abc import Callable

from reconciler import errors
from reconciler.contracts import store

READ = 256 * store.UNIT
"""Bytes read at a time: 1 MiB."""
MOST_NAMES = 500_000
"""Entries of one folder, more than any image holds: beyond, they are not even listed."""
BATCH = 10_000
"""Names that are read at a time where a folder is emptied."""
SMALL = 4096
"""Most bytes of a file that is read for a hint."""
SHOWN = 100
"""Most characters of a path that is told, where it is too long."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def send(path: os.PathLike[str], sink: store.Sink, *, owner: tuple[int, int] | None, leave_out: str = "") -> None:
    """Announce and send every folder, file and link below `path`, holes left out. `leave_out` names one entry at the top.

    With `owner`, files of any other user are refused: a hard link may name what its maker could not read. Raises
    `errors.InvalidInput` for what an image cannot hold (links that leave, devices, FIFOs, sockets, names that are not UTF-8)
    and `errors.Unavailable` when a file changes while it is read.
    """
    descriptor = os.open(path, _FOLDER)
    try:
        _send_folder(descriptor, "", sink, owner, leave_out)
    finally:
        os.close(descriptor)


def discard(path: os.PathLike[str]) -> None:
    """Remove a folder that somebody else wrote, also where it has closed its folders to us. Nobody may be writing any more.

    What cannot be removed stays. Folders are moved to the top before they are emptied, and names are read in batches: however
    deep and full it is, that costs neither stack nor open files nor memory.
    """
    mark, numbers = f".{secrets.token_hex(8)}-", itertools.count()
    with contextlib.suppress(OSError):
        if os.geteuid() != 0 and not os.path.islink(path):
            os.chmod(path, 0o700)
        top = os.open(path, _FOLDER)
        try:

            def flatten(name: str) -> None:
                if os.geteuid() != 0:
                    os.chmod(name, 0o700, dir_fd=top)
                inner = os.open(name, _FOLDER, dir_fd=top)
                try:
                    _empty(inner, lambda below: relocate(below, f"{mark}{next(numbers)}", inner, top))
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)

            _empty(top, flatten)
        finally:
            os.close(top)
        os.rmdir(path)


def relocate(name: str, to: str, source: int, target: int) -> None:
    """Give a name in the folder `source` another one in the folder `target`. Raises OSError."""
    try:
        os.rename(name, to, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:  # a folder can only be moved by a user who may write to it
        os.chmod(name, 0o700, dir_fd=source)
        os.rename(name, to, src_dir_fd=source, dst_dir_fd=target)


def names(folder: int, prefix: str = "") -> list[str]:
    """Return what a folder contains, sorted. One that a program has filled without end is not read to its end.

    Raises `errors.InvalidInput` for more than an image can hold.
    """
    with os.scandir(folder) as found:
        listed = [entry.name for entry in itertools.islice(found, MOST_NAMES + 1)]
    if len(listed) > MOST_NAMES:
        where = prefix.rstrip("/") or "the checkpoint folder"
        raise errors.InvalidInput(f"{where!r} has more than {MOST_NAMES} entries", remedy="Put the files into an archive.")
    return sorted(listed)


def read_small(path: os.PathLike[str]) -> bytes:
    """Return the first bytes of a regular file without following a link or waiting on a FIFO. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, SMALL) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


def open_plain(path: str | os.PathLike[str], folder: int | None = None) -> int | None:
    """Open a plain file for reading, below `folder` or the current one; None for anything else, which may have been put in its
    place: to open a device may do something. Raises OSError."""
    if not hasattr(os, "O_PATH"):
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return None
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.close(found)


def _empty(folder: int, away: Callable[[str], None]) -> None:
    """Remove what a folder contains, as far as possible; the folders in it are given to `away`, which does the same to them."""
    gone = True
    while gone:
        gone = False
        with os.scandir(folder) as found:
            batch = [entry.name for entry in itertools.islice(found, BATCH)]
        for name in batch:
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    away(name)
                else:
                    os.unlink(name, dir_fd=folder)
                gone = True


def _send_folder(folder: int, prefix: str, sink: store.Sink, owner: tuple[int, int] | None, leave_out: str) -> None:
    for name in names(folder, prefix):
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
            _send_file(folder, name, path, sink, status)
        elif stat.S_ISLNK(status.st_mode):
            sink.file(_entry(path, "symlink", status, link=_link(folder, name, path)))
        else:
            raise errors.InvalidInput(
                f"{path!r} is {_kind(status.st_mode)}, which a checkpoint cannot hold",
                remedy="Write only files, folders and links between them into the checkpoint folder.",
            )


def _descend(folder: int, name: str, path: str, sink: store.Sink, owner: tuple[int, int] | None) -> None:
    try:
        inner = os.open(name, _FOLDER, dir_fd=folder)
        os.close(os.open(".", _FOLDER, dir_fd=inner))  # a folder that may be listed but not entered fails here
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=folder)  # the folder was moved out of the program's reach: its mode is kept in the image
        inner = os.open(name, _FOLDER, dir_fd=folder)
    try:
        _send_folder(inner, f"{path}/", sink, owner, "")
    finally:
        os.close(inner)


def _send_file(folder: int, name: str, path: str, sink: store.Sink, seen: os.stat_result) -> None:
    try:
        file = open_plain(name, folder)
    except PermissionError:
        os.chmod(name, 0o600, dir_fd=folder)
        file = open_plain(name, folder)
    if file is None:
        raise _changed(path)
    try:
        status = os.fstat(file)
        if not os.path.samestat(status, seen):  # it was checked whose that one is
            raise _changed(path)
        sink.file(store.FileEntry(path=path, mode=seen.st_mode & 0o777, size=status.st_size, mtime_ns=status.st_mtime_ns))
        position = 0
        while (position := _next_data(file, position, status.st_size)) < status.st_size:
            data = os.pread(file, min(READ, status.st_size - position), position)
            if len(data) < min(READ, status.st_size - position):
                raise _changed(path)
            sink.extent(path, position, data)
            position += len(data)
    finally:
        os.close(file)


def _changed(path: str) -> errors.Unavailable:
    return errors.Unavailable(f"{path!r} changed while it was read", remedy="Write nothing after COMPLETE.")


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
    if path.count("/") >= store.DEEPEST:
        raise errors.InvalidInput(
            f"{path[:SHOWN]!r}… lies more than {store.DEEPEST} folders deep", remedy="Put the files into an archive."
        )
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise errors.InvalidInput(f"the name {path!r} is not UTF-8", remedy="Rename the file.") from error


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISBLK, "a device"), (stat.S_ISCHR, "a device"))
    return next((name for test, name in kinds if test(mode)), "of an unknown kind")
