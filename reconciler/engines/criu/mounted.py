"""Which mounts an image would have CRIU make: only those that its record names, and file systems without anything of the host.

The record (`container.json`) is compared with the manifest's own mounts by the interposer; what is checked here is that the
image does what the record says. Source: CRIU `images/mnt.proto` (mnt_entry: fstype = 1, mountpoint = 7, with_plugin = 12,
ext_mount = 13, ext_key = 18), magic in `criu/include/magic.h`.
"""

from __future__ import annotations

from collections.abc import Collection

from reconciler import errors
from reconciler.engines.criu import messages

PREFIX = "mountpoints-"

_MAGIC = 0x55563928
_KIND, _DESTINATION, _PLUGIN, _DETECTED, _KEY = 1, 7, 12, 13, 18
_CGROUP = 12
_OWN = {1: "proc", 2: "sysfs", 5: "tmpfs", 6: "devpts", _CGROUP: "cgroup", 14: "mqueue", 23: "cgroup2"}
_CGROUPS = "/sys/fs/cgroup/"
_NOTHING = "/dev/null"

KINDS = frozenset(_OWN.values())
"""File systems that are made anew in a container and show nothing that a fresh one would not."""


def check(content: bytes, name: str, declared: Collection[str]) -> None:
    """Raise `errors.Damaged` for a mount that is neither declared nor harmless. `declared`: destinations of external mounts."""
    for one in messages.messages(content, messages.COMMON_MAGIC, _MAGIC, name):
        fields = messages.decode(one, name)
        destination, key = (
            (messages.nested(fields, field) or b"").decode(errors="surrogateescape") for field in (_DESTINATION, _KEY)
        )
        kind = messages.number(fields, _KIND)
        if messages.number(fields, _PLUGIN) or messages.number(fields, _DETECTED):
            raise errors.Damaged(f"the image would mount something at {destination!r} that it does not name", where=name)
        if key and not _is_declared(key, destination, kind, declared):
            raise errors.Damaged(f"the image would mount {key!r} at {destination!r}, which its record lacks", where=name)
        if not key and destination != "/" and kind not in _OWN:
            raise errors.Damaged(f"the image would mount a file system of the host at {destination!r}", where=name)


def _is_declared(key: str, destination: str, kind: int, declared: Collection[str]) -> bool:
    if key == _NOTHING:
        return True  # over a file that is to be hidden
    return key == destination and (key in declared or (kind == _CGROUP and key.startswith(_CGROUPS)))
