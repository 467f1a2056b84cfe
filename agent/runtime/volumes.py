"""Volumes that an engine has made for one container alone, as an image's VOLUME asks: the checkpoint says what is in them.

Which they are is the engine's word, handed on by the agent; where they are is the bundle's. Where the checkpoint had them
must be the same.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from agent.runtime import call, tree
from agent.runtime.call import Config, Refused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

FOLDER = re.compile(r".*(?:/volumes/([0-9a-f]{64})/_data|/containers/[0-9a-f]{64}/volumes/[0-9a-f]{64})")
"""Where dockerd and Podman keep a volume without a name, and containerd, for Kubernetes, one that has none at all."""


def folders(config: Config, names: Collection[str]) -> dict[str, str]:
    """Return where the container has the volumes of these names, and which folders of the host they are."""
    return {at: source for at, (source, name) in _nameless(config).items() if name and name in names}


def nameless(config: Config) -> list[str]:
    """Return where a bundle has volumes without a name, whoever else has them."""
    return sorted(_nameless(config))


def faults(own: Collection[str], kept: Collection[str]) -> Iterator[str]:
    """Say what is wrong where a container has volumes of its own at `own`, and the checkpoint at `kept`."""
    yield from (f"it has a volume at {at} that the container lacks" for at in sorted({*kept} - {*own}))
    yield from (f"the container has a volume at {at} that it lacks" for at in sorted({*own} - {*kept}))


def lay(config: Config, names: Collection[str], directory: str) -> None:
    """Let the volumes hold what the checkpoint in a directory says, and nothing else. Raises `Refused`, OSError."""
    here = folders(config, names)
    for number, at in enumerate(kept(call.read_json(directory, "container.json"))):
        if at not in here:
            raise Refused(f"the checkpoint has a volume at {at} that the container lacks")
        tree.replace(directory, f"volume-{number}", here[at])


def kept(image: Config) -> list[str]:
    """Return where a checkpoint's record has volumes, in the order in which it numbers them. Raises TypeError."""
    found = image.get("volumes", [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found) or len(set(found)) < len(found):
        raise TypeError("volumes")
    return found


def _nameless(config: Config) -> dict[str, tuple[str, str | None]]:
    """Return by destination: the folder, and the name that its engine has given it."""
    found = {}
    for mount in config.get("mounts") or ():
        match = FOLDER.fullmatch(mount.get("source") or "")
        if match and mount.get("type") == "bind":
            found[os.path.normpath(mount["destination"])] = (match[0], match[1])
    return found
