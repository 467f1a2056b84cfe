"""What the interposer reads on this machine: `/etc/perdure/runtime.json` and, for its shell prologue, `/etc/perdure/programs`.

The schema is `schemas/host/runtime.json`. Both files belong to root and are writable by nobody else: a container's environment
may name a path of the host only as far as this file allows it.
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass, field
from pathlib import Path

from agent.install import edits, machine
from agent.install.machine import Machine
from reconciler import errors
from reconciler.core import codec

PATH = "/etc/perdure/runtime.json"
PROGRAMS = "/etc/perdure/programs"

VERSION = 1
LONGEST = 600.0
"""Seconds that `deadline` may be at most."""
AGAIN = f"Correct it, or begin anew: rm {PATH}; perdure-agent install, with the same flags as the first time"
"""`install` keeps what a person has set in the file, so it does not write over one that it cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """How far the environment variables of ARCH and Tardis reach."""

    roots: tuple[str, ...] = ()
    """Folders below which a container may name a path. None: the variables do nothing."""
    namespaces: tuple[str, ...] = ("moby", "default")
    """containerd namespaces in which they count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFile:
    """The content of `runtime.json`."""

    version: int = VERSION
    runc: str
    """The real runtime."""
    python: str
    """Interpreter of the interposer's Python file."""
    criu: str
    """The one criu build that dumps and restores here."""
    socket: str = "/run/perdure/runtime.sock"
    log: str = "/var/log/perdure/runtime.log"
    deadline: float = 20.0
    """Most seconds that one call waits for the agent."""
    arch: Arch = field(default_factory=Arch)


def load(on: Machine) -> HostFile | None:
    """Return the host file, None when there is none. Raises `errors.Damaged` for one that nobody may follow."""
    place = machine.at(on, PATH)
    content = machine.read(on, PATH)
    if content is None:
        return None
    if loose := _loose(place, on):
        raise errors.Damaged(f"{loose}: nobody can trust it", where=PATH, remedy=f"chown root:root {PATH}; chmod 644 {PATH}")
    try:
        found = codec.decode(content, HostFile)
    except errors.Damaged as error:
        raise errors.Damaged(error.message, where=PATH, remedy=AGAIN) from error
    if wrong := _wrong(found):
        raise errors.Damaged(wrong, where=PATH, remedy=AGAIN)
    if found.version != VERSION:
        raise errors.Damaged(
            f"it is of version {found.version}, this is {VERSION}", where=PATH, remedy="Install the newer Perdure again."
        )
    return found


def writing(on: Machine, wanted: HostFile) -> tuple[edits.Edit, ...]:
    """Return the edits after which the machine has this host file."""
    text = json.dumps(codec.plain(wanted), indent=2) + "\n"
    lines = f"{wanted.runc}\n{wanted.python}\n"
    return tuple(
        edits.Edit(path=path, before=machine.read(on, path), after=content.encode())
        for path, content in ((PROGRAMS, lines), (PATH, text))
    )


def removing(on: Machine) -> tuple[edits.Edit, ...]:
    """Return the edits after which it has none."""
    return tuple(edits.Edit(path=path, before=machine.read(on, path), after=None) for path in (PROGRAMS, PATH))


def is_place(text: str) -> bool:
    """Whether a text can be a path in the file: absolute, below /, and written in its one way."""
    return (
        text.startswith("/") and not {"", ".", ".."}.intersection(text[1:].split("/")) and not {"\n", "\0"}.intersection(text)
    )


def _wrong(found: HostFile) -> str:
    """Return what is wrong with a value, beyond its type; empty when nothing is."""
    paths = {name: (getattr(found, name),) for name in ("runc", "python", "criu", "socket", "log")} | {
        "arch.roots": found.arch.roots
    }
    for name, values in paths.items():
        for value in values:
            if not is_place(value):
                return f"{name}: {value!r} is no absolute path below /, without a slash at its end"
    if not 0 < found.deadline <= LONGEST:
        return f"deadline: {found.deadline:g} is not between 0 and {LONGEST:g} seconds"
    return ""


def _loose(place: Path, on: Machine) -> str:
    about = place.stat()
    if about.st_uid != on.owner:
        return f"it belongs to user {about.st_uid}"
    return "others can write it" if stat.S_IMODE(about.st_mode) & 0o022 else ""
