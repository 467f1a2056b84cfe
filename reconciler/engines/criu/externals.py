"""What of a container lies outside of it, in the words of `criu dump --external`, and what a restore compares of it.

Source: runc `libcontainer/criu_linux.go` (`addCriuDumpMount`, `addMaskPaths`, `handleCheckpointingExternalNamespaces`), so
that `runc restore` finds what it would have declared itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reconciler.engines.criu import runtime_state
from reconciler.engines.criu.runtime_state import State

NETWORK = "extRootNetNS"
"""The name by which `runc restore` hands the network namespace over."""


def arguments(state: State) -> list[str]:
    """Return CRIU's `--external` options. Raises `errors.Unavailable` when the container is gone, OSError."""
    found: list[str] = []
    for destination in [*map(state.place, state.binds), *cgroup_mounts(state.pid)]:
        found += ["--external", f"mnt[{destination}]:{destination}"]
    for path in state.masked:
        place = Path(f"/proc/{state.pid}/root{path}")
        if place.exists() and not place.is_dir():
            found += ["--external", f"mnt[{path}]:/dev/null"]
    if state.network:
        found += ["--external", f"net[{os.stat(state.network).st_ino}]:{NETWORK}"]
    return found


def cgroup_mounts(pid: int) -> list[str]:
    """Return where cgroups of version 1 are mounted: each is one of the host's, shown to the container."""
    return [mount.destination for mount in runtime_state.mounts(pid) if mount.kind == runtime_state.CGROUP_V1]


def descriptors(state: State) -> bytes:
    """Return runc's `descriptors.json`: what the first three descriptors led to, by which a restore connects them again."""
    return json.dumps(list(state.descriptors)).encode()


def record(state: State, config: dict[str, Any], volumes: Iterable[str] = ()) -> bytes:
    """Return `container.json`: what a restore must find again in the bundle that it is given.

    `config` is the bundle's, `volumes` where the container has those of its own, in the order in which they are kept. The
    form is written down in `agent/runtime/perdure_runc.py`.
    """
    seccomp = (config.get("linux") or {}).get("seccomp")
    plain = json.dumps(seccomp, sort_keys=True, separators=(",", ":")).encode()
    value = {
        "v": 1,
        "mounts": sorted(state.binds),
        "volumes": list(volumes),
        "seccomp": hashlib.sha256(plain).hexdigest() if seccomp else "",
        "network": state.own_network,
        "devices": sorted(device["path"] for device in (config.get("linux") or {}).get("devices") or ()),
    }
    if links := state.links():
        value["links"] = links
    return json.dumps(value, separators=(",", ":")).encode()
