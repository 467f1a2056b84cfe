"""The folders of an attempt that is a container: what it sees of the host, and where its checkpoint is laid out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from agent import places, refusal
from reconciler.contracts import store
from reconciler.core import model, spec
from reconciler.engines import folder as folders

MEMORY = Path("/run/perdure/restore")
"""Checkpoints on their way into a container, in memory where they fit."""
SPARE = 64 << 20
"""Bytes left to others."""
FORBIDDEN = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr", "/var/run")
"""Folders of the host itself: a container that is shown one of them (or what holds one) could become the host."""
STATES = ("/var/lib/containerd", "/var/lib/containers", "/var/lib/docker", "/var/lib/kubelet", "/var/lib/perdure")


def inside(place: places.Attempt) -> Path:
    """Return the folder of the application contract. Nobody else on the host can reach it: it lies in the journal's half."""
    return place.private / "inside"


def aside(place: places.Attempt) -> Path:
    """Return where what the program has saved waits, out of its reach."""
    return place.private / "aside"


def make(place: places.Attempt) -> None:
    """Make the folders anew. Only for an attempt whose container was never started."""
    own = inside(place)
    folders.discard(own)
    own.mkdir()
    own.chmod(0o755)
    aside(place).mkdir(mode=0o700, exist_ok=True)
    (own / "checkpoint").mkdir()
    (own / "progress.jsonl").touch()
    # Whoever the image's user is may write here, and only this container can reach it.
    (own / "checkpoint").chmod(0o777)
    (own / "progress.jsonl").chmod(0o666)


def readable(folder: Path) -> None:
    """Let whoever the image's user is read a checkpoint that was laid out for it."""
    folder.chmod(0o755)
    for path, names, files in os.walk(folder):
        for name in [*names, *files]:
            each = os.path.join(path, name)
            if not os.path.islink(each):
                os.chmod(each, os.stat(each).st_mode & 0o777 | (0o755 if name in names else 0o644))


def check_volumes(volumes: Iterable[model.Volume], own: Iterable[str]) -> None:
    """Refuse what this host must not or cannot show; `own` are folders of the agent. Raises `refusal.CannotStart`."""
    guarded = [*FORBIDDEN, *STATES, *map(os.path.realpath, own)]
    for volume in volumes:
        real = os.path.realpath(volume.source)
        for each in guarded:
            if _within(real, each) or _within(each, real):
                raise refusal.CannotStart(
                    f"the volume's folder {volume.source!r} would show {each} to the container, which is the host's own",
                    fatal=True,
                )
        if not os.path.isdir(real):
            raise refusal.CannotStart(f"the volume's folder {volume.source!r} does not exist on this host", fatal=True)


def for_restore(place: places.Attempt, ref: spec.AttemptRef, image: store.Image, memory: Path = MEMORY) -> Path:
    """Return where to lay an image out: in memory if it fits there, else on the disk of the journal."""
    size = sum(entry.size for entry in image.entries())
    if _fits(size, memory):
        return memory / str(ref)
    return place.private / "restore"


def swept(keep: set[str], memory: Path = MEMORY) -> None:
    """Remove what was laid out for attempts that are not in `keep`."""
    if memory.is_dir():
        for each in memory.iterdir():
            if each.name.removesuffix(PARTIAL) not in keep:
                folders.discard(each)


PARTIAL = ".partial"
"""Suffix of a folder that is not laid out as a whole yet."""


def _fits(size: int, memory: Path) -> bool:
    """Whether `size` bytes fit into the file system and, being there twice for a moment, into memory."""
    try:
        memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        memory.chmod(0o700)
        room = os.statvfs(memory)
        known = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(known["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return False
    return size + SPARE <= room.f_bavail * room.f_frsize and 2 * size + SPARE <= free


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
