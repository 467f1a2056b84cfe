"""Whether containers of this host's engine can be checkpointed, and if not, why and what mends it. Pure."""

from __future__ import annotations

import os

from agent.containers import seam

PROGRAM = "perdure-runc"


def runtime(about: seam.About) -> str | None:
    """Return what the engine is to be asked for so that a container runs under the interposer; "" where it does anyway, None
    where it cannot."""
    ours = {name for name, program in about.runtimes.items() if os.path.basename(program) == PROGRAM}
    if about.default_runtime in ours:
        return ""
    return min(ours, default=None)


def obstacle(about: seam.About) -> str:
    """Return why a container of this engine cannot be checkpointed; empty when nothing of the engine stands against it."""
    if about.rootless:
        return "the container engine is rootless, and CRIU needs root. Run dockerd as root"
    if about.userns:
        return (
            "the container engine remaps users (userns-remap): a checkpoint's users would be others on another host. "
            "Remove userns-remap from daemon.json"
        )
    if runtime(about) is None:
        return "the container engine does not know perdure-runc. Run `perdure-agent install`"
    return ""
