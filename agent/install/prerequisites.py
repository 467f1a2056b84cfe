"""What a machine must have to take transparent checkpoints: a table. Each row says why, looks, and names what mends it.

A row is passed over when one that it needs has failed: one cause is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.install import looks
from agent.install.machine import Machine
from reconciler import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Prerequisite:
    """One row."""

    subject: str
    why: str
    """What it is for."""
    look: Callable[[Machine], Iterator[looks.Found]]
    needs: tuple[str, ...] = ()
    """Subjects that say more than this one when they fail."""


def examine(machine: Machine) -> Iterator[looks.Found]:
    """Yield how every prerequisite stands, in the order of the table."""
    failed: set[str] = set()
    for row in TABLE:
        if failed.intersection(row.needs):
            failed.add(row.subject)
            continue
        for found in _looked(machine, row):
            if found.state == "fail":
                failed.add(row.subject)
            yield found


def _looked(machine: Machine, row: Prerequisite) -> Iterator[looks.Found]:
    try:
        for found in row.look(machine):
            yield looks.Found(subject=row.subject, state=found.state, text=found.text, remedy=found.remedy)
    except errors.PerdureError as error:
        where = f"{error.where}: " if error.where else ""
        yield looks.Found(subject=row.subject, state="fail", text=f"{where}{error.message}", remedy=error.remedy)
    except OSError as error:
        yield looks.Found(subject=row.subject, state="fail", text=f"{error.filename}: {error.strerror}")


TABLE: tuple[Prerequisite, ...] = (
    Prerequisite(subject="system", why="CRIU is a program for Linux", look=looks.linux),
    Prerequisite(subject="user", why="a checkpoint reads every byte of others' processes", look=looks.root, needs=("system",)),
    Prerequisite(
        subject="capabilities",
        why="tracing, mounts and networks of containers; a container's root often lacks them",
        look=looks.capabilities,
        needs=("system", "user"),
    ),
    Prerequisite(
        subject="kernel", why="the files below /proc that tell a process apart", look=looks.kernel, needs=("system", "user")
    ),
    Prerequisite(subject="tracing", why="CRIU stops a process by ptrace", look=looks.tracing, needs=("system",)),
    Prerequisite(
        subject="freezer", why="all processes of a container stand still at one moment", look=looks.freezer, needs=("system",)
    ),
    Prerequisite(
        subject="network lock",
        why="no packet may arrive while a connection is written down",
        look=looks.network_lock,
        needs=("system",),
    ),
    Prerequisite(
        subject="tar", why="CRIU keeps what lies in a container's tmpfs as an archive", look=looks.archiver, needs=("system",)
    ),
    Prerequisite(subject="runc", why="it restores; crun and others take other options", look=looks.runc, needs=("system",)),
    Prerequisite(subject="criu", why="it writes a process down and puts it back", look=looks.criu, needs=("system",)),
    Prerequisite(
        subject="criu check",
        why="whether this kernel does all that this criu needs",
        look=looks.criu_check,
        needs=("criu", "user", "capabilities", "kernel", "tracing"),
    ),
    Prerequisite(
        subject="criu configuration", why="its files override what we ask of it", look=looks.criu_config, needs=("system",)
    ),
    Prerequisite(
        subject="engine", why="something must run containers, and let another runtime in", look=looks.engine, needs=("system",)
    ),
    Prerequisite(
        subject="interposer",
        why="the runtime that restores where an engine says create",
        look=looks.interposer,
        needs=("system", "user", "runc", "criu", "criu check", "engine"),
    ),
    Prerequisite(
        subject="use",
        why="a container that does not go through it has no checkpoints",
        look=looks.used,
        needs=("engine", "interposer"),
    ),
    Prerequisite(
        subject="agent",
        why="it knows what a new container is to continue from; without it a marked one does not start",
        look=looks.agent,
        needs=("interposer",),
    ),
    Prerequisite(subject="space", why="a checkpoint waits on the disk for its store", look=looks.space, needs=("system",)),
)
"""In the order in which one needs the other."""
