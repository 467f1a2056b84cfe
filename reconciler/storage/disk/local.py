"""A folder of a real file system. The root is held as a descriptor and every path is walked from it without following links.

So nothing of a store can land underneath a mount that went away while it was being written, and no link planted in the store
leads out of it.

What is made there is for its owner alone, except below a root with the set-group-id bit: that is how a loop and agents of other
accounts share a store. There the group of the root may do everywhere what it may do at the root, and others nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from reconciler.storage.disk import Space

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC
_FULL_SYNC = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: fsync alone leaves the bytes in the drive's cache."""


class LocalFile:
    """See `disk.File`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`; fewer only where the file ends."""
        found = os.pread(self._fd, size, offset)
        if len(found) == size or not found:
            return found
        parts = [found]
        while found and sum(map(len, parts)) < size:
            done = sum(map(len, parts))
            found = os.pread(self._fd, size - done, offset + done)
            parts.append(found)
        return b"".join(parts)

    def size(self) -> int:
        """Return its length in bytes."""
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        """Cut it to `size` bytes; the next write continues there."""
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)

    def sync(self) -> None:
        """Make its bytes durable."""
        _sync(self._fd)

    def lock(self, *, exclusive: bool) -> bool:
        """Take an advisory lock on it without waiting."""
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def linked(self) -> bool:
        """Return whether it still has a name."""
        return os.fstat(self._fd).st_nlink > 0

    def close(self) -> None:
        """Release it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @property
    def _fd(self) -> int:
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the file is closed")
        return self._descriptor

    def __del__(self) -> None:
        self.close()


class LocalDisk:
    """See `disk.Disk`. Without `must_be_mounted` a missing root is created."""

    def __init__(self, root: str, *, must_be_mounted: bool = False) -> None:
        self._path = root
        self._must_be_mounted = must_be_mounted
        self._root = -1
        if not must_be_mounted and not os.path.isdir(root):
            _make(Path(root))
        try:
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise OSError(errno.ESTALE, "the folder does not exist", root) from error
        mode = os.fstat(self._root).st_mode
        self._group = mode & 0o2070 if mode & stat.S_ISGID else 0
        try:
            self.check()
        except OSError:
            self.close()
            raise

    def folder(self, path: str) -> None:
        """Create a folder, and those above it, durably."""
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            with self._above("/".join(parts[:count])) as (above, name):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700 | self._group, dir_fd=above)
                self._share(name, above)
                _sync(above)  # also when it existed: whoever made it may not have come to its own sync yet

    def create(self, path: str) -> LocalFile:
        """Create a file for reading and writing."""
        with self._above(path) as (above, name):
            mode = 0o600 | self._group & 0o060
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FILE, mode, dir_fd=above)
        if self._group:
            os.fchmod(descriptor, mode)  # what is asked for is less the process's umask
        return LocalFile(descriptor)

    def open(self, path: str, *, write: bool = False) -> LocalFile:
        """Open an existing regular file."""
        with self._above(path) as (above, name):
            # O_NONBLOCK: a planted FIFO must not hang us before it can be refused
            descriptor = os.open(name, (os.O_RDWR if write else os.O_RDONLY) | os.O_NONBLOCK | _FILE, dir_fd=above)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        if write:
            os.lseek(descriptor, 0, os.SEEK_END)
        return LocalFile(descriptor)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name in the same folder."""
        with self._above(old) as (above, name):
            os.rename(name, new.rpartition("/")[2], src_dir_fd=above, dst_dir_fd=above)

    def link(self, old: str, new: str) -> None:
        """Give a file a second name in the same folder."""
        with self._above(old) as (above, name):
            os.link(name, new.rpartition("/")[2], src_dir_fd=above, dst_dir_fd=above, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        """Remove a file's name."""
        with self._above(path) as (above, name):
            os.unlink(name, dir_fd=above)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        with self._above(path) as (above, name):
            os.rmdir(name, dir_fd=above)

    def names(self, path: str) -> list[str]:
        """Return what a folder contains, sorted."""
        with self._inside(path) as folder:
            return sorted(os.listdir(folder))

    def size(self, path: str) -> int:
        """Return the length of a regular file."""
        with self._above(path) as (above, name):
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return found.st_size

    def stamp(self, path: str) -> tuple[int, ...]:
        """Return what changes when a name in a folder does."""
        try:
            with self._above(path) as (above, name):
                found = os.stat(name, dir_fd=above, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns

    def sync_folder(self, path: str) -> None:
        """Make a folder's names durable."""
        with self._inside(path) as folder:
            _sync(folder)

    def space(self) -> Space:
        """Return how much room there is."""
        found = os.fstatvfs(self._root)
        return Space(free=found.f_bavail * found.f_frsize, total=found.f_blocks * found.f_frsize)

    def check(self) -> None:
        """Raise `OSError` (ESTALE) when the root's path leads elsewhere now."""
        there = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _mount(there) != _mount(self._root) or not os.path.samestat(os.fstat(there), os.fstat(self._root)):
                raise OSError(errno.ESTALE, "another folder is mounted or was put there since", self._path)
        finally:
            os.close(there)
        if self._must_be_mounted:
            ground = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if _mount(ground) == _mount(self._root):
                    raise OSError(errno.ESTALE, "nothing is mounted there (mustBeMounted)", self._path)
            finally:
                os.close(ground)

    def close(self) -> None:
        """Let go of the root."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def __del__(self) -> None:
        self.close()

    def _share(self, name: str, above: int) -> None:
        """Give the group its part of a folder; also of one that existed: whoever made it may not have come to that yet."""
        if not self._group:
            return
        folder = os.open(name, _FOLDER, dir_fd=above)
        try:
            found, wanted = os.fstat(folder), 0o700 | self._group
            if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != wanted:
                os.fchmod(folder, wanted)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _above(self, path: str) -> Iterator[tuple[int, str]]:
        above, _, name = path.rpartition("/")
        with self._inside(above) as folder:
            try:
                yield folder, name
            except OSError as error:
                if error.filename is not None:
                    error.filename = path  # the system was told the last part of it alone
                raise

    @contextlib.contextmanager
    def _inside(self, path: str) -> Iterator[int]:
        """Yield a descriptor of a folder, each part of whose path is a real folder and no link."""
        if self._root < 0:
            raise OSError(errno.EBADF, "the disk is closed")
        current = os.dup(self._root)
        try:
            parts = path.split("/") if path else []
            for number, part in enumerate(parts, 1):
                try:
                    below = os.open(part, _FOLDER, dir_fd=current)
                except OSError as error:
                    error.filename = "/".join(parts[:number])
                    raise
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)


def _make(root: Path) -> None:
    """Create the root and the folders above it, durably."""
    for folder in (*reversed(root.parents), root):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            above = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _sync(above)
            finally:
                os.close(above)


def _sync(descriptor: int) -> None:
    if _FULL_SYNC is not None:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    else:
        os.fsync(descriptor)


def _mount(descriptor: int) -> tuple[int, str]:
    """Return what tells one mount from another: the device and, where the kernel says it, the mount's id."""
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
    except OSError:  # no procfs: a bind mount of the same device cannot be told apart here
        lines = []
    number = next((line.partition(":")[2].strip() for line in lines if line.startswith("mnt_id:")), "")
    return os.fstat(descriptor).st_dev, number
