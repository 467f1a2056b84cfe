"""Volumes that an engine has made for one container alone: what an image declares, or a person has given no name.

dockerd keeps each as a folder `volumes/<64 hexadecimal digits>/_data` below its own, and fills it with what the image has at
that path. That a volume is this container's is the engine's word; that nobody else has it mounted is the kernel's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from reconciler import errors
from reconciler.engines.criu import runtime_state
from reconciler.engines.criu.runtime_state import State

MOST = 100
"""Of one container. An image names each by its number, of which it knows two digits."""

NAME = r"volume-(?:0|[1-9][0-9]?)"
"""What the folder of a volume is called in an image."""

_FOLDER = re.compile(r"/volumes/([0-9a-f]{64})/_data$")
_SHOWN = re.compile(r"/volumes/([0-9a-f]{64})/_data(/|$)")
_OF_A_POD = re.compile(r"/containers/[0-9a-f]{64}/volumes/[0-9a-f]{64}$")
"""Where containerd keeps what an image declares, for Kubernetes."""


def name(number: int) -> str:
    """Return what the folder of a container's so many'th volume is called, counted from 0."""
    return f"volume-{number}"


def held(names: Iterable[str]) -> set[str]:
    """Return the folders of volumes of which an image with files of these names holds anything."""
    firsts = {name.partition("/")[0].removesuffix(".json") for name in names}
    return {first for first in firsts if re.fullmatch(NAME, first)}


def check(own: Sequence[str], mounts: Collection[str], names: Iterable[str]) -> None:
    """Raise `errors.Damaged` unless an image holds just the volumes of its record, which are among its mounts."""
    if list(own) != sorted({*own} & {*mounts}):
        raise errors.Damaged("the image's record has a volume that is not mounted, or one twice")
    said, found = {name(number) for number in range(len(own))}, {*names}
    for one in sorted(said ^ held(found)):
        raise errors.Damaged(f"the image holds {one}, a volume that its record lacks, or the reverse")
    for one in sorted(said):
        if f"{one}.json" not in found:
            raise errors.Damaged(f"the image lacks {one}.json")


def folders(state: State, own: Collection[str]) -> dict[str, str]:
    """Return where the container has volumes of its own, sorted, and which folders of the host they are. `own`: their names."""
    found = {destination: source for destination, source in state.binds.items() if identity(source) in own}
    return dict(sorted(found.items()))


def identity(source: str) -> str:
    """Return the name of the volume that a folder is; empty for one that is none, or has the name that a person gave it."""
    match = _FOLDER.search(source)
    return match[1] if match else ""


def is_of_a_pod(source: str) -> bool:
    """Whether a folder is what containerd has made of an image's volume."""
    return _OF_A_POD.search(source) is not None


def elsewhere(state: State, own: Collection[str]) -> dict[str, int]:
    """Return which of these volumes another container has mounted, too, and a process of that one."""
    found: dict[str, int] = {}
    inside = {*runtime_state.processes(state)}
    spaces = {_space(pid) for pid in inside}
    for pid in _processes():
        space = _space(pid)
        if pid in inside or space in spaces:
            continue
        spaces.add(space)
        try:
            seen = runtime_state.mounts(pid)
        except errors.Unavailable:
            continue  # it has ended
        for mount in seen:
            match = _SHOWN.search(mount.root)
            if match and match[1] in own:
                found.setdefault(match[1], pid)
    return found


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _space(pid: int) -> int:
    """Return the number of a process's mount namespace; 0 for one that has ended."""
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino
    except OSError:
        return 0
