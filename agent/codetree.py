"""Program files from the repository: fetched once per Git tree, extracted without trust, copied for each attempt.

Beside each tree lies its seal, written once the tree is whole: what a power cut has left of a tree, or somebody has changed in
it, no program gets to run.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import tarfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from reconciler import errors
from reconciler.seams import durable

MOST_BYTES = 2 << 30
MOST_FILES = 200_000
TREE = re.compile(r"[0-9A-Za-z]{1,64}")
END = 2 * tarfile.BLOCKSIZE
"""An archive ends with two empty blocks; without them it was cut, also at the border of a member."""
PARTIAL = ".partial-"
SEAL = ".seal"
"""Ending of the files that hold the digest of a tree's files."""


class CodeTrees:
    """The trees of one agent."""

    def __init__(self, folder: Path, archive: Callable[[str], Iterator[bytes]]) -> None:
        """Keep trees below `folder`; `archive` fetches one as a tar archive."""
        self._folder = folder
        self._archive = archive
        self._guard = threading.Lock()
        self._locks = weakref.WeakValueDictionary[str, threading.Lock]()  # those that somebody holds or waits for

    def get(self, tree: str) -> Path:
        """Return the folder with the files of a tree, fetching it if need be: also where it is not what was fetched.

        Raises `errors.Unavailable` when it cannot be fetched, `errors.Damaged` for an archive that was cut,
        `errors.Refused` for one that holds what it must not.
        """
        if not TREE.fullmatch(tree):
            raise errors.Refused(f"{tree!r} is not a Git object id")
        with self._guard:
            lock = self._locks.setdefault(tree, threading.Lock())
        with lock:
            place, seal = self._folder / tree, self._folder / f"{tree}{SEAL}"
            if not place.is_dir() or durable.read(seal) != _digest(place):
                _remove(seal)
                _remove(place)
                partial = self._folder / f"{PARTIAL}{tree}-{secrets.token_hex(4)}"
                try:
                    extract(self._archive(tree), partial)
                    digest = _digest(partial)
                    partial.rename(place)
                    durable.write_atomic(seal, digest)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
            os.utime(place)
            return place

    def copy(self, tree: str, target: Path) -> None:
        """Make a working copy in the empty folder `target`."""
        shutil.copytree(self.get(tree), target, symlinks=True, dirs_exist_ok=True)

    def sweep(self, keep: set[str], older: float) -> None:
        """Remove what a crash left, and trees outside `keep` that were last used before POSIX time `older`."""
        for place in sorted(self._folder.iterdir()):  # a tree comes before its seal
            name = place.name.removesuffix(SEAL)
            if place.name != name:
                unused = not (self._folder / name).is_dir()
            else:
                unused = name not in keep and place.lstat().st_mtime < older
            if unused or name.startswith(PARTIAL):
                _remove(place)


def _digest(folder: Path) -> bytes:
    """Return what tells these files, folders and links from any others."""
    digest = hashlib.sha256()
    for above, folders, files in os.walk(folder):
        folders.sort()
        for path in sorted(Path(above) / name for name in (*folders, *files)):
            mode = path.lstat().st_mode
            digest.update(f"{os.fsencode(path.relative_to(folder))!r} {mode:o}".encode())
            if stat.S_ISLNK(mode):
                digest.update(os.fsencode(path.readlink()))
            elif stat.S_ISREG(mode):
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest().encode()


def _remove(path: Path) -> None:
    """Remove whatever lies there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def extract(chunks: Iterator[bytes], target: Path) -> None:
    """Write the files of a tar stream below `target`, which must not exist. Only files, folders and links that stay inside."""
    target.mkdir(mode=0o700)
    stream = _Stream(chunks)
    size = 0
    seen: set[PurePosixPath] = set()
    links: list[tuple[PurePosixPath, str]] = []
    try:
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
            for member in archive:
                path = _inside(member.name)
                size += member.size
                if len(seen) >= MOST_FILES or size > MOST_BYTES:
                    raise errors.Refused(f"the code has more than {MOST_FILES} files or {MOST_BYTES >> 30} GiB")
                if path in seen and not member.isdir():
                    raise errors.Refused(f"the archive has {member.name!r} twice")
                seen.add(path)
                if member.isdir():
                    (target / path).mkdir(parents=True, exist_ok=True, mode=0o700)
                elif member.isreg():
                    _write(archive, member, target / path)
                elif member.issym():
                    links.append((path, member.linkname))
                else:
                    raise errors.Refused(f"{member.name!r} in the archive is neither a file, a folder nor a link")
        stream.finish()
    except tarfile.TarError as error:
        raise errors.Damaged(f"the archive of the code is damaged: {error}") from error
    for path, name in links:  # last, so that nothing is ever written through one
        _link(target, path, name)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    source = archive.extractfile(member)
    assert source is not None
    with open(path, "xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        if file.tell() != member.size:
            raise errors.Damaged(f"the archive of the code was cut inside {member.name!r}")
    path.chmod(0o700 if member.mode & 0o100 else 0o600)


def _link(target: Path, path: PurePosixPath, name: str) -> None:
    inside = os.path.normpath(os.path.join(path.parent, name))
    if os.path.isabs(name) or inside == ".." or inside.startswith("../"):
        raise errors.Refused(f"the link {str(path)!r} leads out of the code", remedy="Link only within the code's folder.")
    (target / path.parent).mkdir(parents=True, exist_ok=True, mode=0o700)
    (target / path).symlink_to(name)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise errors.Refused(f"{name!r} in the archive leads out of the code")
    return path


class _Stream:
    """A file to read from, over chunks; remembers how it ended."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._tail = b""

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._buffer += chunk
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        self._tail = (self._tail + data)[-END:]
        return data

    def finish(self) -> None:
        """Read to the end. Raises `errors.Damaged` when the end is not the end of an archive."""
        while self.read(1 << 20):
            pass
        if self._tail != bytes(END):
            raise errors.Damaged("the archive of the code was cut")
