"""Files that survive a crash at any moment, and the lock that keeps a directory to one process.

A file is written beside its place, flushed to the disk, renamed over it, and the rename is flushed too: whoever reads sees the
old content or the new one, whole, also after a power cut. What a killed writer leaves beside it has a name that nobody reads.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler import errors

AGAIN = "Check free space and permissions of that folder."
FOREIGN = "A plain file belongs there: see what lies in its place, and move it away."

PARTIAL = ".partial-"
"""Prefix of files that are being written."""


def make_folder(path: Path, mode: int) -> None:
    """Make a folder, and those above it that are missing: in these nobody else can put another one in its place, whatever the
    process's umask is. Raises OSError."""
    for above in reversed(path.parents):
        if not above.exists():
            above.mkdir(mode=0o755, exist_ok=True)
    path.mkdir(mode=mode, exist_ok=True)


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the content of `path`; on return it is on the disk. `mode` are the permission bits of the file.

    The folder must exist. Raises `errors.Unavailable` when it cannot be written (no space, no right): the old content stands.
    """
    partial = path.parent / f"{PARTIAL}{path.name}-{secrets.token_hex(6)}"
    with _explained(path, "written"):
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)  # the umask may have taken bits away
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove `path`; on return that is on the disk. A missing file is no error. Raises `errors.Unavailable`."""
    with _explained(path, "removed"):
        path.unlink(missing_ok=True)
        sync_directory(path.parent)


def read(path: Path) -> bytes | None:
    """Return the content of `path`, None when it does not exist. Raises `errors.Unavailable` when it cannot be read."""
    with _explained(path, "read"):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def sync_directory(directory: Path) -> None:
    """Flush the names in `directory` to the disk: a rename is not durable before this."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Remove what killed writers left in `directory`. Only for whoever has it for itself."""
    for partial in directory.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            partial.unlink()


@contextmanager
def exclusively(directory: Path) -> Iterator[None]:
    """Wait for whoever else is in such a block of the same folder. For moments; for the life of a process: `DirectoryLock`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class DirectoryLock:
    """Keeps a directory to one process for as long as it lives; the kernel lets go when the process ends, however it ends.

    Usable as a context manager. The lock is not inherited by programs that this process starts.
    """

    def __init__(self, directory: Path, what: str = "the data directory") -> None:
        self._directory = directory
        self._what = what
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, creating the directory if need be.

        Raises `errors.Busy` with the id of the process that holds it, `errors.Unavailable` when the directory cannot be used.
        """
        path = self._directory / "lock"
        with _explained(path, "locked"):
            make_folder(self._directory, 0o700)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise errors.Busy(
                    f"{self._what} is in use by process {holder}",
                    where=str(self._directory),
                    remedy="End that process, or give this one a directory of its own.",
                ) from error
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
        sweep(self._directory)

    def release(self) -> None:
        """Let go. Nothing happens when the lock is not held. The file stays: removing it would let two processes in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


@contextmanager
def _explained(path: Path, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.Unavailable(
            f"cannot be {done}: {error.strerror or error}",
            where=str(path),
            remedy=FOREIGN if error.errno in errors.IN_ITS_PLACE else AGAIN,
        ) from error
