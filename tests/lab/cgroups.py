"""Control groups of the lab: one subtree a node in every hierarchy of the machine, cgroup v1, v2 or both."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TREE = "perdure-lab"
FLAGS = frozenset({"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"})
"""Mount options that belong to a mount, not to the identity of a hierarchy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """A mounted cgroup file system."""

    place: Path
    kind: str
    """cgroup or cgroup2."""
    options: str
    """What names it when it is mounted again: its controllers, or its name."""

    @property
    def unified(self) -> bool:
        """Whether this is all there is: cgroup v2 with the controllers."""
        return self.kind == "cgroup2" and self.place == Path("/sys/fs/cgroup")


def hierarchies() -> tuple[Hierarchy, ...]:
    """Every hierarchy of this machine, by its mount below /sys/fs/cgroup."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place = before.split()[4]
        kind, _, options = after.split()
        if kind in ("cgroup", "cgroup2") and place.startswith("/sys/fs/cgroup"):
            named = ",".join(one for one in options.split(",") if one not in FLAGS and not one.startswith("release_agent="))
            found[place] = Hierarchy(place=Path(place), kind=kind, options=named if kind == "cgroup" else "")
    return tuple(found.values())


def make(path: str) -> None:
    """Makes the group `path` in every hierarchy, with its parents."""
    for hierarchy in hierarchies():
        folder = hierarchy.place
        for part in path.split("/"):
            parent, folder = folder, folder / part
            folder.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group of cgroup v1, which then takes no process
                if hierarchy.kind == "cgroup" and (folder / name).exists() and not (folder / name).read_text().strip():
                    (folder / name).write_text((parent / name).read_text())
            if hierarchy.unified:
                for controller in (parent / "cgroup.controllers").read_text().split():
                    with suppress(OSError):  # one that is in use by a group of cgroup v1, or not for processes
                        (parent / "cgroup.subtree_control").write_text(f"+{controller}")


def join(path: str) -> None:
    """Moves this process into the group."""
    for hierarchy in hierarchies():
        (hierarchy.place / path / "cgroup.procs").write_text("0")


def settle(path: str, pid: int) -> None:
    """Moves a process of a group into its `init` on cgroup v2, where a group with processes hands no controllers down."""
    for hierarchy in hierarchies():
        if hierarchy.unified:
            inner = hierarchy.place / path / "init"
            inner.mkdir(exist_ok=True)
            (inner / "cgroup.procs").write_text(str(pid))


def procs_files(path: str) -> list[str]:
    """The files by which a process joins the node whose group is `path`; a node keeps its own in `init` on cgroup v2."""
    found = []
    for hierarchy in hierarchies():
        group = hierarchy.place / path
        inner = group / "init"
        found.append(str((inner if inner.is_dir() else group) / "cgroup.procs"))
    return found


def pids(path: str) -> set[int]:
    """The processes in a group and below it, in any hierarchy."""
    return {int(pid) for group in _groups(path) for pid in _read(group / "cgroup.procs").split() if pid != "0"}


def kill(path: str, spared: int = 0) -> bool:
    """Thaws and kills what lives in a group and below it, but for one process. Answers whether it was empty already.

    A process that the freezer of cgroup v1 holds does not die of a signal until it is thawed.
    """
    found = pids(path) - {spared}
    for group in _groups(path):
        with suppress(OSError):
            (group / "freezer.state").write_text("THAWED")
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return not found


def remove(path: str) -> None:
    """Removes an empty group and what is below it; the absent is success."""
    for group in _groups(path):
        with suppress(OSError):
            group.rmdir()


def _groups(path: str) -> Iterator[Path]:
    """Every group at and below `path`, deepest first."""
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy.place / path, topdown=False):
            yield Path(folder)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
