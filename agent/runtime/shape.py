"""The shape of every container of ours, whoever its engine is: one image then restores under all of them.

The same external mounts, `/dev/shm` one of them; a network namespace with a name; CRIU's configuration in a file of ours.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.runtime import system, tree
from agent.runtime.call import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

FILES = {
    "/etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
    "/etc/hostname": "{hostname}\n",
    "/etc/resolv.conf": "{resolver}",
    "/dev/termination-log": "",
    "/dev/perdure-generation": "{generation}\n",
}
"""What some engines mount and others do not, and what is in them where we do."""
OCCASIONAL = ("/run/.containerenv", "/run/secrets", "/var/run/secrets/kubernetes.io/serviceaccount")
"""Further mounts of engines. One that the image has is made, empty; one that it lacks nobody will miss."""
OF_ENGINES = (*FILES, *OCCASIONAL, "/dev/shm")
SHM: Config = {"destination": "/dev/shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]}

PROGRESS = "run/perdure/progress.jsonl"
"""Where a program counts its steps, below its root: in its own layer, so that the file goes with it."""
PROGRESS_VARIABLE = "PERDURE_PROGRESS_FILE="

SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


def destinations(config: Config) -> list[str]:
    """Return where the external mounts of a bundle are."""
    return sorted({os.path.normpath(mount["destination"]) for mount in config.get("mounts") or () if _is_bind(mount)})


def give(config: Config, home: str, wanted: Sequence[str] = ()) -> None:
    """Change a bundle's configuration, and make below `home` what it then refers to. `wanted`: external mounts of the image."""
    mounts: list[Config] = config.get("mounts") or []
    present = {os.path.normpath(mount["destination"]): mount for mount in mounts}
    shm = present.get("/dev/shm", SHM)
    if not _is_bind(shm):
        bind = _shared_memory(shm, os.path.join(home, "shm"))
        mounts = [bind if mount is shm else mount for mount in mounts] + ([bind] if shm is SHM else [])
    os.mkdir(os.path.join(home, "mounts"))
    for number, destination in enumerate([*FILES, *(one for one in wanted if one in OCCASIONAL)]):
        if destination not in present:
            source = os.path.join(home, "mounts", str(number))
            _source(source, destination, config)
            mounts.append({"destination": destination, "type": "bind", "source": source, "options": ["bind", "rprivate"]})
    config["mounts"] = mounts
    linux = config["linux"] = config.get("linux") or {}
    for namespace in linux.get("namespaces") or ():
        if namespace["type"] == "network" and not namespace.get("path"):
            namespace["path"] = os.path.join(home, "net")
            _network(namespace["path"], linux.get("sysctl") or {})
    open(criu_conf(home), "w").close()
    config["annotations"] = {**(config.get("annotations") or {}), "org.criu.config": criu_conf(home)}


def memory(config: Config, home: str) -> str:
    """Return the folder that a container has at /dev/shm; empty where others have it too: the host's, another container's, a
    volume. An engine that makes one for a container alone (`docker run --ipc shareable`, Podman) names it after it."""
    at = [mount for mount in config.get("mounts") or () if os.path.normpath(mount["destination"]) == "/dev/shm"]
    if not at or not _is_bind(at[-1]):
        return os.path.join(home, "shm")
    source = str(at[-1].get("source") or "")
    return source if os.path.basename(home) in source.split("/") else ""


def count(config: Config, rootfs: str) -> None:
    """Give a program that begins a file to count its steps in, and say so in its environment.

    One that was told of another place keeps it. One that cannot write there goes without: its root is read-only, its image
    has a link in the way, or a mount lies above.
    """
    if config["root"].get("readonly"):
        return
    process = config["process"]
    variables = list(process.get("env") or ())
    above = ("/run", "/run/perdure", f"/{PROGRESS}")
    mounted = {os.path.normpath(mount["destination"]) for mount in config.get("mounts") or ()}
    if mounted.isdisjoint(above) and not any(one.startswith(PROGRESS_VARIABLE) for one in variables):
        with suppress(OSError):
            tree.begin(rootfs, PROGRESS)
            process["env"] = [*variables, f"{PROGRESS_VARIABLE}/{PROGRESS}"]


def criu_conf(home: str) -> str:
    """Return the file that CRIU reads besides what runc tells it. Empty but for the time of a call that needs more."""
    return os.path.join(home, "criu.conf")


def rename(config: Config, pid_file: str | None) -> None:
    """Give a restored container its new name: its engine has written that one into /etc/hosts, and not the one in the image."""
    spaces = (config.get("linux") or {}).get("namespaces") or ()
    name = config.get("hostname")
    if pid_file and name and any(one["type"] == "uts" and not one.get("path") for one in spaces):
        with open(pid_file) as file:
            space = os.open(f"/proc/{int(file.read())}/ns/uts", os.O_RDONLY)
        system.call("setns", space, system.CLONE_NEWUTS)  # for what is left of this process
        os.close(space)
        socket.sethostname(name)


def clean(home: str) -> None:
    """Free what `give` has made of a container. Nothing happens when there is nothing."""
    for name in ("net", "shm"):
        with suppress(OSError):
            system.call("umount2", os.path.join(home, name).encode(), system.MNT_DETACH)
    tree.remove(home)


def _is_bind(mount: Config) -> bool:
    return mount.get("type") == "bind" or bool({"bind", "rbind"} & set(mount.get("options") or ()))


def _shared_memory(asked: Config, source: str) -> Config:
    options = list(asked.get("options") or ())
    data = ",".join(one for one in options if one.partition("=")[0] in ("mode", "size", "nr_inodes", "uid", "gid"))
    flags = system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC
    os.mkdir(source)
    system.call("mount", b"shm", source.encode(), b"tmpfs", flags, data.encode())
    kept = [one for one in options if one in ("nosuid", "noexec", "nodev", "ro")]
    return {"destination": "/dev/shm", "type": "bind", "source": source, "options": ["bind", "rprivate", *kept]}


def _source(path: str, destination: str, config: Config) -> None:
    if destination not in FILES and destination != "/run/.containerenv":
        os.mkdir(path)
        return
    resolver = ""
    with suppress(OSError), open("/etc/resolv.conf") as file:
        resolver = file.read()
    known = {"hostname": config.get("hostname", ""), "resolver": resolver, "generation": _generation(config)}
    with open(path, "w") as file:
        file.write(FILES.get(destination, "").format(**known))
    os.chmod(path, 0o644)


def _generation(config: Config) -> str:
    """Return what tells a program that it was restored: another text each time, of one length, for it may be held open."""
    variables = (config.get("process") or {}).get("env") or ()
    attempt = next((one.rpartition("-")[2] for one in variables if one.startswith("PERDURE_ATTEMPT=")), "0")
    return f"{attempt:0>8} {os.urandom(16).hex()}"


def _network(path: str, settings: dict[str, Any]) -> None:
    """Make a network namespace with a name: CRIU puts a process into one that it finds; the engine connects it."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    open(path, "w").close()
    system.call("unshare", system.CLONE_NEWNET)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:  # runc leaves `lo` down in one that has a name
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        for name, value in settings.items():  # runc sets them at `create` only: a restore would go without
            if name.startswith("net."):
                with open("/proc/sys/" + name.replace(".", "/"), "w") as file:
                    file.write(str(value))
        system.call("mount", b"/proc/self/ns/net", path.encode(), None, system.MS_BIND, None)
    finally:
        system.call("setns", own, system.CLONE_NEWNET)
        os.close(own)
