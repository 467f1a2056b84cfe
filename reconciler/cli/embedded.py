"""The agent in the reconciler's process: the only module of the reconciler that imports the agent."""

from __future__ import annotations

import contextlib
from pathlib import Path

from agent import places
from agent.logs import Shipped
from agent.supervisor import output
from reconciler import errors
from reconciler.core import codec, spec
from reconciler.seams import durable

FOLDER = "agent"
"""The agent's folder in the data directory."""


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
            size = file.seek(0, 2)
            if start <= wanted < start + size:
                file.seek(wanted - start)
                return file.read(limit)
    return b""
