"""What runc has written down about a live container, and what the kernel says of its mounts.

Sources: runc `libcontainer/container.go` and `configs/config.go` (members of `state.json`), `libcontainer/criu_linux.go`
(what a dump declares external), proc(5) for `mountinfo`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler import errors

CGROUP_V1, CGROUP_V2 = "cgroup", "cgroup2"

_MOST_LINKS = 40
"""On the way to one file (path_resolution(7))."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A line of a process's mountinfo."""

    destination: str
    root: str
    """Which folder of the file system is shown there."""
    kind: str
    options: str
    """Of the file system, by commas."""

    def option(self, name: str) -> str:
        """Return the value of an option, empty where it has none."""
        for one in self.options.split(","):
            key, _, value = one.partition("=")
            if key == name:
                return value
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A live container."""

    pid: int
    started: int
    """When its init began, in ticks since boot: tells it from a later process of the same number."""
    rootfs: str
    binds: dict[str, str]
    """Destination in the container → source, of bind mounts."""
    masked: tuple[str, ...]
    network: str
    """Path of its network namespace; empty where it has the host's."""
    own_network: bool
    cgroups: dict[str, str]
    """Controller → folder; one with an empty name where cgroups are of version 2."""
    descriptors: tuple[str, ...]
    """What runc's init had as descriptors 0 to 2."""

    @property
    def freezer(self) -> str:
        """The cgroup by which its processes are frozen."""
        return self.cgroups.get("freezer") or self.cgroups.get("", "")

    def alive(self) -> bool:
        """Whether that same process runs."""
        return started(self.pid) == self.started

    def place(self, destination: str) -> str:
        """Return where a mount of the bundle really is: the image may have a link on the way (/var/run is one to /run)."""
        root, found, links = f"/proc/{self.pid}/root", list[str](), 0
        left = destination.split("/")[::-1]
        while left:
            part = left.pop()
            if part in ("", "."):
                continue
            if part == "..":
                found = found[:-1]
                continue
            try:
                target = os.readlink("/".join([root, *found, part]))
            except OSError:
                found.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                return destination
            found = [] if target.startswith("/") else found
            left += target.split("/")[::-1]
        return "/" + "/".join(found)

    def links(self) -> dict[str, str]:
        """Return where mounts really are that are not where the bundle has them."""
        places = {destination: self.place(destination) for destination in sorted(self.binds)}
        return {destination: place for destination, place in places.items() if place != os.path.normpath(destination)}


def read(path: Path) -> State:
    """Read runc's `state.json`. Raises `errors.Unavailable` when there is none, `errors.Damaged` when it is another's."""
    try:
        value = json.loads(path.read_bytes())
        config = value["config"]
        spaces = {one["type"]: one.get("path", "") for one in config["namespaces"] or ()}
        return State(
            pid=int(value["init_process_pid"]),
            started=int(value["init_process_start"]),
            rootfs=str(config["rootfs"]),
            binds={one["destination"]: one["source"] for one in config["mounts"] or () if one.get("device") == "bind"},
            masked=tuple(config.get("mask_paths") or ()),
            network=spaces.get("NEWNET", ""),
            own_network="NEWNET" in spaces,
            cgroups={str(name): str(folder) for name, folder in value["cgroup_paths"].items()},
            descriptors=tuple(value.get("external_descriptors") or ()),
        )
    except OSError as error:
        raise errors.Unavailable(f"the container's state cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Damaged(f"not a state that runc writes ({error!r})", where=str(path)) from error


def config(bundle: Path) -> dict[str, Any]:
    """Return a bundle's `config.json`. Raises `errors.Unavailable` or `errors.Damaged`."""
    path = bundle / "config.json"
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise errors.Unavailable(f"the container's bundle cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise errors.Damaged(f"not JSON ({error})", where=str(path)) from error
    if not isinstance(value, dict):
        raise errors.Damaged("not a bundle's configuration", where=str(path))
    return value


def mounts(pid: int) -> tuple[Mount, ...]:
    """Return the mounts of a process, those on top of others last. Raises `errors.Unavailable` when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError as error:
        raise errors.Unavailable("the container has ended") from error
    found = []
    for line in lines:
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        root, destination = fields.split(" ")[3:5]
        found.append(Mount(destination=_plain(destination), root=_plain(root), kind=kind, options=_plain(options)))
    return tuple(found)


def upper(pid: int) -> Path | None:
    """Return the writable layer of a container whose root is an overlay; None where it is not one."""
    roots = [mount for mount in mounts(pid) if mount.destination == "/"]
    folder = roots[-1].option("upperdir") if roots and roots[-1].kind == "overlay" else ""
    return Path(folder) if folder else None


def processes(state: State) -> tuple[int, ...]:
    """Return the container's processes, as this host counts them. Raises `errors.Unavailable` when it is gone."""
    folder = Path(state.freezer or next(iter(state.cgroups.values())))
    found: list[int] = []
    try:
        for path, _, _ in os.walk(folder):
            found += [int(pid) for pid in (Path(path) / "cgroup.procs").read_text().split()]
    except OSError as error:
        raise errors.Unavailable("the container has ended") from error
    return tuple(pid for pid in found if pid > 0)


def started(pid: int) -> int | None:
    """Return when a process began, in ticks since boot; None when there is none or it has ended."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def descending(first: int, processes: Iterable[int]) -> tuple[int, ...]:
    """Return which of these processes come from the first one: a command that an engine runs in a container does not."""
    parents = {pid: int(fields[1]) if (fields := _stat(pid)) else 0 for pid in processes}
    found = {first}
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return tuple(pid for pid in parents if pid in found)


def stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal, also where it is frozen besides: its state then says that only."""
    match _stat(pid)[:1]:
        case ["T"]:
            return True
        case ["D"]:
            with contextlib.suppress(OSError):
                return Path(f"/proc/{pid}/wchan").read_text() == "do_signal_stop"
    return False


def _stat(pid: int) -> list[str]:
    """Return what proc(5) says of a process from its state on; nothing when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
