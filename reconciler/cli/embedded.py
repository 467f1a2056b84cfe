"""The agent in the reconciler's process: the only module of the reconciler that imports the agent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from agent import kept, places, service
from agent.embedded import EmbeddedUplink
from reconciler import config, errors
from reconciler.contracts import link
from reconciler.core import spec
from reconciler.link.embedded import EmbeddedDoor
from reconciler.link.switchboard import Switchboard
from reconciler.seams import clock

FOLDER = "agent"
"""The agent's folder in the data directory."""


@contextlib.contextmanager
def agent(
    board: Switchboard, code: link.CodeServer, wanted: service.Options, failed: Callable[[Exception], None]
) -> Iterator[Callable[[], bool]]:
    """Run the agent of this machine on a thread of this process. Jobs and their supervisors outlive both.

    Yields what tells whether it has done all there is to do, but for the programs that run. `failed` is called on its thread
    when a defect has ended it.
    """
    door = EmbeddedDoor(board, wanted.name)
    uplink = EmbeddedUplink(door.deliver, door.assignments, code.archive)
    door.listen(uplink.changed)
    try:
        with service.running(wanted, uplink, clock.System(), failed) as one:
            yield one.settled
    finally:
        door.close()


def options(given: config.Settings, data: Path, keys: Path) -> service.Options:
    """Return what the configuration says about the embedded agent."""
    return service.Options(
        data=data / FOLDER,
        name=given.agents.name or os.uname().nodename,
        labels=given.agents.labels,
        cpu=given.agents.cpu,
        memory=given.agents.memory,
        user=given.agents.user,
        docker=given.agents.docker,
        secrets=Path(given.keys.secrets) if given.keys.secrets else data / "secrets",
        keys=keys,
    )


def log(data: Path, ref: spec.AttemptRef, offset: int, limit: int) -> tuple[int, bytes]:
    """Return log bytes of an attempt from the files that an agent of this machine still has, and their offset.

    No bytes: there are none from `offset` on. Another agent than the embedded one is found where it has its data by default.
    """
    for folder in (data / FOLDER, places.default()):
        with contextlib.suppress(errors.PerdureError):  # another user's
            at, found = kept.read(places.Places(data=folder, jobs=folder / "jobs").attempt(ref), offset, limit)
            if found:
                return at, found
    return offset, b""


def prerequisites() -> Iterator[tuple[str, str, str, str]]:
    """Yield (subject, state, text, remedy) of everything that this machine needs to take checkpoints of containers."""
    from agent.install import machine
    from agent.install import prerequisites as needed

    for found in needed.examine(machine.System()):
        yield found.subject, found.state, found.text, found.remedy
