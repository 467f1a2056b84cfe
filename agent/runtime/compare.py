"""Whether an image fits its manifest: what is restored may hold no right that a fresh start would not have.

An image is compared even when it is authentic: the manifest may have changed, and a key may have leaked.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.runtime import call, seccomp, shape, volumes
from agent.runtime.call import Config, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = _NAMES.split()
"""In the order of linux/capability.h: the place is the bit."""
SETGID, SETUID = (1 << CAPABILITIES.index(name) for name in ("SETGID", "SETUID"))
FILTERED = 2
"""The seccomp mode of a task with filters (prctl(2))."""
UNCONFINED = ("", "unconfined")
APPARMOR = "/sys/module/apparmor/parameters/enabled"


class Manifest(NamedTuple):
    """Who a fresh start would be."""

    uid: int
    groups: tuple[int, ...]
    """The first is its own."""
    bounding: int
    ambient: int
    no_new_privileges: bool
    seccomp: bool
    lsm: str

    def may(self, capability: int) -> bool:
        """Whether its processes may use a capability from their beginning."""
        return bool((self.bounding if self.uid == 0 else self.ambient) & capability)


def manifest(config: Config, *, confined: bool) -> Manifest:
    """Read it from a bundle's configuration; `confined`: this kernel has AppArmor."""
    process, user = config["process"], config["process"].get("user") or {}
    capabilities = process.get("capabilities") or {}
    profile = process.get("apparmorProfile") or ""
    return Manifest(
        uid=user.get("uid", 0),
        groups=(user.get("gid", 0), *(user.get("additionalGids") or ())),
        bounding=_mask(capabilities.get("bounding")),
        ambient=_mask(capabilities.get("ambient")),
        no_new_privileges=bool(process.get("noNewPrivileges")),
        seccomp=bool((config.get("linux") or {}).get("seccomp")),
        lsm=profile if confined and profile not in UNCONFINED else "",
    )


RULES: tuple[tuple[str, Callable[[Config, Manifest], bool]], ...] = (
    ("runs as another user", lambda task, yields: set(task["uids"]) == {yields.uid} or yields.may(SETUID)),
    ("runs in another group", lambda task, yields: set(task["gids"]) == {yields.groups[0]} or yields.may(SETGID)),
    ("is in further groups", lambda task, yields: set(task["groups"]) <= set(yields.groups) or yields.may(SETGID)),
    ("has further capabilities", lambda task, yields: not _held(task) & ~yields.bounding),
    (
        "has capabilities that another user than root gets by a program only",
        lambda task, yields: yields.uid == 0 or not yields.no_new_privileges or not _active(task) & ~yields.ambient,
    ),
    ("may gain privileges", lambda task, yields: task["no_new_privileges"] or not yields.no_new_privileges),
    ("has no seccomp filter", lambda task, yields: task["seccomp"] == FILTERED or not yields.seccomp),
    (
        "has another AppArmor profile",
        lambda task, yields: task["lsm"] == yields.lsm or (task["lsm"] in UNCONFINED and not yields.lsm),
    ),
)
"""What a task of the image must not do, and when it does not."""


def check(config: Config, directory: str, own: Collection[str] = ()) -> None:
    """Raise `Refused` when the image in a directory does not fit a bundle's configuration, and say all of it at once.

    `own` are the names of the volumes that the engine has made for this container alone.
    """
    try:
        image = call.read_json(directory, "container.json")
        faults = [
            *_container(config, image),
            *volumes.faults(volumes.folders(config, own), volumes.kept(image)),
            *_credentials(manifest(config, confined=_apparmor()), list(_tasks(directory))),
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"the checkpoint in {directory} is not understood: {error!r}") from error
    if faults:
        text, remedy = "; ".join(faults), "Give the job its old fields, restore another checkpoint, or rerun it"
        raise Refused(f"the checkpoint is not what the manifest yields: {text}. {remedy}")


def described(config: Config) -> Config:
    """Return what `container.json` says of a container with this configuration."""
    linux = config.get("linux") or {}
    seccomp = json.dumps(linux["seccomp"], sort_keys=True, separators=(",", ":")) if linux.get("seccomp") else ""
    return {
        "v": 1,
        "mounts": shape.destinations(config),
        "seccomp": hashlib.sha256(seccomp.encode()).hexdigest() if seccomp else "",
        "network": any(one["type"] == "network" for one in linux.get("namespaces") or ()),
        "devices": sorted(device["path"] for device in linux.get("devices") or ()),
    }


def _container(config: Config, image: Config) -> Iterator[str]:
    here = described(config)
    own, theirs = ({os.path.normpath(path) for path in one["mounts"]} - set(shape.OF_ENGINES) for one in (here, image))
    yield from (f"it has a mount at {one} that the manifest lacks" for one in sorted(theirs - own))
    yield from (f"the manifest has a mount at {one} that it lacks" for one in sorted(own - theirs))
    if image["seccomp"] != here["seccomp"]:
        yield "it has another seccomp profile"
    if image["network"] != here["network"]:
        yield "one of them has the host's network, the other its own"
    if image.get("devices", here["devices"]) != here["devices"]:
        yield "it has other devices"


def _tasks(directory: str) -> Iterator[Config]:
    """Yield the threads as they will be: one without a filter gets those of its process where the kernel shares them out."""
    tasks = call.read_json(directory, "credentials.json")["tasks"]
    filters = seccomp.kept(directory) or []
    shared = {task["pid"] for task in tasks if task["seccomp"] == FILTERED and seccomp.shared(task.get("filter"), filters)}
    for task in tasks:
        given = not task["seccomp"] and task.get("process") in shared
        yield {**task, "seccomp": FILTERED} if given else task


def _credentials(yields: Manifest, tasks: list[Config]) -> Iterator[str]:
    if not tasks:
        yield "it has no process"
    for text, holds in RULES:
        wrong = [str(task["pid"]) for task in tasks if not holds(task, yields)]
        if wrong:
            yield f"its process {', '.join(wrong[:3])} {text}"


def _held(task: Config) -> int:
    return _active(task) | int(task["capabilities"]["bounding"]) | int(task["capabilities"]["inheritable"])


def _active(task: Config) -> int:
    return int(task["capabilities"]["permitted"]) | int(task["capabilities"]["effective"])


def _mask(names: Any) -> int:
    bits = {f"CAP_{name}": 1 << place for place, name in enumerate(CAPABILITIES)}
    return sum(bits.get(name, 0) for name in set(names or ()))


def _apparmor() -> bool:
    try:
        with open(APPARMOR) as file:
            return file.read(1) == "Y"
    except OSError:
        return False
