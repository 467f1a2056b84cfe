"""One call of the runtime: how it was made, what root allows here, and how its engine hears why it failed."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

Config: TypeAlias = "dict[str, Any]"

ETC = os.environ.get("PERDURE_ETC", "/etc/perdure")
RUN = os.environ.get("PERDURE_RUN", "/run/perdure")
LOG_BYTES = 1 << 20
"""The log is renamed to `….1` when it has grown beyond this."""
VALUED = frozenset(
    {"b", "bundle", "console-socket", "pid-file", "preserve-fds", "pidfd-socket"}
    | {"image-path", "work-path", "parent-path", "status-fd", "page-server", "manage-cgroups-mode", "empty-ns"}
    | {"lsm-profile", "lsm-mount-context"}
)
"""Flags of `create`, `restore` and `checkpoint` that have a value."""


class Refused(Exception):
    """The container is not created. The message is one line, for whoever started it."""


class Call(NamedTuple):
    """One call of the runtime, as the prologue has read it."""

    command: str
    real: str
    root: str
    container: str
    bundle: str
    log: str
    at: int
    """Which of `argv` is the subcommand, counted from 1."""
    argv: tuple[str, ...]

    @property
    def namespace(self) -> str:
        """The engine's name for its part of the containers: `moby`, `k8s.io`."""
        return os.path.basename(os.path.normpath(self.root))

    @property
    def home(self) -> str:
        """Folder of what we keep of the container; that it exists makes the prologue call us again."""
        return os.path.join(RUN, "containers", self.namespace, self.container)

    @property
    def exists(self) -> bool:
        """Whether the real runtime knows the container."""
        return os.path.exists(os.path.join(self.root, self.container))

    def other(self, *words: str) -> list[str]:
        """Return the command line of another subcommand: the engine's global flags stay."""
        return [self.real, *self.argv[: self.at - 1], *words]

    def become_real(self) -> None:
        """Go on as the real runtime, called as we were called. Does not return."""
        os.execv(self.real, [self.real, *self.argv])

    def arguments(self) -> list[str]:
        """Return the words of the subcommand that are no flags."""
        return [word for word in self.argv[self.at :] if not word.startswith("-")]

    def flags(self) -> Iterator[tuple[str, str | None]]:
        """Yield the flags of the subcommand with their values; None for a switch."""
        words = iter(self.argv[self.at :])
        for word in words:
            if word == "--":
                return
            name, equals, value = word.lstrip("-").partition("=")
            if word.startswith("-"):
                yield name, value if equals else next(words, "") if name in VALUED else None


def host() -> Config:
    """Return what root allows on this machine (schemas/host/runtime.json). Raises `Refused`."""
    path = os.path.join(ETC, "runtime.json")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW)) as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
                raise Refused(f"{path} must belong to root and be writable by nobody else")
            machine: Config = json.load(file)
            return machine
    except FileNotFoundError as error:
        raise Refused(f"{path} is not there. Run: perdure-agent install") from error
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read ({error}). Run: perdure doctor --host") from error


def note(machine: Config, call: Call, text: str) -> None:
    """Append to our own log, which no engine sees. That it cannot be written stops nothing."""
    with suppress(OSError):
        path = machine["log"]
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        with suppress(FileNotFoundError):
            if os.stat(path).st_size > LOG_BYTES:
                os.replace(path, path + ".1")
        line = f"{_now()} {call.command} {call.namespace}/{call.container[:12]} {text}".replace("\n", "\n  ")
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(line + "\n")


def complain(call: Call, text: str) -> None:
    """Tell the engine as runc does: the last error of its `--log` is what `docker run` shows."""
    text = " ".join(f"perdure: {text}".split())
    if call.log:
        with suppress(OSError), open(call.log, "a") as file:
            file.write(json.dumps({"level": "error", "msg": text, "time": _now()}) + "\n")
    sys.stderr.write(text + "\n")


def read_json(*path: str) -> Config:
    """Return the object that a file holds. Raises OSError and ValueError."""
    with open(os.path.join(*path)) as file:
        said = json.load(file)
    if not isinstance(said, dict):
        raise ValueError(f"{path[-1]} is not an object")
    return said


def write_json(value: Config, *path: str) -> None:
    """Replace a file by a whole one with the same modes; a new one is root's alone."""
    place = os.path.join(*path)
    mode = os.stat(place).st_mode & 0o777 if os.path.exists(place) else 0o600
    with open(os.open(place + ".perdure", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "w") as file:
        json.dump(value, file)
    os.replace(place + ".perdure", place)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
