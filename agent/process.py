"""An attempt's supervisor, as the agent sees it: start one, look at what it has written, tell it something."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import errno
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import descriptors, priority, supervisor
from agent.supervisor import files, mounts, processes, program
from reconciler import errors
from reconciler.core import observed

SUPERVISOR = str(Path(supervisor.__file__).parent)
TRACE_TAIL = 2000


class Presence(enum.Enum):
    """What there is of an attempt's process."""

    ABSENT = "absent"
    """No supervisor, and nothing was ever started."""
    STARTING = "starting"
    """A supervisor that has not started the program yet."""
    LIVE = "live"
    ORPHANED = "orphaned"
    """It was started, its end is not recorded, and no supervisor stands by it."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the supervisor's files say now."""

    presence: Presence
    started_at: float | None = None
    ended_at: float | None = None
    exit: observed.Exit | None = None
    image: str = ""
    """Of a container that is still to be made: what names the image that was prepared for it, and no other."""
    held: str = ""
    """A sentence where somebody else holds still what runs."""


def look(folder: Path) -> Look:
    """Read the supervisor's files in the order that makes the answer true whatever happens meanwhile."""
    attended = _attended(folder)
    started = files.read(str(folder), files.STARTED)
    result = files.read(str(folder), files.RESULT)
    at = float(started["at"]) if started else None
    if result is not None and result["gone"]:
        return Look(presence=Presence.ENDED, started_at=at, ended_at=float(result["at"]), exit=_exit(result))
    if started is None and not files.there(str(folder), files.STARTED):
        return Look(presence=Presence.STARTING if attended else Presence.ABSENT)
    return Look(presence=Presence.LIVE if attended else Presence.ORPHANED, started_at=at)


def over(folder: Path) -> bool:
    """Whether the process that was started is certainly gone, by the record of its start."""
    started = files.read(str(folder), files.STARTED)
    if started is None:
        return False
    return bool(started["boot"] != processes.boot()) or not processes.alive(started["pid"], started["start"])


def prepare(folder: Path, launch: program.Launch, owner: tuple[int, int] | None) -> None:
    """Write down what to start, and make the FIFOs. `owner` is who the program runs as, where it is not us."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(launch.logs).mkdir(mode=0o700, exist_ok=True)
    for name in (files.CONTROL, files.OUTPUT):
        with contextlib.suppress(FileExistsError):
            os.mkfifo(folder / name, 0o600)
    if owner is not None:
        os.chown(folder / files.OUTPUT, *owner)  # so that a program may open /dev/stdout
    update(folder, launch)


def launched(folder: Path) -> program.Launch | None:
    """Return what a supervisor is told to start; None where that is not written down, or cannot be read."""
    value = files.read(str(folder), files.LAUNCH)
    try:
        return None if value is None else program.launch(value)
    except KeyError:
        return None


def equipped(folder: Path) -> bool:
    """Whether a supervisor finds what it needs to take over a program that runs."""
    return launched(folder) is not None and all((folder / name).is_fifo() for name in (files.CONTROL, files.OUTPUT))


def note_started(folder: Path) -> None:
    """Note that the program was started, where the record of that is gone: no supervisor may begin it again."""
    if not files.there(str(folder), files.STARTED):
        files.write(str(folder), files.STARTED, {})


def update(folder: Path, launch: program.Launch) -> None:
    """Replace what a supervisor that is started later will read."""
    files.write(str(folder), files.LAUNCH, launch._asdict())


def adjust(folder: Path, timeout: float | None, grace: float) -> None:
    """Change the bounds of a program that runs, also for a supervisor that will adopt it."""
    launch = launched(folder)
    if launch is not None:
        update(folder, launch._replace(timeout=timeout, grace=grace))
    tell(folder, {"timeout": timeout})


class Child:
    """A supervisor that we started: it is ours to bury, and not ours to end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        """Exit status once it has ended; negative: the signal."""

    def poll(self) -> int | None:
        """Bury it if it has ended; return its status, None while it lives."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        """Bury it once it has ended."""
        return self._wait(0)

    def _wait(self, options: int) -> int | None:
        if self.status is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:
                self.status = -1  # somebody else has buried it
            else:
                self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status


def start(folder: Path, secrets: Mapping[str, str]) -> Child:
    """Start a supervisor. It starts the program at most once in this folder's life, else it adopts or records.

    Secrets travel through a pipe: a supervisor whose agent dies before all are written starts nothing.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    trace = os.open(folder / files.TRACE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    secrets_in, secrets_out = os.pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", SUPERVISOR, str(folder)],
            kept,
            file_actions=[(os.POSIX_SPAWN_DUP2, number, at) for at, number in enumerate((secrets_in, trace, trace))],
            setsid=True,
            setsigmask=[],
        )
    except OSError as error:
        os.close(secrets_out)
        raise errors.Unavailable(f"a supervisor cannot be started: {error.strerror}", where=str(folder)) from error
    finally:
        os.close(trace)
        os.close(secrets_in)
    descriptors.give_back(pid)
    priority.give_back(pid)
    with contextlib.suppress(BrokenPipeError), open(secrets_out, "wb") as pipe:
        pipe.write(json.dumps(dict(secrets)).encode())  # in vain where there is one already, or the end is recorded
    return Child(pid)


def can_close() -> bool:
    """Return whether a supervisor on this host can close folders to its program (see `supervisor.mounts`)."""
    tried = subprocess.run([sys.executable, "-I", "-S", mounts.__file__], capture_output=True, check=False)
    return tried.returncode == 0


def tell(folder: Path, command: Mapping[str, Any]) -> bool:
    """Pass a command to the supervisor; False when there is none."""
    try:
        descriptor = os.open(folder / files.CONTROL, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise errors.Unavailable(f"the supervisor cannot be told: {error.strerror}", where=str(folder)) from error
    try:
        os.write(descriptor, json.dumps(dict(command)).encode() + b"\n")
    except OSError:
        return False  # it has ended meanwhile
    finally:
        os.close(descriptor)
    return True


def trace(folder: Path) -> str:
    """Return the last words of a supervisor."""
    try:
        return (folder / files.TRACE).read_bytes()[-TRACE_TAIL:].decode(errors="replace").strip()
    except OSError:
        return ""


def _attended(folder: Path) -> bool:
    """Whether a supervisor lives: it alone reads the control FIFO."""
    try:
        os.close(os.open(folder / files.CONTROL, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _exit(result: Mapping[str, Any]) -> observed.Exit:
    known = {field.name for field in dataclasses.fields(observed.Exit)}
    values = {name: value for name, value in result.items() if name in known}
    return observed.Exit(**{**values, "kind": observed.ExitKind(result["kind"])})
