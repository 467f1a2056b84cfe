"""What cannot be captured, said before anything is frozen: a table of looks at the live container, the first reason wins."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.contracts import engine
from reconciler.engines.criu import externals, mounted, runtime_state, volumes
from reconciler.engines.criu.runtime_state import State

_SOCKETS_CHANGED, _SOCKETS_SINCE = (6, 16), (4, 2)
"""Kernels that answer SO_PASSCRED of unix sockets only, and the CRIU that knows it (checkpoint-restore/criu #2705)."""

_INET = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6")

_SYS_RESOURCE = 24
"""Bit of CAP_SYS_RESOURCE (linux/capability.h): prlimit(2) wants it of who asks about another user's process."""

GPU = ("/dev/nvidia", "/dev/dri/", "/dev/kfd")

UNCAPTURABLE = (
    (
        "[io_uring]",
        "the program uses io_uring, which CRIU cannot capture",
        "Switch it off in the program (Node.js: UV_USE_IO_URING=0; Redis, PostgreSQL 18: io_method=worker).",
    ),
    (
        "[userfaultfd]",
        "the program uses userfaultfd, which CRIU cannot capture",
        "Switch off what handles its page faults (post-copy migration, lazy loading of snapshots).",
    ),
)
"""What a descriptor leads to, the reason, and what to do."""

NAMESPACES = {"mnt": "mount", "user": "user", "pid": "process", "uts": "host name", "ipc": "shared memory", "time": "time"}
"""Which CRIU keeps of a container's first process only, or a restore would refuse (`mounted`)."""

_THREAD = re.compile(r"/proc/[0-9]+/task/[0-9]+/")


@dataclass(frozen=True, slots=True)
class Look:
    """What a row of the table looks at."""

    state: State
    mounts: tuple[runtime_state.Mount, ...]
    processes: tuple[int, ...]
    """Those that are captured."""
    criu: tuple[int, ...]
    kernel: tuple[int, ...]
    volumes: tuple[str, ...] = ()
    """Names of those that its engine says are its own."""
    asks_limits: bool = True
    """This process has CAP_SYS_RESOURCE."""
    commands: tuple[int, ...] = ()
    """Processes that stand still with them: what somebody runs in the container (`docker exec`) ends where that does."""

    def descriptors(self) -> Iterator[str]:
        """Yield what every open descriptor of every process leads to."""
        for pid in self.processes:
            yield from _links(Path(f"/proc/{pid}/fd"))


Rule = Callable[[Look], engine.Cannot | None]
ProcessRule = Callable[[int], engine.Cannot | None]


def take(state: State, criu: tuple[int, ...], own: tuple[str, ...] = ()) -> Look:
    """Look at a container; `criu` is the version that would capture it, `own` the names of volumes that are its own.

    Raises `errors.Unavailable` when it is gone.
    """
    kernel = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    asks_limits = bool(_bits(os.getpid(), "CapEff") >> _SYS_RESOURCE & 1)
    everyone = runtime_state.processes(state)
    inside = runtime_state.descending(state.pid, everyone)
    commands = tuple(pid for pid in everyone if pid not in inside)
    return Look(state, runtime_state.mounts(state.pid), inside, criu, kernel, own, asks_limits, commands)


def _alive(look: Look) -> engine.Cannot | None:
    if not look.state.alive():
        return engine.Cannot(reason="the container has ended")
    return None


def _cgroups(look: Look) -> engine.Cannot | None:
    if not look.state.freezer:
        return engine.Cannot(
            reason="the container has no cgroup by which it could be frozen",
            remedy="Mount the freezer controller (cgroup version 1) or cgroup version 2.",
        )
    return None


def _shape(look: Look) -> engine.Cannot | None:
    if look.state.own_network and not look.state.network:
        return engine.Cannot(
            reason="the container was not created through the interposer: its network namespace has no name",
            remedy="Run `perdure-agent install`, then create the container again.",
        )
    return None


def _layer(look: Look) -> engine.Cannot | None:
    roots = [mount for mount in look.mounts if mount.destination == "/"]
    if not roots or roots[-1].kind != "overlay":
        kind = roots[-1].kind if roots else "unknown"
        return engine.Cannot(
            reason=f"the container's root is a mount of kind {kind}, whose changes cannot be told from the image",
            remedy="Use the engine's overlay storage driver (overlay2, overlayfs).",
        )
    return None


def _mounts(look: Look) -> engine.Cannot | None:
    outside = {*map(look.state.place, look.state.binds), *externals.cgroup_mounts(look.state.pid), *look.state.masked}
    for mount in look.mounts:
        if mount.destination in outside or mount.destination == "/":
            continue
        if mount.kind not in mounted.KINDS:
            return engine.Cannot(
                reason=f"{mount.destination} is a mount of kind {mount.kind} inside of the container or below another mount",
                remedy="Declare it as a volume of the Job, or unmount it in the program.",
            )
    return None


def _terminal(look: Look) -> engine.Cannot | None:
    slaves = {target.rpartition("/")[2] for target in look.descriptors() if target.startswith("/dev/pts/")} - {"ptmx"}
    outside = slaves - {index for pid in look.processes for index in _masters(pid)} if slaves else slaves
    if outside or "/dev/console" in look.descriptors():
        return engine.Cannot(
            reason="the program has a terminal, whose other end lies outside of the container",
            remedy="Start the container without a terminal (docker run without -t).",
        )
    return None


def _uncapturable(look: Look) -> engine.Cannot | None:
    for target in look.descriptors():
        for kind, reason, remedy in UNCAPTURABLE:
            if kind in target:
                return engine.Cannot(reason=reason, remedy=remedy)
        if _THREAD.match(target) and not os.path.exists(f"/proc/{look.state.pid}/root{target}"):
            return engine.Cannot(
                reason=f"the program has {target} open, of a thread that has ended, which CRIU cannot restore",
                remedy="Let the program close it.",
            )
    return None


def _queues(look: Look) -> engine.Cannot | None:
    for mount in look.mounts:
        if mount.kind == "mqueue" and (names := _names(Path(f"/proc/{look.state.pid}/root{mount.destination}"))):
            return engine.Cannot(
                reason=f"the container has a POSIX message queue ({mount.destination}/{names[0]}), which CRIU cannot capture",
                remedy="Let the program remove it (mq_unlink), or use System V message queues.",
            )
    return None


def _stopped(pid: int) -> engine.Cannot | None:
    if not runtime_state.stopped(pid):
        return None
    return engine.Cannot(
        reason=f"process {pid} of the container was stopped by a signal (SIGSTOP), and with cgroup version 1 CRIU "
        "waits for it without end",
        remedy=f"Let it go on (kill -CONT {pid}), or end it.",
    )


def _traced(pid: int) -> engine.Cannot | None:
    if (tracer := _status(pid, "TracerPid")) in ("", "0"):
        return None
    return engine.Cannot(
        reason=f"process {pid} of the container is traced by process {tracer}, and only one can do that at a time",
        remedy="End the debugger, strace or profiler.",
    )


def _program(pid: int) -> engine.Cannot | None:
    if not (program := _target(Path(f"/proc/{pid}/exe"))).startswith("/memfd:"):
        return None
    return engine.Cannot(
        reason=f"process {pid} of the container runs a program from memory ({program}), which CRIU cannot restore",
        remedy="Start the program from a file.",
    )


def _namespaces(look: Look) -> engine.Cannot | None:
    for kind, name in NAMESPACES.items():
        of_init = _target(Path(f"/proc/{look.state.pid}/ns/{kind}"))
        for pid in look.processes:
            if _target(Path(f"/proc/{pid}/ns/{kind}")) not in ("", of_init):
                return engine.Cannot(
                    reason=f"process {pid} of the container has made a {name} namespace of its own, which cannot be captured",
                    remedy="Switch off what isolates it within the container (unshare, bubblewrap, a sandbox).",
                )
    return None


def _leader(pid: int) -> engine.Cannot | None:
    if not _status(pid, "State").startswith("Z") or _status(pid, "Threads") in ("", "0", "1"):
        return None
    return engine.Cannot(
        reason=f"the first thread of process {pid} has ended and others go on, which CRIU cannot capture",
        remedy="Let the program's first thread wait for the others.",
    )


def _standing(rule: ProcessRule, *, control_groups: str = "") -> Rule:
    """The rule for each process that stands still, commands too; with `control_groups` only where that controller is one."""

    def applied(look: Look) -> engine.Cannot | None:
        concerned = not control_groups or control_groups in look.state.cgroups
        return _first(rule, (*look.processes, *look.commands)) if concerned else None

    return applied


def _captured(rule: ProcessRule) -> Rule:
    """The rule for each process that is captured."""
    return lambda look: _first(rule, look.processes)


def _first(rule: ProcessRule, processes: Iterable[int]) -> engine.Cannot | None:
    return next((cannot for pid in processes if (cannot := rule(pid)) is not None), None)


def _gpu(look: Look) -> engine.Cannot | None:
    for target in look.descriptors():
        if target.startswith(GPU):
            return engine.Cannot(
                reason=f"the program uses the GPU ({target}), whose memory this engine does not capture",
                remedy="Use `checkpoint.engine: application` for GPU jobs.",
            )
    return None


def _sockets(look: Look) -> engine.Cannot | None:
    if look.criu >= _SOCKETS_SINCE or look.kernel < _SOCKETS_CHANGED:
        return None
    folder = Path(f"/proc/{look.state.pid}/net")
    open_here = {f"socket:[{inode}]" for name in _INET for inode in _inodes(folder / name)}
    if open_here.isdisjoint(look.descriptors()):
        return None
    criu, kernel = (".".join(map(str, one)) for one in (look.criu, look.kernel))
    return engine.Cannot(
        reason=f"the program has network sockets, which criu {criu} cannot read on kernel {kernel}",
        remedy="Install criu 4.2 or newer.",
    )


def _users(look: Look) -> engine.Cannot | None:
    if look.asks_limits:
        return None
    for pid in look.processes:
        if any(_numbers(pid, name) - {0} for name in ("Uid", "Gid")):
            return engine.Cannot(
                reason="a process of the container has another user than root, and without CAP_SYS_RESOURCE the agent may not "
                "ask for its limits",
                remedy="Give the agent CAP_SYS_RESOURCE (a virtual machine or host that withholds it from root).",
            )
    return None


def _strange_volumes(look: Look) -> engine.Cannot | None:
    for destination, source in look.state.binds.items():
        identity = volumes.identity(source)
        if volumes.is_of_a_pod(source) or (identity and identity not in look.volumes):
            return engine.Cannot(
                reason=f"there is a volume without a name at {destination}, which its engine does not say is this container's "
                "alone: its content stays on this host",
                remedy="Declare a shared volume of the Job there, or use an image without VOLUME.",
            )
    return None


def _shared_volumes(look: Look) -> engine.Cannot | None:
    own = volumes.folders(look.state, look.volumes)
    if len(own) > volumes.MOST:
        return engine.Cannot(reason=f"the container has {len(own)} volumes of its own, and {volumes.MOST} can be kept")
    others = volumes.elsewhere(look.state, look.volumes) if own else {}
    for destination, source in own.items():
        if pid := others.get(volumes.identity(source)):
            return engine.Cannot(
                reason=f"the volume at {destination} is mounted in another container, too (process {pid}), which would go on "
                "writing to it",
                remedy="End that one, or declare a shared volume of the Job there.",
            )
    return None


RULES: tuple[Rule, ...] = (
    _alive,
    _cgroups,
    _shape,
    _layer,
    _mounts,
    _terminal,
    _uncapturable,
    _gpu,
    _queues,
    _standing(_stopped, control_groups="freezer"),  # with cgroup version 2 CRIU can stop what stands
    _standing(_traced),
    _namespaces,
    _captured(_leader),
    _captured(_program),
    _sockets,
    _users,
    _strange_volumes,
    _shared_volumes,
)


def decide(look: Look) -> engine.Can | engine.Cannot:
    """Return the first reason against a dump, if there is one."""
    for rule in RULES:
        if found := rule(look):
            return found
    return engine.Can()


def resident(processes: tuple[int, ...]) -> int:
    """Return about how many bytes of memory a dump would send: the private pages of all processes, and what they share."""
    return sum(_resident(pid) for pid in processes)


def mapped(processes: tuple[int, ...]) -> frozenset[str]:
    """Return the files that processes have mapped for shared writing, relative to the container's root."""
    found: set[str] = set()
    for pid in processes:
        try:
            lines = Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape").splitlines()
        except OSError:
            continue
        for line in lines:
            fields = line.split(None, 5)
            if len(fields) == 6 and fields[1].startswith("rw") and fields[1].endswith("s"):
                found.add(fields[5].removesuffix(" (deleted)").lstrip("/"))
    return frozenset(found)


def _masters(pid: int) -> Iterator[str]:
    """Yield the numbers of the terminals whose other end a process has (`tty-index` in fdinfo)."""
    folder = Path(f"/proc/{pid}")
    try:
        for name in os.listdir(folder / "fd"):
            if os.readlink(folder / "fd" / name) in ("/dev/ptmx", "/dev/pts/ptmx"):
                lines = (folder / "fdinfo" / name).read_text().splitlines()
                yield from (line.split()[1] for line in lines if line.startswith("tty-index:"))
    except OSError:
        return


def _numbers(pid: int, name: str) -> set[int]:
    """Return the numbers of a line of a process's status."""
    return {int(word) for word in _status(pid, name).split()}


def _bits(pid: int, name: str) -> int:
    return int(_status(pid, name) or "0", 16)


def _status(pid: int, name: str) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def _inodes(table: Path) -> Iterator[str]:
    """Yield the inodes of the sockets in a table of /proc/net."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        yield line.split()[9]


def _resident(pid: int) -> int:
    return sum(int((_status(pid, name) or "0").split()[0]) for name in ("RssAnon", "RssShmem")) * 1024


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _links(folder: Path) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if target := _target(folder / name):
            yield target


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
