"""The interposer's files, one folder a version, side by side in `/usr/local/lib/perdure`.

A folder's name ends in the digest of what is in it, and nothing in it is ever changed: the shim of a running container
remembers the path of its runtime and calls it again for `kill` and `delete`, hours after an upgrade. A folder goes when it is
not the current one and no container of it lives.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import reconciler
from agent.install import machine as machines
from agent.install.machine import Machine
from agent.runtime import pack
from reconciler import errors
from reconciler.seams import durable

FOLDER = "/usr/local/lib/perdure"
LINK = "/usr/local/bin/perdure-runc"
"""Leads to the current version, for people and for engines that are configured by hand."""

PROGRAM = pack.PROGRAM
"""The runtime; the file of Python that it needs lies beside it."""

CRIU = "criu"
"""The criu build beside them. runc looks for this name."""

EXECUTABLE = (PROGRAM, CRIU)

ANY = "*"
"""In place of a version's name: it may be any of them."""

YOUNG = 60.0
"""Seconds for which a bundle without a remembered runtime counts as one that is being made. Older ones belong to shims that
write none."""

TASKS = "io.containerd.runtime.v2.task"
STATES = ("/run/containerd", "/run/docker/containerd/daemon", "/run/k3s/containerd")
"""Where containerd keeps its state, unless it is told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version's files, as they are or as they are to be."""

    name: str
    files: Mapping[str, bytes]

    @property
    def folder(self) -> str:
        """Its folder on the machine."""
        return f"{FOLDER}/{self.name}"

    @property
    def program(self) -> str:
        """The runtime that engines are told to call."""
        return f"{self.folder}/{PROGRAM}"

    @property
    def criu(self) -> str:
        """Its criu."""
        return f"{self.folder}/{CRIU}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A live container or process that holds a version, and how we know."""

    version: str
    holder: str


def made(criu: bytes) -> Version:
    """Return the version that this package and that criu build make."""
    files = pack.files() | {CRIU: criu}
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return Version(name=f"{reconciler.__version__}-{digest.hexdigest()[:8]}", files=files)


def intact(machine: Machine, version: Version) -> bool:
    """Whether the machine has all of its files, byte for byte."""
    return all(
        machines.read(machine, f"{version.folder}/{name}") == content
        and os.access(machines.at(machine, f"{version.folder}/{name}"), os.R_OK)
        for name, content in version.files.items()
    )


def put(machine: Machine, version: Version) -> bool:
    """Put a version's folder in place, whole or not at all; return whether it was not there. Raises `errors.Unavailable`."""
    if intact(machine, version):
        return False
    place = machines.at(machine, version.folder)
    aside = place.with_name(f"{durable.PARTIAL}{version.name}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True, mode=0o755)
        for name, content in version.files.items():
            durable.write_atomic(aside / name, content, 0o755 if name in EXECUTABLE else 0o644)
        shutil.rmtree(place, ignore_errors=True)  # of the same name and damaged: nothing can be using it
        os.replace(aside, place)
        durable.sync_directory(place.parent)
    except OSError as error:
        raise errors.Unavailable(
            f"the files cannot be put there: {error.strerror}",
            where=version.folder,
            remedy="Check free space and mount options.",
        ) from error
    return True


def present(machine: Machine) -> tuple[str, ...]:
    """Return the names of the versions that the machine has."""
    folder = machines.at(machine, FOLDER)
    if not folder.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in folder.iterdir() if (entry / PROGRAM).is_file()))


def named(path: str) -> str:
    """Return the version that a path of the machine belongs to; empty when it is none of ours."""
    parts = PurePosixPath(path).parts
    ours = PurePosixPath(FOLDER).parts
    return parts[len(ours)] if parts[: len(ours)] == ours and len(parts) > len(ours) else ""


def foreign(machine: Machine) -> bool:
    """Whether something that is not ours stands where the link belongs."""
    return os.path.lexists(machines.at(machine, LINK)) and not named(linked(machine))


def link(machine: Machine, version: Version | None) -> None:
    """Let the link lead to a version, in one rename; None: remove it. What is none of ours stays."""
    place = machines.at(machine, LINK)
    if foreign(machine):
        return
    if version is None:
        place.unlink(missing_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name(f"{durable.PARTIAL}{place.name}")
    aside.unlink(missing_ok=True)
    aside.symlink_to(version.program)
    os.replace(aside, place)


def linked(machine: Machine) -> str:
    """Return where the link leads; empty when there is none."""
    with suppress(OSError):
        return os.readlink(machines.at(machine, LINK))
    return ""


def uses(machine: Machine) -> tuple[Use, ...]:
    """Return what holds a version now: containers by the runtime that their shim remembers, processes by their arguments."""
    states = dict.fromkeys(STATES)
    found = []
    for process in machines.processes(machine):
        if process.name.startswith("containerd-shim") and f"/{TASKS}/" in process.folder:
            states[process.folder.partition(f"/{TASKS}/")[0]] = None
        held = {name for word in process.words if (name := _held(machine, word))}
        found += [Use(version=name, holder=f"process {process.pid} ({process.name})") for name in sorted(held)]
    for state in states:
        for bundle in sorted(machines.at(machine, f"{state}/{TASKS}").glob("*/*")):
            remembered = _remembered(bundle)
            if name := _held(machine, remembered):
                found.append(Use(version=name, holder=f"container {bundle.name}"))
            elif not remembered and _young(bundle):
                found.append(Use(version=ANY, holder=f"container {bundle.name}, which is being made"))
    return tuple(dict.fromkeys(found))


def _held(machine: Machine, path: str) -> str:
    """Return the version that a remembered path means now; a path through the link means what it leads to."""
    return named(linked(machine) if path == LINK else path)


def _young(bundle: Path) -> bool:
    with suppress(OSError):
        return time.time() - bundle.stat().st_mtime < YOUNG
    return False


def _remembered(bundle: Path) -> str:
    """Return the runtime of a bundle: containerd's shim writes it to `runtime`, and all its options to `options.json`."""
    with suppress(OSError):
        if written := (bundle / "runtime").read_text(encoding="utf-8").strip():
            return written
    with suppress(OSError, ValueError):
        options = json.loads((bundle / "options.json").read_text(encoding="utf-8"))
        return str(options.get("binary_name", "")) if isinstance(options, dict) else ""
    return ""


def sweep(machine: Machine, *keep: str) -> tuple[str, ...]:
    """Remove every version that nothing holds, but those to keep (names); return the others that had to stay."""
    held = {use.version for use in uses(machine)}
    stay = []
    for name in present(machine):
        if name in keep:
            continue
        if name in held or ANY in held:
            stay.append(name)
            continue
        shutil.rmtree(machines.at(machine, f"{FOLDER}/{name}"), ignore_errors=True)
    for partial in _partials(machine):
        shutil.rmtree(partial, ignore_errors=True)
    return tuple(stay)


def _partials(machine: Machine) -> Iterator[Path]:
    return machines.at(machine, FOLDER).glob(f"{durable.PARTIAL}*")
