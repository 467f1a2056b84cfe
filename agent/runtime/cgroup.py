"""Where a container's control group lies, as its engine asks the real runtime for it.

With cgroup v2 runc does not tell CRIU (runc, `libcontainer/criu_linux.go`: roots are told for version 1 only), which would put
the processes of an image into the group that they were dumped in: out of this container's limits, and out of reach of its
engine.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from agent.runtime.call import Refused

if TYPE_CHECKING:
    from agent.runtime.call import Config

UNIFIED = "/sys/fs/cgroup/cgroup.controllers"
"""Exists where all controllers are of version 2."""
_PLAIN = re.compile(r"[A-Za-z0-9_.:@/\\-]+")


def is_unified() -> bool:
    """Whether this machine has version 2."""
    return os.path.exists(UNIFIED)


def path(config: Config) -> str:
    """Return the group below the hierarchy's root; empty where the real runtime chooses it. Raises `Refused`."""
    asked = str((config.get("linux") or {}).get("cgroupsPath") or "")
    parts = asked.split(":")
    if len(parts) == 3:
        asked = _of_systemd(*parts)
    if not asked.startswith("/"):
        return ""
    if not _PLAIN.fullmatch(asked):
        raise Refused(f"its control group {asked!r} has a name that CRIU cannot be told")
    return os.path.normpath(asked)


def _of_systemd(within: str, prefix: str, name: str) -> str:
    """SLICE:PREFIX:NAME, as the real runtime asks systemd for it. A slice lies in those that its name begins with."""
    words = (within or "system.slice").replace(".slice", "").split("-")
    slices = ["-".join(words[: number + 1]) + ".slice" for number in range(len(words)) if words != ["", ""]]
    return "/" + "/".join([*slices, f"{prefix}-{name}.scope" if prefix else f"{name}.scope"])
