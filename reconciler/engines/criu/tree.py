"""A folder of a container that CRIU does not keep: its writable layer, its volumes, and what lies in /dev/shm.

Written as an index (`layer.json`) and one file of the image for each content (`layer/<data>`); what the index says is
written down in `agent/runtime/perdure_runc.py`, which applies it. In a writable layer deletions are an overlay's: a character
device 0:0 or the mark `trusted.overlay.whiteout`; `trusted.overlay.opaque` hides what a folder has in the image below
(https://docs.kernel.org/filesystems/overlayfs.html). The others are kept as a whole, and such marks mean nothing there.

Contents are copied while the program runs, and those that changed again while it stands still: told by size, times and inode,
by being mapped for shared writing (such a write need not move the times), and by having changed just before they were copied.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from reconciler import errors
from reconciler.contracts import store
from reconciler.engines import folder

LAYER, SHM = "layer", "shm"

_READ = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHANGED = (errno.ENOENT, errno.EINVAL, errno.ELOOP)
"""Of something that was another kind of thing, or there, when it was looked at."""
_QUIET_NS = 500_000_000
"""A file that changed less than this before it was looked at may have changed again within one tick of the kernel's clock."""

_OVERLAY = "trusted.overlay."
_UNKEPT = (f"{_OVERLAY}redirect", f"{_OVERLAY}metacopy")

_Stamp = tuple[int, int, int, int, int, int]


class Out(Protocol):
    """Where contents go: a sink, or the spool."""

    def file(self, entry: store.FileEntry) -> None:
        """Announce a file before its extents."""
        ...

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Add bytes."""
        ...


@dataclass(frozen=True, slots=True)
class _Known:
    stamp: _Stamp
    entry: dict[str, Any]
    settled: bool


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    """Below the root."""
    full: Path
    """Where it can be reached, whatever has become of the folders above it meanwhile; until the next one is found."""
    status: os.stat_result


class Tree:
    """One folder on its way into an image. `ahead` may be called before the freeze, `capture` in it."""

    def __init__(self, name: str, root: Path, now_ns: Callable[[], int], at: str = "") -> None:
        """`at` is where the container has the folder `root`, empty for its root."""
        self.name = name
        self._root = root
        self._at = at
        self._now_ns = now_ns
        self._known: dict[str, _Known] = {}
        self._sent: dict[str, int] = {}

    def ahead(self, out: Out) -> None:
        """Copy what lies still. Raises `errors.InvalidInput` for what an image cannot keep."""
        for found in self._walk():
            look = self._now_ns()
            if stat.S_ISSOCK(found.status.st_mode) or self._deleted(found):
                continue
            try:
                self._known[found.path] = self._look(found, out, look)
            except OSError as error:
                if error.errno not in _CHANGED:
                    raise
                continue  # the program has removed it, or put something else there: that is seen in the freeze

    def capture(self, out: Out, mapped: frozenset[str]) -> None:
        """Copy what changed since, then the index. Nothing may be written to the folder meanwhile; `mapped` may have been:
        paths in the container, without the leading slash."""
        entries: list[dict[str, Any]] = []
        deleted: list[str] = []
        links: dict[tuple[int, int], str] = {}
        for found in self._walk():
            path, status = found.path, found.status
            if self._deleted(found):
                deleted.append(path)
                continue
            if stat.S_ISSOCK(status.st_mode):
                continue  # CRIU binds it again, or nobody listens
            first = links.setdefault((status.st_dev, status.st_ino), path) if _linked(status) else path
            if first != path:
                entries.append({"path": path, "kind": "file", "same": first})
                continue
            known = self._known.get(path)
            if known is None or not known.settled or known.stamp != _stamp(status) or self._shown(path)[1:] in mapped:
                known = self._look(found, out, None)
            entries.append(known.entry)
        index = json.dumps({"v": 1, "entries": entries, "deleted": deleted}, separators=(",", ":")).encode()
        send_bytes(out, f"{self.name}.json", index)

    def _look(self, found: _Found, out: Out, look_ns: int | None) -> _Known:
        """Describe one entry and send its content. `look_ns`: when it was looked at while others write; None: nobody does."""
        path, full, status = found.path, found.full, found.status
        kind = _kind(self._shown(path), status)
        settled = True
        entry: dict[str, Any] = {
            "path": path,
            "kind": kind,
            "mode": stat.S_IMODE(status.st_mode),
            "uid": status.st_uid,
            "gid": status.st_gid,
            "mtime": status.st_mtime_ns,
        }
        if kind == "link":
            entry["target"] = os.readlink(full)
        marks = _marks(full)
        if self.name == LAYER and self._is_opaque(path, marks):
            entry["opaque"] = True
        kept = {
            name: base64.b64encode(value).decode()
            for name, value in marks.items()
            if self.name != LAYER or not name.startswith(_OVERLAY)
        }
        if kept:
            entry["xattrs"] = kept
        if kind == "file" and status.st_size:
            if look_ns is not None:
                settled = max(status.st_mtime_ns, status.st_ctime_ns) < look_ns - _QUIET_NS
            if settled:
                entry["data"] = self._send(found, out, patient=look_ns is not None)
            entry["size"] = status.st_size
            settled = settled and _stamp(os.lstat(full)) == _stamp(status)
        return _Known(_stamp(status), entry, settled)

    def _send(self, found: _Found, out: Out, *, patient: bool) -> str:
        """Send one content under a name that the next image of this folder will use for it as well."""
        turn = self._sent.get(found.path, 0)
        self._sent[found.path] = turn + 1
        known = hashlib.sha256(os.fsencode(found.path) + bytes(turn)).digest()
        data = str(int.from_bytes(known[:8], "big"))
        send_file(out, f"{self.name}/{data}", found.full, found.status.st_size, may_shrink=patient)
        return data

    def _is_opaque(self, path: str, marks: dict[str, bytes]) -> bool:
        for mark in _UNKEPT:
            if mark in marks:
                raise errors.InvalidInput(
                    f"{self._shown(path)} is kept by the overlay as a reference ({mark})",
                    remedy="Mount overlays with redirect_dir=off,metacopy=off, as Docker and containerd do by themselves.",
                )
        return marks.get(f"{_OVERLAY}opaque") == b"y"

    def _deleted(self, found: _Found) -> bool:
        status = found.status
        if self.name != LAYER:
            return False
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            return True
        if stat.S_ISREG(status.st_mode) and not status.st_size:
            try:
                os.getxattr(found.full, f"{_OVERLAY}whiteout", follow_symlinks=False)
            except OSError:
                return False
            return True
        return False

    def _shown(self, path: str) -> str:
        return f"{self._at}/{path}"

    def _walk(self) -> Iterator[_Found]:
        """Yield everything below the root and the root itself (""), folders before what is in them.

        Through no link: a program that runs may put one to the host's own files in the place of a folder at any moment.
        """
        yield _Found("", self._root, os.lstat(self._root))
        waiting = [""]
        while waiting:
            above = waiting.pop()
            try:
                held = _enter(self._root, above)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                for name in sorted(os.listdir(held)):
                    path = f"{above}/{name}" if above else name
                    try:
                        status = os.stat(name, dir_fd=held, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield _Found(path, Path(f"/proc/self/fd/{held}/{name}"), status)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(path)
            finally:
                os.close(held)


def _enter(root: Path, path: str) -> int:
    """Open a folder below a root, each part of whose path is a folder and no link."""
    held = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    for part in path.split("/") if path else ():
        try:
            inner = os.open(part, _FOLDER, dir_fd=held)
        finally:
            os.close(held)
        held = inner
    return held


def send_bytes(out: Out, path: str, data: bytes) -> None:
    """Send a small file of our own making."""
    out.file(store.FileEntry(path=path, mode=0o600, size=len(data)))
    if data:
        out.extent(path, 0, data)


def send_file(out: Out, path: str, source: Path, size: int, *, may_shrink: bool = False) -> None:
    """Send a file's first `size` bytes, holes left out.

    Raises `errors.Unavailable` when it has become shorter; with `may_shrink` what is missing is left out as well.
    """
    out.file(store.FileEntry(path=path, mode=0o600, size=size))
    descriptor = folder.open_plain(source)
    if descriptor is None:
        if may_shrink:
            return
        raise errors.Unavailable("a file changed although the program stood still", where=str(source))
    try:
        position = 0
        while (position := _next_data(descriptor, position, size)) < size:
            data = os.pread(descriptor, min(_READ - position % _READ, size - position), position)
            if position + len(data) < size and len(data) % store.UNIT:
                data = data[: len(data) - len(data) % store.UNIT]
            if not data:
                if may_shrink:
                    return
                raise errors.Unavailable("a file changed although the program stood still", where=str(source))
            out.extent(path, position, data)
            position += len(data)
    finally:
        os.close(descriptor)


def _next_data(descriptor: int, position: int, size: int) -> int:
    if position >= size:
        return size
    try:
        found = os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else position
    return max(position, found - found % store.UNIT)


def _stamp(status: os.stat_result) -> _Stamp:
    return (status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _linked(status: os.stat_result) -> bool:
    return status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)


def _marks(path: Path) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA, errno.EPERM):
            return {}
        raise


def _kind(shown: str, status: os.stat_result) -> str:
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"), (stat.S_ISFIFO, "fifo"))
    for test, kind in kinds:
        if test(status.st_mode):
            return kind
    raise errors.InvalidInput(
        f"{shown} is a device, which a checkpoint does not carry to another machine",
        remedy="Remove it from the container's files, or declare it as a device of the container.",
    )
