"""Images that containers with ARCH's or Tardis's variables have on this host: removed after an exit with 0, and only then.

The interposer writes down which container has which (`agent/runtime/archive.py`). How a container has ended only its engine
knows: whoever listens to it calls `ended`, and after having been away asks it about each of `remembered`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from agent.runtime import archive, tree
from agent.runtime.call import Refused
from reconciler.seams import durable

FOLDER = Path("/var/lib/perdure/archives")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A container that may have an image."""

    namespace: str
    """The engine's: `moby` is Docker's."""
    container: str
    at: float = 0.0
    """When it was created last, in POSIX seconds: an end before that is of an earlier time."""


def remembered(folder: Path = FOLDER) -> tuple[Remembered, ...]:
    """Return the containers whose end is not known yet."""
    found = sorted(folder.glob("*/*.json"))
    return tuple(
        Remembered(namespace=path.parent.name, container=path.name.removesuffix(".json"), at=path.stat().st_mtime)
        for path in found
    )


def ended(which: Remembered, code: int | None, folder: Path = FOLDER) -> str:
    """Note how a container has ended; None: its engine does not know it any more, and nobody saw.

    Returns what stands in the way of that; it is tried again when this is called again.

    After 0 its image and its work directory go. After anything else they stay: the next start goes on from there. Of a
    container that is not remembered there is nothing to remove.
    """
    record = folder / which.namespace / f"{which.container}.json"
    if code not in (0, None) or not record.exists():
        return ""
    if code == 0:
        try:
            said = json.loads(record.read_bytes())
            for path in (said["image"], said["work"]):
                if path:
                    _remove(path, said["root"])
        except (OSError, ValueError, KeyError, TypeError, Refused) as error:
            return f"the image of {which.container} is not removed: {error}"
    durable.remove(record)
    return ""


def _remove(path: str, root: str) -> None:
    with archive.folder_below(os.path.dirname(path), root) as parent:
        for name in (os.path.basename(path), *archive.neighbours(os.path.basename(path))):
            try:
                tree.discard(parent, name)
            except FileNotFoundError:
                continue
