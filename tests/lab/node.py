"""A node: a machine of the lab, with its own network, processes, mounts, control groups and disk."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from tests import conditions
from tests.lab import recipe
from tests.lab.cache import Cache
from tests.lab.docker import Containerd, Docker

ENTER = Path(__file__).with_name("enter.py")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
}
"""What a command in a node sees of the environment, whatever the tests run in."""

Output = int | IO[Any] | None


class CommandFailed(AssertionError):
    """A command in a node ended with another status than 0; the text has what it printed."""


class Power(Protocol):
    """What switches a node on and off: the lab's supervisor."""

    def on(self, node: Node) -> Running:
        """Boots it."""

    def off(self, node: Node) -> None:
        """Ends all its processes at once. Off already is success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A node that is on."""

    init: int
    """Its first process, as the outer machine numbers it."""
    procs: tuple[str, ...]
    """The files by which a process joins its control groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is a node's own on the outer machine."""

    index: int
    address: str
    disk: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A process that runs in a node on its own: a child of the node's init, not of the tests."""

    node: Node
    pid: int
    """As the node numbers it."""
    log: str
    """The file in the node with what it prints."""

    def alive(self) -> bool:
        """Whether it runs."""
        return self.node.running and self.node.path(f"/proc/{self.pid}").exists()

    def send(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal; a process that has ended is success."""
        self.node.run(["kill", f"-{int(number)}", str(self.pid)], check=False)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 60.0) -> None:
        """Sends a signal and waits for the end."""
        self.send(number)
        conditions.eventually(lambda: not self.alive(), timeout, message=lambda: f"it does not end:\n{self.output()}")

    def output(self) -> str:
        """The end of what it has printed."""
        log = self.node.path(self.log)
        return log.read_text(errors="replace")[-6000:] if log.exists() else ""


class Node:
    """Made by `Lab.node`. Its disk outlives `kill` and `restart`; /run, /tmp and its processes do not."""

    def __init__(self, name: str, place: Place, *, power: Power, cache: Cache, binds: Sequence[Path]) -> None:
        self.name = name
        self.index = place.index
        self.disk = place.disk
        """Where the outer machine keeps it: `upper` is its root's own part, `data` the engines' directories."""
        self.address = place.address
        """Its IPv4 address, which the other nodes and the outer machine reach."""
        self.binds = tuple(binds)
        self._power = power
        self._cache = cache
        self._on: Running | None = None

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.address}, {'on' if self.running else 'off'})"

    @property
    def running(self) -> bool:
        """Whether it is on."""
        return self._on is not None

    @property
    def init(self) -> int:
        """The outer process id of its first process."""
        assert self._on, f"node {self.name} is off"
        return self._on.init

    def path(self, inside: str) -> Path:
        """A path of the node's own file system, as the tests can open it; unix sockets too."""
        return Path(f"/proc/{self.init}/root") / inside.removeprefix("/")

    def command(self, argv: Sequence[str], *, cwd: str = "/", env: Mapping[str, str] | None = None) -> list[str]:
        """The command of the outer machine that runs `argv` in the node, for what starts processes by itself."""
        assert self._on, f"node {self.name} is off"
        wanted = {
            "init": self._on.init,
            "procs": self._on.procs,
            "folder": cwd,
            "environment": {**ENVIRONMENT, **(env or {})},
        }
        return [sys.executable, "-IS", str(ENTER), json.dumps(wanted), *argv]

    def popen(
        self,
        argv: Sequence[str],
        *,
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = subprocess.PIPE,
        stderr: Output = subprocess.STDOUT,
    ) -> subprocess.Popen[str]:
        """Starts a command. Signals to the answer reach it, its exit status is the command's; it ends with the answer."""
        command = self.command(argv, cwd=cwd, env=env)
        return subprocess.Popen(
            command, env={}, stdin=stdin, stdout=stdout, stderr=stderr, text=True, errors="replace", start_new_session=True
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 120.0,
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end. Raises CommandFailed where `check` and the status is not 0."""
        feed: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        result = subprocess.run(
            self.command(argv, cwd=cwd, env=env),
            env={},
            check=False,
            timeout=timeout,
            capture_output=True,
            text=True,
            errors="replace",
            start_new_session=True,
            **feed,
        )
        result.args = list(argv)  # how a node is entered says nothing to a reader
        if check and result.returncode:
            raise CommandFailed(
                f"{self.name}: {shlex.join(argv)} ended with {result.returncode}\n"
                f"{result.stdout[-4000:]}{result.stderr[-4000:]}"
            )
        return result

    def out(self, *argv: str) -> str:
        """What a command prints, without the last line's end."""
        return self.run(argv).stdout.rstrip("\n")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Writes a file of the node, with its folders."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def daemon(self, argv: Sequence[str], *, log: str, env: Mapping[str, str] | None = None, cwd: str = "/") -> Daemon:
        """Starts a process that the node's init adopts; its output is appended to `log`."""
        script = 'log=$1; shift; mkdir -p "${log%/*}"; setsid "$@" >> "$log" 2>&1 < /dev/null & echo $!'
        result = self.run(["/bin/sh", "-c", script, "sh", log, *argv], env=env, cwd=cwd)
        return Daemon(node=self, pid=int(result.stdout), log=log)

    def docker(self, options: Mapping[str, Any] | None = None, images: Sequence[str] = recipe.USUAL) -> Docker:
        """Starts dockerd, waits for it, and gives it images of the lab. `options` are daemon.json's."""
        return Docker(node=self, cache=self._cache, options=options or {}, images=images).start()

    def containerd(self, config: str = "version = 2\n") -> Containerd:
        """Starts containerd with this config.toml and waits for it."""
        return Containerd(node=self, cache=self._cache, config=config).start()

    def start(self) -> None:
        """Switches it on."""
        assert self._on is None, f"node {self.name} is on"
        self._on = self._power.on(self)

    def kill(self) -> None:
        """The machine is gone at once, with every process; only its disk stays."""
        self._on = None
        self._power.off(self)

    def restart(self) -> None:
        """The machine loses its power and boots again. Its engines are not started."""
        self.kill()
        self.start()
