"""Writing down the files below a root: the other way of `tree.lay`."""

from __future__ import annotations

import base64
import os
import stat
from typing import TYPE_CHECKING

from agent.runtime import call, system
from agent.runtime.call import Config, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

OVERLAY = ("trusted.overlay.", "user.overlay.")
"""Attributes of an overlay file system's own."""
FOREIGN = tuple(prefix + name for prefix in OVERLAY for name in ("redirect", "metacopy"))
"""Those by which an entry needs the layer below."""
OPAQUE = tuple(prefix + "opaque" for prefix in OVERLAY)


def upper(rootfs: str) -> str:
    """Return the writable layer of an overlay mounted at `rootfs`. Raises `Refused` when none is."""
    at = [mount for mount in system.mounts() if mount.point == os.path.realpath(rootfs)]
    for option in at[-1].options if at and at[-1].kind == "overlay" else ():
        if option.startswith("upperdir="):
            return option[len("upperdir=") :]
    raise Refused(f"the file system at {rootfs} is no overlay, so what the container has changed in it is not known")


def take(top: str, directory: str, name: str) -> None:
    """Write `<name>.json` and `<name>/`. Raises `Refused` for a device: an image never brings one."""
    data = os.path.join(directory, name)
    os.mkdir(data, 0o700)
    deleted: list[str] = []
    entries: list[Config] = []
    first: dict[tuple[int, int], str] = {}
    for path, status in _walk(top, ""):
        kind = _kind(path, status)
        inode = (status.st_dev, status.st_ino)
        if kind == "whiteout":
            deleted.append(path)
        elif kind == "socket":
            continue  # CRIU makes the bound ones; the others nobody listens at
        elif kind != "directory" and inode in first:
            entries.append({"path": path, "kind": kind, "same": first[inode]})
        else:
            first[inode] = path
            entries.append({"path": path, "kind": kind, **_entry(os.path.join(top, path), status, data, len(entries))})
    call.write_json({"v": 1, "entries": entries, "deleted": deleted}, directory, name + ".json")


def _walk(top: str, path: str) -> Iterator[tuple[str, os.stat_result]]:
    yield path, os.lstat(os.path.join(top, path))
    for name in sorted(os.listdir(os.path.join(top, path))):
        inner = os.path.join(path, name)
        status = os.lstat(os.path.join(top, inner))
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(top, inner)
        else:
            yield inner, status


def _kind(path: str, status: os.stat_result) -> str:
    mode = status.st_mode
    if stat.S_ISCHR(mode) and status.st_rdev == 0:
        return "whiteout"
    for kind, fits in (("directory", stat.S_ISDIR), ("file", stat.S_ISREG), ("link", stat.S_ISLNK), ("fifo", stat.S_ISFIFO)):
        if fits(mode):
            return kind
    if stat.S_ISSOCK(mode):
        return "socket"
    raise Refused(f"the container has made a device at /{path}, and an image never brings one. Remove it there")


def _entry(place: str, status: os.stat_result, data: str, number: int) -> Config:
    entry: Config = {
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime": status.st_mtime_ns,
    }
    attributes = {name: os.getxattr(place, name, follow_symlinks=False) for name in os.listxattr(place, follow_symlinks=False)}
    if any(name in attributes for name in FOREIGN):
        raise Refused("the container's file system renames folders in place (redirect_dir), which an image cannot hold")
    entry["opaque"] = any(attributes.get(name) in (b"y", b"x") for name in OPAQUE)
    entry["xattrs"] = {
        name: base64.b64encode(value).decode() for name, value in attributes.items() if not name.startswith(OVERLAY)
    }
    if stat.S_ISLNK(status.st_mode):
        entry["target"] = os.readlink(place)
    elif stat.S_ISREG(status.st_mode) and status.st_size:
        entry.update(size=status.st_size, data=number)
        _copy(place, os.path.join(data, str(number)))
    return entry


def _copy(source: str, target: str) -> None:
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file, open(target, "xb") as to:
        while os.sendfile(to.fileno(), file.fileno(), None, 1 << 24):
            pass
