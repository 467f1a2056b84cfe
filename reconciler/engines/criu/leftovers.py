"""What a dump leaves when whoever asked for it dies: its folder, perhaps a frozen cgroup, perhaps a locked network.

Every dump writes down beforehand what it may leave. Sources: CRIU `criu/net.c` (chain `CRIU` in INPUT and OUTPUT),
`criu/netfilter.c` (tables `inet CRIU-<id>`), kernel documentation of the cgroup freezers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import select
import shutil
import signal
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from reconciler.contracts import engine
from reconciler.engines.criu import program, runtime_state
from reconciler.engines.criu.runtime_state import State

TRACE = "trace.json"
PATIENCE = 60.0
"""Seconds that criu has to undo what it did once its socket is closed; then it is killed."""

_TABLES = ("iptables", "ip6tables")
_UNLOCK = (["-D", "INPUT", "-j", "CRIU"], ["-D", "OUTPUT", "-j", "CRIU"], ["-F", "CRIU"], ["-X", "CRIU"])
_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One dump and what it holds."""

    container: str
    pid: int
    started: int
    freezer: str
    network: str
    paused: bool = False
    """Somebody held it still before the dump began, who will let it go on: its engine would not know that we did."""
    criu: int = 0
    criu_started: int = 0

    @property
    def lives(self) -> bool:
        """Whether the container still runs."""
        return runtime_state.started(self.pid) == self.started


def begin(root: Path, container: engine.Container, state: State) -> tuple[Path, Trace]:
    """Make a folder for one dump, with its trace. Raises OSError."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root / secrets.token_hex(8)
    folder.mkdir(mode=0o700)
    for name in (program.IMAGES, program.WORK):
        (folder / name).mkdir(mode=0o700)
    trace = Trace(
        container=container.id,
        pid=state.pid,
        started=state.started,
        freezer=state.freezer,
        network=state.network,
        paused=frozen(state.freezer),
    )
    _write(folder, trace)
    return folder, trace


def running(folder: Path, trace: Trace, criu: int) -> Trace:
    """Add the process of the dump to its trace."""
    trace = replace(trace, criu=criu, criu_started=runtime_state.started(criu) or 0)
    _write(folder, trace)
    return trace


def calm(trace: Trace) -> None:
    """Wait until criu has undone what it did, and undo what it could not. Nothing happens to a container that is well."""
    if trace.criu and not _ended(trace, PATIENCE):
        log.warning("criu of container %s does not end: it is killed", trace.container[:12])
        with contextlib.suppress(ProcessLookupError):
            os.kill(trace.criu, signal.SIGKILL)
        _ended(trace, PATIENCE)
    if not trace.lives:
        return
    if frozen(trace.freezer) and not trace.paused:
        log.warning("container %s was left frozen: thawed", trace.container[:12])
        thaw(trace.freezer)
    if trace.network:
        _unlock(trace)


def discard(folder: Path) -> None:
    """Remove a dump's folder."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(root: Path) -> tuple[str, ...]:
    """Undo what dumps of an agent that is gone have left; return the containers they were of."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for folder in sorted(root.iterdir()):
            trace = _read(folder)
            if trace is not None:
                calm(trace)
                found.append(trace.container)
            discard(folder)
    return tuple(found)


def frozen(cgroup: str) -> bool:
    """Whether a cgroup is frozen, or on the way to it."""
    with contextlib.suppress(OSError):
        return (Path(cgroup) / "freezer.state").read_text().strip() != "THAWED"
    with contextlib.suppress(OSError):
        return (Path(cgroup) / "cgroup.freeze").read_text().strip() == "1"
    return False


def freeze(cgroup: str) -> None:
    """Hold a cgroup's processes still."""
    _tell(cgroup, "FROZEN", "1")


def thaw(cgroup: str) -> None:
    """Let a cgroup's processes go on."""
    _tell(cgroup, "THAWED", "0")


def _tell(cgroup: str, first: str, second: str) -> None:
    """Tell the freezer of either version of cgroups."""
    for name, word in (("freezer.state", first), ("cgroup.freeze", second)):
        with contextlib.suppress(OSError):
            descriptor = os.open(Path(cgroup) / name, os.O_WRONLY)
            try:
                os.write(descriptor, word.encode())
            finally:
                os.close(descriptor)


def _unlock(trace: Trace) -> None:
    inside = ["nsenter", f"--net={trace.network}"]
    for table in _TABLES:
        if _run([*inside, table, "-S", "CRIU"]) is None:
            continue
        log.warning("the network of container %s was left locked: unlocked", trace.container[:12])
        for words in _UNLOCK:
            _run([*inside, table, *words])
    for line in (_run([*inside, "nft", "list", "tables"]) or "").splitlines():
        words = line.split()
        if words[:2] == ["table", "inet"] and words[2].startswith("CRIU-"):
            _run([*inside, "nft", "delete", "table", "inet", words[2]])


def _run(command: list[str]) -> str | None:
    """Return what a command prints, None when it fails or is not here."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _ended(trace: Trace, seconds: float) -> bool:
    """Wait for criu's end."""
    try:
        descriptor = os.pidfd_open(trace.criu)
    except OSError:
        return True
    try:
        if runtime_state.started(trace.criu) != trace.criu_started:
            return True  # it has ended, and its number is another's
        waits = select.poll()
        waits.register(descriptor, select.POLLIN)
        return bool(waits.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _write(folder: Path, trace: Trace) -> None:
    aside = folder / f".{TRACE}"
    aside.write_text(json.dumps(asdict(trace)))
    os.replace(aside, folder / TRACE)


def _read(folder: Path) -> Trace | None:
    try:
        return Trace(**json.loads((folder / TRACE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
