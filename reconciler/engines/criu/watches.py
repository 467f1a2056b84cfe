"""Where inotify and fanotify watches look: CRIU finds that out by file handles, which an overlay does not give.

Told the paths (`--irmap-scan-path`), it finds them by inode instead (CRIU `criu/fsnotify.c`, `criu/irmap.c`). The kernel says
of a watch its inode and device only (proc(5), fdinfo), so the container's root is searched for them, before the freeze.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_WATCHERS = ("anon_inode:inotify", "inotify", "anon_inode:[fanotify]")
_WATCH = re.compile(r"^(?:inotify|fanotify) .*?\bino:([0-9a-f]+) sdev:([0-9a-f]+)", re.MULTILINE)


def arguments(pid: int, processes: Iterable[int]) -> list[str]:
    """Return CRIU's options for the watches of a container whose first process is `pid`."""
    root = Path(f"/proc/{pid}/root")
    try:
        device = os.stat(f"{root}/").st_dev
    except OSError:
        return []
    wanted = {inode for one in processes for inode, on in _watched(one) if on == _kernel(device)}
    found: list[str] = []
    for path, inode in _inodes(root, device) if wanted else ():
        if inode in wanted:
            wanted.discard(inode)
            found += ["--irmap-scan-path", f"/{path}"]
            if not wanted:
                break
    return found


def _watched(pid: int) -> Iterator[tuple[int, int]]:
    """Yield inode and device of every watch of a process."""
    folder = Path(f"/proc/{pid}")
    try:
        for name in os.listdir(folder / "fd"):
            if os.readlink(folder / "fd" / name) in _WATCHERS:
                for inode, device in _WATCH.findall((folder / "fdinfo" / name).read_text()):
                    yield int(inode, 16), int(device, 16)
    except OSError:
        return  # it has ended, or closed one meanwhile


def _inodes(root: Path, device: int) -> Iterator[tuple[str, int]]:
    """Yield every path of one file system, relative to its root, and its inode."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_dev != device and entry.is_dir(follow_symlinks=False):
                        continue
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    yield path, status.st_ino
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
        except OSError:
            continue


def _kernel(device: int) -> int:
    """The number that the kernel prints of a device."""
    return os.major(device) << 20 | os.minor(device)
