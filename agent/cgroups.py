"""Control groups for attempts, where the agent may make them: as root, or below a group delegated to it.

Version 1 has a hierarchy for each controller, version 2 one for all (kernel documentation, admin-guide/cgroup-v1 and
cgroup-v2). Our groups lie below the agent's own, so that whatever limits the agent limits its jobs too.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler import errors
from reconciler.core import model

CONTROLLERS = ("memory", "cpu", "pids")
PERIOD = 100_000
"""Microseconds over which the cpu limit is balanced: the kernel's default."""
PREFIX = "perdure-"
"""How the name of every agent's folder begins."""
PIDS = 16_384
"""Most processes and threads of one attempt: far beyond honest use, short of what a machine has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Where this agent may make groups."""

    version: int
    folders: Mapping[str, Path]
    """Our folder by controller; one that is missing here is not enforced by the kernel."""

    def create(self, name: str, resources: model.Resources) -> dict[str, str]:
        """Make the groups of one attempt with its limits and return their folders by controller.

        Raises `errors.Unavailable` when the kernel does not take a limit.
        """
        made = {controller: folder / name for controller, folder in self.folders.items()}
        limits = _v1(resources) if self.version == 1 else _v2(resources)
        for controller, folder in made.items():
            try:
                folder.mkdir(exist_ok=True, parents=True)
                for file, value, needed in limits[controller]:
                    if needed or (folder / file).exists():
                        (folder / file).write_text(value)
            except OSError as error:
                raise errors.Unavailable(f"the limit cannot be set: {error.strerror}", where=str(folder)) from error
        return {controller: str(folder) for controller, folder in made.items()}

    def remove(self, name: str) -> None:
        """Remove the groups of one attempt, if they are there and empty."""
        for folder in set(self.folders.values()):
            with contextlib.suppress(OSError):
                (folder / name).rmdir()

    def sweep(self, keep: set[str], older: float) -> None:
        """Remove groups of attempts that are not in `keep`, and those of agents that were killed, as far as they are empty.

        Another agent's attempts may be about to begin: their groups are left alone unless made before POSIX time `older`.
        """
        for folder in set(self.folders.values()):
            # Another agent's sweep may remove our folder while it is empty: `create` makes it again.
            left = [group for group in folder.glob("*/") if group.name not in keep]
            agents = [one for one in folder.parent.glob(f"{PREFIX}*/") if one != folder] if self.version == 1 else []
            theirs = [group for one in agents for group in one.glob("*/") if _made(group) < older]
            for group in [*left, *theirs, *agents]:
                with contextlib.suppress(OSError):  # the kernel refuses where anything is inside
                    group.rmdir()

    def close(self) -> None:
        """Remove our own folders, if no attempt is left in them."""
        for folder in set(self.folders.values()):
            with contextlib.suppress(OSError):
                folder.rmdir()


def name_of(data: Path) -> str:
    """Return what tells the groups of the agent with this data directory from those of others."""
    return hashlib.sha256(os.fsencode(data)).hexdigest()[:12]


def detect(name: str, root: Path = Path("/")) -> Groups | None:
    """Return where groups can be made, None where nowhere. `name` tells this agent's folder from those of others."""
    name = f"{PREFIX}{name}"
    try:
        mounts = [line.split() for line in (root / "proc/self/mountinfo").read_text().splitlines()]
        own = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return None
    folders: dict[str, Path] = {}
    for _, controllers, path in own:
        for controller in set(controllers.split(",")) & set(CONTROLLERS):
            if (mounted := _mounted(mounts, controller, path, root)) and (folder := _usable(mounted / name, controller)):
                folders[controller] = folder
    if folders:
        return Groups(version=1, folders=folders)
    unified = next((path for number, _, path in own if number == "0"), None)
    mounted = _mounted(mounts, "", unified, root) if unified is not None else None
    group = _delegated(mounted, name) if mounted else None
    return Groups(version=2, folders=dict.fromkeys(CONTROLLERS, group)) if group else None


def discard(name: str, root: Path = Path("/")) -> None:
    """Remove the groups that the agent of that name has left, as far as they are empty, below those of this process."""
    name = f"{PREFIX}{name}"
    with contextlib.suppress(OSError):
        mounts = [line.split() for line in (root / "proc/self/mountinfo").read_text().splitlines()]
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                own = _mounted(mounts, controller, path, root)
                folder = own / name if own else None
                for group in [*folder.glob("*/"), folder] if folder else []:
                    with contextlib.suppress(OSError):
                        group.rmdir()


def unenforced(groups: Groups | None, resources: model.Resources) -> str:
    """Return the sentence that says which requested limits are not enforced by the kernel; empty when all are."""
    kernel = groups.folders if groups else {}
    parts = []
    if resources.cpu is not None and "cpu" not in kernel:
        parts.append("the cpu limit is not enforced")
    if resources.memory is not None and "memory" not in kernel:
        parts.append("the memory limit is enforced by summing resident memory")
    return f"{' and '.join(parts)}: this agent may not make control groups" if parts else ""


def _mounted(mounts: list[list[str]], controller: str, path: str, root: Path) -> Path | None:
    """Return the folder of group `path` in the hierarchy of a controller ("": the unified one), following proc(5)."""
    for fields in mounts:
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        if (kind == "cgroup" and controller and controller in options) or (kind == "cgroup2" and not controller):
            below = os.path.relpath(path, fields[3])
            if not below.startswith(".."):
                return Path(os.path.normpath(root / fields[4].lstrip("/") / below))
    return None


def _made(group: Path) -> float:
    """Return when a group was made, as POSIX time; infinity when it is gone."""
    try:
        return group.stat().st_mtime
    except OSError:
        return math.inf


def _usable(folder: Path, controller: str) -> Path | None:
    """Make our folder in a hierarchy and try whether a limit can be set below it."""
    probe = {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us", "pids": "pids.max"}[controller]
    test = folder / "probe"
    try:
        test.mkdir(parents=True, exist_ok=True)
        works = os.access(test / probe, os.W_OK) and os.access(test / "cgroup.procs", os.W_OK)
        test.rmdir()
    except OSError:
        return None
    return folder if works else None


def _delegated(own: Path, name: str) -> Path | None:
    """Return our folder in the unified hierarchy with all controllers switched on, None where that is not ours to do.

    A group with processes of its own hands no controllers down, so the agent moves itself into a leaf first.
    """
    base = own.parent if own.name == "agent" else own
    enable = " ".join(f"+{controller}" for controller in CONTROLLERS)
    try:
        offered = set((base / "cgroup.controllers").read_text().split())
        if not set(CONTROLLERS) <= offered:
            return None
        if not set(CONTROLLERS) <= set((base / "cgroup.subtree_control").read_text().split()):
            leaf = base / "agent"
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text(str(os.getpid()))
            (base / "cgroup.subtree_control").write_text(enable)
        folder = base / name
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.subtree_control").write_text(enable)
    except OSError:
        return None
    return folder


_Limits = dict[str, list[tuple[str, str, bool]]]


def _v1(resources: model.Resources) -> _Limits:
    limits: _Limits = {"memory": [], "cpu": [], "pids": [("pids.max", str(PIDS), True)]}
    if resources.memory is not None:
        # The second counts swap too, exists only where swap is accounted, and must not be below the first.
        value = str(resources.memory)
        limits["memory"] = [("memory.limit_in_bytes", value, True), ("memory.memsw.limit_in_bytes", value, False)]
    if resources.cpu is not None:
        quota = max(1000, resources.cpu * PERIOD // 1000)
        limits["cpu"] = [("cpu.cfs_period_us", str(PERIOD), True), ("cpu.cfs_quota_us", str(quota), True)]
    return limits


def _v2(resources: model.Resources) -> _Limits:
    limits: _Limits = {"memory": [("memory.oom.group", "1", False)], "cpu": [], "pids": [("pids.max", str(PIDS), True)]}
    if resources.memory is not None:
        limits["memory"] += [("memory.max", str(resources.memory), True), ("memory.swap.max", "0", False)]
    if resources.cpu is not None:
        limits["cpu"] = [("cpu.max", f"{max(1000, resources.cpu * PERIOD // 1000)} {PERIOD}", True)]
    return limits
