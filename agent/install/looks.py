"""The looks of `agent.install.prerequisites`: each at one thing of the machine."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from agent.install import dockerd, hostfile, installing, programs, versions
from agent.install import machine as machines
from agent.install.engine import Engine
from agent.install.machine import Machine
from reconciler import errors

SPOOLS = "/var/lib"

START = "systemctl enable --now perdure-agent"

LOW = 2 << 30
"""Bytes of free space below which a warning is worth it."""

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_CHROOT": 18, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}
"""What criu and runc do without which nothing works, and its bit (linux/capability.h)."""

CRIU_CONFIGS = ("/etc/criu/default.conf", "/etc/criu/runc.conf")

CONFLICTS = ("images-dir", "work-dir", "log-file", "leave-running", "leave-stopped", "tcp-close", "action-script", "stream")
"""Options of those files that would override what a checkpoint depends on (checkpointctl #213)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How one prerequisite stands."""

    subject: str = ""
    state: str
    """ok, warn or fail."""
    text: str
    remedy: str = ""


def _ok(text: str) -> Found:
    return Found(state="ok", text=text)


def _fail(text: str, remedy: str) -> Found:
    return Found(state="fail", text=text, remedy=remedy)


def linux(machine: Machine) -> Iterator[Found]:
    """Whether this is Linux."""
    release = machines.text(machine, "/proc/sys/kernel/osrelease").strip()
    if release:
        yield _ok(f"Linux {release}")
    else:
        yield _fail(f"this is {platform.system()}", "Run jobs with an image on a Linux machine.")


def root(machine: Machine) -> Iterator[Found]:
    """Whether this is root."""
    if machine.user == 0:
        yield _ok("this is root")
    else:
        yield _fail(f"this is user {machine.user}", "Run it as root: sudo perdure doctor --host")


def capabilities(machine: Machine) -> Iterator[Found]:
    """Whether root may do what CRIU does."""
    line = re.search(r"^CapEff:\s*([0-9a-f]+)", machines.text(machine, "/proc/self/status"), re.MULTILINE)
    held = int(line[1], 16) if line else 0
    missing = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    if missing:
        yield _fail(f"root lacks {', '.join(missing)}", "Run it on the machine itself, or in a container with --privileged.")
    else:
        yield _ok("root may trace processes and change mounts and networks")


def kernel(machine: Machine) -> Iterator[Found]:
    """Whether the kernel tells a process apart."""
    if machines.at(machine, "/proc/sys/kernel/ns_last_pid").exists() and machines.at(machine, "/proc/self/map_files").exists():
        yield _ok("built with CONFIG_CHECKPOINT_RESTORE")
    else:
        yield _fail("the kernel was built without CONFIG_CHECKPOINT_RESTORE", "Boot the kernel of the distribution.")


def tracing(machine: Machine) -> Iterator[Found]:
    """Whether root may stop a process by ptrace."""
    if machines.text(machine, "/proc/sys/kernel/yama/ptrace_scope").strip() == "3":
        yield _fail(
            "kernel.yama.ptrace_scope is 3: not even root may trace a process",
            "echo kernel.yama.ptrace_scope=1 > /etc/sysctl.d/90-ptrace.conf, and reboot: the kernel does not go back from 3.",
        )
    else:
        yield _ok("root may trace")


def freezer(machine: Machine) -> Iterator[Found]:
    """Whether there is a freezer, in either version of control groups."""
    if machines.at(machine, "/sys/fs/cgroup/cgroup.controllers").exists():
        yield _ok("cgroup v2")
    elif _mounted(machine, "freezer"):
        yield _ok("cgroup v1 with the freezer")
    else:
        yield _fail(
            "no freezer: /sys/fs/cgroup/freezer is not mounted, and this is not cgroup v2",
            "mkdir -p /sys/fs/cgroup/freezer && mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer",
        )


def _mounted(machine: Machine, controller: str) -> bool:
    lines = machines.text(machine, "/proc/self/mountinfo").splitlines()
    behind = [line.partition(" - ")[2].split() for line in lines]
    return any(len(words) > 2 and words[0] == "cgroup" and controller in words[2].split(",") for words in behind)


def network_lock(machine: Machine) -> Iterator[Found]:
    """Whether connections can be locked."""
    missing = [name for name in ("iptables-restore", "ip6tables-restore") if not machines.find(machine, name)]
    if missing:
        yield _fail(f"{' and '.join(missing)} not found", machines.installing(machine, "iptables"))
    else:
        yield _ok("iptables-restore and ip6tables-restore are there")


def archiver(machine: Machine) -> Iterator[Found]:
    """Whether there is a tar."""
    if machines.find(machine, "tar"):
        yield _ok("tar is there")
    else:
        yield _fail("tar is not found", machines.installing(machine, "tar"))


def _told(machine: Machine) -> hostfile.HostFile | None:
    with suppress(errors.PerdureError):  # the row about the interposer says what is wrong with it
        return hostfile.load(machine)
    return None


def runc(machine: Machine) -> Iterator[Found]:
    """Whether the real runtime can restore."""
    told = _told(machine)
    path = told.runc if told else machines.find(machine, "runc")
    problem, remedy = programs.runc_problem(machine, path)
    yield _fail(problem, remedy) if problem else _ok(f"{path} {programs.release_of(machine, path)}, built with checkpoints")


def _criu_path(machine: Machine) -> str:
    told = _told(machine)
    return told.criu if told else machines.find(machine, "criu")


def criu(machine: Machine) -> Iterator[Found]:
    """Whether there is a criu, and a new enough one."""
    path = _criu_path(machine)
    problem, remedy = programs.criu_problem(machine, path)
    if versions.named(path) and problem:  # a copy of ours: it is made anew of the one in PATH, where that is any better
        _, first = programs.criu_problem(machine, machines.find(machine, "criu"))
        remedy = f"{first}; perdure-agent install" if first else "perdure-agent install"
    if problem:
        yield _fail(problem, remedy)
        return
    limit, remedy = programs.socket_problem(machine, path)
    yield Found(state="warn", text=limit, remedy=remedy) if limit else _ok(f"{path} {programs.release_of(machine, path)}")


def criu_check(machine: Machine) -> Iterator[Found]:
    """Whether the kernel does what criu needs, by its own account."""
    path = _criu_path(machine)
    if lacking := programs.kernel_problem(machine, path):
        yield _fail(f"`{path} check` finds: {lacking}", "Boot a newer kernel, or one with what it names.")
    else:
        yield _ok("the kernel can what this criu needs")


def criu_config(machine: Machine) -> Iterator[Found]:
    """Whether criu's files leave alone what we ask of it."""
    clean = True
    for path in CRIU_CONFIGS:
        lines = [line.strip().lstrip("-") for line in machines.text(machine, path).splitlines()]
        named = [name for name in CONFLICTS if any(re.match(rf"{name}(\s|=|$)", line) for line in lines)]
        if named:
            clean = False
            yield _fail(f"{path} sets {', '.join(named)}", f"Take it out of {path}.")
    if clean:
        yield _ok("no configuration file of criu is in the way")


def engine(machine: Machine) -> Iterator[Found]:
    """Whether each engine can take the interposer."""
    here = [engine for engine in installing.ENGINES if engine.here(machine)]
    if not here:
        yield _fail("no container engine is here", machines.installing(machine, "docker.io"))
        return
    for engine in here:
        refused = _refusal(machine, engine)
        yield refused or _ok(f"{engine.name} can take the interposer")


def _refusal(machine: Machine, engine: Engine) -> Found | None:
    try:
        engine.install(machine, f"{versions.FOLDER}/any/{versions.PROGRAM}")
    except errors.PerdureError as error:
        return _fail(f"{engine.name}: {error.where}: {error.message}", error.remedy)
    return None


def interposer(machine: Machine) -> Iterator[Found]:
    """Whether its files are there, whole, and of this release."""
    told = hostfile.load(machine)
    if told is None:
        yield _fail(f"{hostfile.PATH} is not there", "perdure-agent install")
        return
    lines = machines.text(machine, hostfile.PROGRAMS).splitlines()
    if lines != [told.runc, told.python]:
        yield _fail(f"{hostfile.PROGRAMS} does not say what {hostfile.PATH} says", "perdure-agent install")
        return
    if not machines.at(machine, told.python).is_file():
        yield _fail(f"its Python, {told.python}, is not there", "perdure-agent install")
        return
    version = versions.made(machines.at(machine, told.criu).read_bytes())
    loose = [path for path in (versions.FOLDER, version.folder, version.program) if _loose(machine, path)]
    if loose:
        yield _fail(f"others can change {loose[0]}", f"chown -R root:root {loose[0]}; chmod -R go-w {loose[0]}")
    elif versions.intact(machine, version):
        yield _ok(f"{version.folder}, and nothing in it was changed")
    else:
        yield _fail(
            f"{version.folder} is not there as this release has it: it is of another one, or was changed",
            "perdure-agent upgrade",
        )


def _loose(machine: Machine, path: str) -> bool:
    place = machines.at(machine, path)
    about = place.stat() if place.exists() else None
    return about is not None and (about.st_uid != machine.owner or bool(about.st_mode & 0o022))


def used(machine: Machine) -> Iterator[Found]:
    """Whether each engine is configured to use it, and dockerd does."""
    for engine in installing.ENGINES:
        program = engine.installed(machine)
        if not program and not engine.here(machine):
            continue
        if not program:
            yield _fail(f"{engine.name} is not configured to use it", f"perdure-agent install --engine {engine.name}")
        elif not machines.at(machine, program).is_file():
            yield _fail(f"{engine.name} is told to use {program}, which is not there", "perdure-agent install")
        else:
            yield from _running(machine, engine, program)


def _running(machine: Machine, engine: Engine, program: str) -> Iterator[Found]:
    if engine.name != dockerd.Docker.name:
        yield _ok(f"{engine.name} is configured to use it")
    elif not (about := machine.docker(dockerd.SOCKET)):
        yield _fail("dockerd does not answer", "systemctl start docker; journalctl -u docker")
    elif about.get("DefaultRuntime") != dockerd.NAME or about.get("Runtimes", {}).get(dockerd.NAME, {}).get("path") != program:
        yield _fail(
            f"dockerd uses {about.get('DefaultRuntime')}: it has not read its configuration since", "systemctl reload docker"
        )
    else:
        yield _ok("dockerd uses it for every container")


def agent(machine: Machine) -> Iterator[Found]:
    """Whether the agent answers."""
    told = hostfile.load(machine)
    socket = told.socket if told else ""
    if machine.answers(socket):
        yield _ok(f"it answers on {socket}")
    elif told and told.arch.roots:
        text = f"nobody answers on {socket}: the variables of ARCH work, jobs of a reconciler do not"
        yield Found(state="warn", text=text, remedy=START)
    else:
        yield _fail(f"nobody answers on {socket}", START)


def space(machine: Machine) -> Iterator[Found]:
    """Whether there is room for a spool."""
    place = machines.at(machine, SPOOLS)
    free = shutil.disk_usage(place).free if place.is_dir() else LOW
    if free < LOW:
        yield Found(state="warn", text=f"{SPOOLS} has only {free >> 20} MiB left", remedy="Free some space.")
    else:
        yield _ok(f"there is room below {SPOOLS}")
