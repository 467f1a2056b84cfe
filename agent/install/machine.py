"""The machine that is looked at or changed, as an outside thing: its files below a root, its programs, its processes.

Paths of the machine are text and begin with a slash; `at` says where such a path really is. On a real machine the root is `/`,
in tests it is a directory tree: everything but running programs is then exactly the same.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket as sockets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import docker

from reconciler import errors
from reconciler.seams import durable

SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Folders of programs: what services have in PATH, whatever the shell of the person at the keyboard has."""

MISSING = 127
"""Exit status of a program that is not there, as shells count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a program ended."""

    status: int
    out: str = ""
    err: str = ""

    @property
    def said(self) -> str:
        """Its last words, on one line."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1].strip() if lines else f"exit status {self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of the machine."""

    pid: int
    user: int
    words: tuple[str, ...]
    folder: str
    """Its working directory; empty where that cannot be read."""

    @property
    def name(self) -> str:
        """File name of its program."""
        return os.path.basename(self.words[0]) if self.words else ""


class Machine(Protocol):
    """What installing and examining need of a machine."""

    @property
    def root(self) -> Path:
        """Folder that the machine's `/` is."""
        ...

    @property
    def user(self) -> int:
        """Effective user id of whoever looks."""
        ...

    @property
    def owner(self) -> int:
        """User id that root's files have."""
        ...

    @property
    def patience(self) -> float:
        """Seconds that an engine has to use a new configuration."""
        ...

    def run(self, words: Sequence[str], seconds: float = 60.0) -> Answer:
        """Run a program to its end. Never raises: one that is missing or hangs is a status of its own."""
        ...

    def reload(self, pid: int) -> None:
        """Ask a process to read its configuration again (SIGHUP). A process that is gone is no error."""
        ...

    def docker(self, socket: str) -> Mapping[str, Any] | None:
        """Return what dockerd says about itself (`GET /info`); None while it does not answer."""
        ...

    def answers(self, socket: str) -> bool:
        """Whether somebody listens on a unix socket."""
        ...


class System:
    """This machine."""

    root = Path("/")
    owner = 0
    patience = 30.0

    @property
    def user(self) -> int:
        """Effective user id of this process."""
        return os.geteuid()

    def run(self, words: Sequence[str], seconds: float = 60.0) -> Answer:
        """Run a program to its end, in the C locale and with the folders of `SEARCHED` in PATH."""
        environment = {**os.environ, "PATH": ":".join(SEARCHED), "LC_ALL": "C"}
        try:
            done = subprocess.run(
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError:
            return Answer(status=MISSING, err=f"{words[0]}: not found")
        except OSError as error:
            return Answer(status=126, err=f"{words[0]}: {error.strerror}")
        except subprocess.TimeoutExpired:
            return Answer(status=124, err=f"`{shlex.join(words)}` did not end within {seconds:g} seconds")
        return Answer(status=done.returncode, out=done.stdout, err=done.stderr)

    def reload(self, pid: int) -> None:
        """Send SIGHUP."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)

    def docker(self, socket: str) -> Mapping[str, Any] | None:
        """Ask dockerd over its socket."""
        try:
            client = docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=10)
            with client:
                found: Mapping[str, Any] = client.info()
                return found
        except (docker.errors.DockerException, OSError):  # what requests raises is an OSError
            return None

    def answers(self, socket: str) -> bool:
        """Connect, and hang up."""
        with sockets.socket(sockets.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(socket)
            except OSError:
                return False
        return True


def at(machine: Machine, path: str) -> Path:
    """Return where a path of the machine is."""
    return machine.root / path.lstrip("/")


def read(machine: Machine, path: str) -> bytes | None:
    """Return the content of a file, None when there is none. Raises `errors.Unavailable` when it cannot be read."""
    return durable.read(at(machine, path))


def text(machine: Machine, path: str) -> str:
    """Return the content of a file that somebody else keeps; empty when it cannot be read."""
    try:
        return at(machine, path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def find(machine: Machine, program: str) -> str:
    """Return the path of a program, searched as services search it; empty when there is none."""
    for folder in SEARCHED:
        path = f"{folder}/{program}"
        if at(machine, path).is_file() and os.access(at(machine, path), os.X_OK):
            return path
    return ""


def processes(machine: Machine) -> Iterator[Process]:
    """Yield every process, in the order of their ids. One that ends meanwhile is left out, and so are those of nested machines:
    containers have process ids of their own, and an engine in one is not this machine's.
    """
    proc = at(machine, "/proc")
    own = _numbering(proc / "self")
    for pid in sorted(int(entry.name) for entry in proc.glob("[0-9]*") if entry.name.isdigit()):
        folder = proc / str(pid)
        with suppress(OSError):
            if _numbering(folder) != own:
                continue
            words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            user = _user((folder / "status").read_text(encoding="utf-8", errors="replace"))
            where = ""
            with suppress(OSError):
                where = os.readlink(folder / "cwd")
            yield Process(pid=pid, user=user, words=tuple(os.fsdecode(word) for word in words), folder=where)


def _numbering(process: Path) -> str:
    """Return the namespace in which a process has its id; empty where that cannot be told."""
    with suppress(OSError):
        return os.readlink(process / "ns" / "pid")
    return ""


def _user(status: str) -> int:
    """Return the effective user of a process from its `status` (proc(5))."""
    line = next((line for line in status.splitlines() if line.startswith("Uid:")), "Uid: -1 -1")
    return int(line.split()[2])


def daemon(machine: Machine, name: str, pid_file: str) -> Process | None:
    """Return the process of a service by its pid file; where there is none, root's first process of that name."""
    every = [each for each in processes(machine) if each.name == name]
    number = text(machine, pid_file).strip()
    if number.isdigit():
        return next((each for each in every if each.pid == int(number)), None)
    return next((each for each in every if each.user == 0), None)


def option(words: Sequence[str], *names: str) -> str:
    """Return the value of a program's option, given as a word of its own or after `=`; empty when it is not given."""
    for number, word in enumerate(words):
        if word in names:
            return words[number + 1] if number + 1 < len(words) else ""
        if word.startswith(tuple(f"{name}=" for name in names)):
            return word.partition("=")[2]
    return ""


def installing(machine: Machine, package: str) -> str:
    """Return the command that installs a package of the machine's distribution."""
    about = text(machine, "/etc/os-release")
    words = {line.partition("=")[2].strip('"') for line in about.splitlines() if line.startswith(("ID=", "ID_LIKE="))}
    family = " ".join(words)
    if "debian" in family or "ubuntu" in family:
        return f"apt-get install -y {package}"
    if "fedora" in family or "rhel" in family:
        return f"dnf install -y {package}"
    return f"install the package {package}"


def root_only(machine: Machine) -> None:
    """Raise `errors.UsageError` unless this is root's process."""
    if machine.user != 0:
        raise errors.UsageError("only root can do this", remedy="Run it again with sudo.")
