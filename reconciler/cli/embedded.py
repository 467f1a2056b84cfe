"""The agent in the reconciler's process: the only module of the reconciler that imports the agent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from agent import places, service
from agent.embedded import EmbeddedUplink
from agent.logs import Shipped
from agent.supervisor import output
from reconciler import config, errors
from reconciler.contracts import link
from reconciler.core import codec, spec
from reconciler.link.embedded import EmbeddedDoor
from reconciler.link.switchboard import Switchboard
from reconciler.seams import clock, durable

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
        secrets=Path(given.keys.secrets) if given.keys.secrets else data / "secrets",
        keys=keys,
    )


def log(data: Path, ref: spec.AttemptRef, offset: int, limit: int) -> bytes:
    """Return log bytes of an attempt from the files that the agent of this machine still has; empty when it has none.

    `offset` counts as in the store's log, which differs from the agent's own where output was lost on the way.
    """
    place = places.Places(data=data / FOLDER, jobs=data / FOLDER / "jobs").attempt(ref)
    shipped = Shipped()
    with contextlib.suppress(errors.PerdureError):
        if found := durable.read(place.shipped):
            shipped = codec.decode(found, Shipped)
    wanted = offset - shipped.stored + shipped.local
    for start, path in output.segments(str(place.logs)):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if start <= wanted < start + size:
                file.seek(wanted - start)
                return file.read(limit)
    return b""
