"""Which processes a test has left behind. Linux only; elsewhere nothing is found."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A living process, as it was when it was looked at."""

    pid: int
    command: str


def children() -> frozenset[Process]:
    """The living direct children of this process; zombies are dead, so they are not among them."""
    found = set()
    for task in _entries(PROC / "self" / "task"):
        for pid in _read(task / "children").split():
            found |= set(_describe(int(pid)))
    return frozenset(found)


def with_environment(variable: str, value: str) -> frozenset[Process]:
    """The living processes that started with `variable` set to `value`, whoever their parent is now."""
    wanted = f"{variable}={value}".encode()
    found = set()
    for entry in _entries(PROC):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:  # gone meanwhile, or another user's
                continue
            if wanted in environment.split(b"\0"):
                found |= set(_describe(int(entry.name)))
    return frozenset(found)


def ended_children() -> int:
    """A number that grows whenever a child has ended and was waited for: two equal readings mean that none has."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_minflt + usage.ru_nvcsw + usage.ru_nivcsw


def _describe(pid: int) -> Iterator[Process]:
    state = _read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    if state and state[0] not in "ZX":
        command = _read(PROC / str(pid) / "cmdline").replace("\0", " ").strip()
        yield Process(pid=pid, command=command[:200])


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:
        return


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
