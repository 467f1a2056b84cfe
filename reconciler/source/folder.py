"""A working folder without Git, for development: its revision is the digest of its files.

Each state becomes a commit without parents, author or time of its own in a private repository in the data directory, so that
trees, the ledger and notes work as they do with a real one; equal content is the same revision. What .gitignore excludes
does not count, and neither do folders with a Git repository of their own. Git lists the names; contents are read as they are:
no filter, no line ending conversion, and git is never run inside the folder with its own configuration.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reconciler import errors
from reconciler.contracts.clock import Clock
from reconciler.contracts.source import Edit, Pushed, Rejected, Revision, Stale
from reconciler.seams import durable
from reconciler.seams.git import address, faults, stream
from reconciler.seams.git.mirror import Mirror
from reconciler.source import archive, propose, tree, wakeups

REF = "refs/perdure/source/folder"
LARGEST = 64 << 20
"""Bytes of a file beyond which the folder is refused: it would be copied into the private repository with every change."""

RACY = 2_000_000_000
"""Nanoseconds within which a file may change again without its time changing."""


class Mark(NamedTuple):
    """What tells that a file has not changed since it was read."""

    inode: int
    size: int
    modified: int
    changed: int
    mode: int


class FolderSource:
    """`contracts.source.Source` over a folder."""

    def __init__(self, mirror: Mirror, folder: Path, clock: Clock, poll: float = 30.0) -> None:
        self._mirror = mirror
        self._folder = folder.resolve()
        self._clock = clock
        self._poll = poll
        self._known: dict[str, tuple[Mark, stream.Link]] = {}
        self._named: dict[str, str] = {}
        self._last: Revision | None = None

    def fetch(self) -> Revision | Stale:
        """Read the folder as it is now."""
        try:
            files = self._files()
            named = {path: f"{content.mode} {_named(content)}" for path, content in files.items()}
            if self._last is None or named != self._named:
                self._last = Revision(id=self._commit(files), ref=str(self._folder), subject="working folder")
                self._named = named
        except faults.Failed as failure:
            return self._stale(failure.detail)
        except (errors.PerdureError, OSError) as error:
            return self._stale(f"{self._folder}: {error}")
        return self._last

    def tree(self, revision: str) -> tree.RevisionTree:
        """Return the files of a revision that was read before."""
        if not address.is_object_id(revision) or revision not in self._mirror.kinds([revision]):
            raise errors.Unavailable("this revision is not here", where=revision[:80], remedy="Read the folder again.")
        return tree.RevisionTree(self._mirror, revision)

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield a tar archive of a tree or blob; the member of a blob is named "code"."""
        return archive.stream(self._mirror, tree)

    def propose(self, edit: Edit, base: str) -> Pushed | Rejected:
        """Write the files into the folder: there is nobody else to push to. Rejected when it has changed since `base`."""
        propose.check(edit)
        current = self.fetch()
        if not isinstance(current, Revision) or current.id != base:
            return Rejected(detail=f"{self._folder} has changed since it was read")
        for path in edit.files:
            self._check_inside(self._folder / path)
        for path, data in edit.files.items():
            place = self._folder / path
            if data is None:
                durable.remove(place)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                durable.write_atomic(place, data, _mode(place))
        changed = self.fetch()
        return Pushed(commit=changed.id if isinstance(changed, Revision) else "", branch="")

    def wakeups(self) -> Iterator[None]:
        """Yield about every poll interval, and at once when a file changes."""
        return wakeups.stream(self._clock, self._poll, wakeups.files(self._folder, self._mirror.directory.parent))

    def _stale(self, detail: str) -> Stale:
        self._known = {}  # what was read may not have reached the repository
        return Stale(last=self._last, reason="SourceUnreachable", detail=detail)

    def _files(self) -> dict[str, stream.Blob | stream.Link]:
        self._mirror.prepare()
        if not self._folder.is_dir():
            raise errors.Unavailable("the folder is gone", where=str(self._folder), remedy="Create it again.")
        before = self._known
        self._known = {}
        files = {}
        for path in self._names():
            if content := self._content(path, before):
                files[path] = content
        return files

    def _names(self) -> Iterator[str]:
        listing = self._mirror.git(
            f"--work-tree={self._folder}", "-C", str(self._folder), "ls-files", "-z", "--others", "--exclude-standard"
        )
        data = self._mirror.directory.parent
        for raw in listing.split(b"\0"):
            path = raw.decode(errors="surrogateescape")
            if raw and not raw.endswith(b"/") and data not in (self._folder / path).parents:
                if problem := address.path_problem(path):
                    raise errors.InvalidInput(
                        f"this path {problem}", where=address.shown(path)[:200], remedy="Rename the file."
                    )
                yield path

    def _content(self, path: str, before: dict[str, tuple[Mark, stream.Link]]) -> stream.Blob | stream.Link | None:
        """Return what the file holds: the object it had before where it has not changed; None when it has gone meanwhile."""
        place = self._folder / path
        try:
            state = place.lstat()
            mark = Mark(state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_mode)
            known = before.get(path)
            if known and known[0] == mark and self._last is not None:
                self._known[path] = known
                return known[1]
            data = _read(place, state)
        except FileNotFoundError:
            return None
        if data is None:
            return None
        mode = "120000" if stat.S_ISLNK(mark.mode) else "100755" if mark.mode & stat.S_IXUSR else "100644"
        if self._clock.now() * 1e9 - mark.changed > RACY:
            self._known[path] = (mark, stream.Link(oid=_oid(data), mode=mode))
        return stream.Blob(data=data, mode=mode)

    def _commit(self, files: dict[str, stream.Blob | stream.Link]) -> str:
        """Make the commit: the same for the same files, whoever asks and whenever."""
        [commit] = self._mirror.build(
            [
                stream.Commit(
                    scratch="folder",
                    parent="",
                    name="working folder",
                    mail="folder@perdure.invalid",
                    at=0,
                    message="working folder",
                    files=dict(files),
                )
            ]
        )
        self._mirror.remember(REF, commit)
        return commit

    def _check_inside(self, place: Path) -> None:
        if place.parent.resolve() != place.parent or place.is_symlink():
            raise errors.InvalidInput(
                "a symbolic link leads there, so it is not edited", where=str(place), remedy="Edit the file itself."
            )


def _read(place: Path, state: os.stat_result) -> bytes | None:
    if stat.S_ISLNK(state.st_mode):
        return os.fsencode(os.readlink(place))
    if not stat.S_ISREG(state.st_mode):
        return None
    if state.st_size > LARGEST:
        raise errors.InvalidInput(
            f"this file of {state.st_size >> 20} MiB is too large for a working folder",
            where=str(place),
            remedy="Name it in .gitignore; jobs reach large data through volumes.",
        )
    with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read(LARGEST)


def _mode(place: Path) -> int:
    return stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o644


def _named(content: stream.Blob | stream.Link) -> str:
    return content.oid if isinstance(content, stream.Link) else _oid(content.data)


def _oid(data: bytes) -> str:
    """Return the id Git gives to a blob (gitformat: SHA-1 over a header and the content)."""
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()
