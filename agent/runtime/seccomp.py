"""What a restored program may ask of the kernel: the filter is the manifest's, made anew here, and not the image's.

An image brings the filters that CRIU has read from the kernel as instructions. Those that the engine gave the program come from
the manifest, so they are put in place of what the image has; those that a program gave itself besides can only forbid more
(seccomp(2): of several filters the strictest answer holds), and are the image's.

What a profile means in instructions only the real runtime knows. It is asked: it makes a container of the same profile in which
nothing ever runs, and the kernel tells the filter of what waits there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.runtime import call, system
from agent.runtime.call import Call, Config, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = "filters"
"""Folder in `call.RUN`: instructions by profile and runtime, and what a call leaves that is killed."""
COMMON_MAGIC, SECCOMP_MAGIC = 0x54564319, 0x64413049
"""CRIU criu/include/magic.h: IMG_COMMON_MAGIC, SECCOMP_MAGIC."""
LOG = "SECCOMP_FILTER_FLAG_LOG"
SYNC_FLAG, LOG_FLAG = 1, 2
"""linux/seccomp.h: all threads of the process get the filter (CRIU writes this where they have the same, and only for the first
thread), and what it forbids is logged. CRIU keeps no other flags."""
NOTHING: Config = {
    "ociVersion": "1.0.2",
    "process": {"args": ["/nothing"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": []},
    "root": {"path": "root", "readonly": True},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755"],
        },  # /run may forbid devices
    ],
}
"""A container that waits before its first instruction; without `noNewPrivileges` it has its filter by then."""


def lay(made: Call, config: Config, directory: str) -> None:
    """Write `criu/seccomp.img` of a restore directory. Raises `Refused` where this machine cannot say what it holds."""
    profile = (config.get("linux") or {}).get("seccomp")
    if not profile:
        return
    filters = kept(directory)
    if filters is None:
        text = "the agent is older than the interposer, and tells nothing of the checkpoint's seccomp filters"
        raise Refused(f"{text}. Run: systemctl restart perdure-agent")
    instructions = _of_profile(made, profile)
    flags = LOG_FLAG if LOG in (profile.get("flags") or ()) else 0
    messages = [
        _message(base64.b64decode(one["filter"]), one["prev"], one["flags"] & (SYNC_FLAG | LOG_FLAG))
        if one["prev"] is not None
        else _message(instructions, None, one["flags"] & SYNC_FLAG | flags)
        for one in filters
    ]
    entry = b"".join(_field(1, message) for message in messages)
    with open(os.path.join(directory, "criu", "seccomp.img"), "wb") as file:
        for number in (COMMON_MAGIC, SECCOMP_MAGIC, len(entry)):
            file.write(number.to_bytes(4, "little"))
        file.write(entry)


def kept(directory: str) -> list[Config] | None:
    """Return the filters of the image in a restore directory; an older agent tells none."""
    with suppress(FileNotFoundError):
        return list(call.read_json(directory, "filters.json")["filters"])
    return None


def shared(newest: int | None, filters: list[Config]) -> bool:
    """Whether the kernel gives all threads of a process what its first thread has, by the number of its newest filter."""
    held = []
    while newest is not None:
        held.append(filters[newest])
        newest = filters[newest]["prev"]
    return bool(held) and all(one["flags"] & SYNC_FLAG for one in held)


def _of_profile(made: Call, profile: Config) -> bytes:
    status = os.stat(made.real)
    known = [profile, made.real, status.st_ino, status.st_size, status.st_mtime_ns]
    name = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    folder = os.path.join(call.RUN, CACHE)
    path = os.path.join(folder, name)
    with suppress(FileNotFoundError), open(path, "rb") as file:
        return file.read()
    os.makedirs(folder, 0o700, exist_ok=True)
    instructions = _told(made, profile, os.path.join(folder, f"{name[:16]}.{os.getpid()}"))
    aside = f"{path}.{os.getpid()}"
    with open(aside, "wb") as new:
        new.write(instructions)
    os.rename(aside, path)
    return instructions


def _told(made: Call, profile: Config, place: str) -> bytes:
    """Make the container in `place`, ask the kernel, and leave nothing of it."""
    for left in _left(os.path.dirname(place)):
        _remove(made, left)
    os.mkdir(place, 0o700)
    try:
        root = os.path.join(place, "root")
        for mount in NOTHING["mounts"]:
            os.makedirs(root + mount["destination"])
        os.close(os.open(os.path.join(root, "nothing"), os.O_CREAT | os.O_WRONLY, 0o755))
        namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]
        config = {**NOTHING, "linux": {"seccomp": profile, "namespaces": namespaces}}
        call.write_json(config, place, "config.json")
        pid = os.path.join(place, "pid")
        words = ["create", "--bundle", place, "--pid-file", pid, os.path.basename(place)]
        if _run(made, place, "--log", os.path.join(place, "log"), *words):
            raise Refused(f"{made.real} cannot say what the seccomp profile means: {_last(os.path.join(place, 'log'))}")
        with open(pid) as file:
            return system.seccomp_filter(int(file.read()))
    except OSError as error:
        raise Refused(f"the kernel does not say what the seccomp profile means ({error.strerror})") from error
    finally:
        _remove(made, place)


def _left(folder: str) -> Iterator[str]:
    """Yield the folders of calls that are over: they were killed."""
    for name in os.listdir(folder):
        caller = name.partition(".")[2]
        if os.path.isdir(os.path.join(folder, name)) and not os.path.exists(f"/proc/{caller}"):
            yield os.path.join(folder, name)


def _remove(made: Call, place: str) -> None:
    _run(made, place, "delete", "--force", os.path.basename(place))
    shutil.rmtree(place, ignore_errors=True)


def _run(made: Call, place: str, *words: str) -> int:
    """Our own output is that of the program which is to go on: a warning of the runtime would stand in it."""
    with open(os.devnull, "w") as nowhere:
        return system.run([made.real, "--root", os.path.join(place, "state"), *words], output=nowhere.fileno())


def _last(log: str) -> str:
    with suppress(OSError), open(log, errors="replace") as file:
        return " ".join(file.read().split())[-300:]
    return "it left no log"


def _message(instructions: bytes, prev: int | None, flags: int) -> bytes:
    """CRIU images/seccomp.proto, seccomp_filter: filter = 1, prev = 2, flags = 3."""
    rest = [(2, prev), (3, flags or None)]
    return _field(1, instructions) + b"".join(
        _varint(field << 3) + _varint(value) for field, value in rest if value is not None
    )


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """As in `reconciler.engines.criu.messages`, which an interposer without Perdure's packages cannot import."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
