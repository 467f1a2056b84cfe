"""The two programs that do the work: runc and criu. Which ones, and whether they can."""

from __future__ import annotations

import json
import os
import re
import sys

from agent.install import machine as machines
from agent.install import versions
from agent.install.machine import Machine

Release = tuple[int, ...]

OLDEST_RUNC: Release = (1, 1)
"""The first that tells by `runc features` whether it was built with checkpoints."""

OLDEST_CRIU: Release = (4, 0)
"""Older ones do not know what kernels from 6.x on do (3.17 fails on 6.18)."""

SOCKETS_CHANGED: Release = (6, 16)
SOCKETS_KNOWN: Release = (4, 2)
"""Kernels on which only a newer criu can read network sockets (checkpoint-restore/criu #2705)."""

OLDEST_PYTHON: Release = (3, 8)
"""What `agent.runtime` is written for."""

BUILT_WITH = "org.opencontainers.runc.checkpoint.enabled"
"""Annotation in `runc features` (runc, features.go)."""


def runc_problem(machine: Machine, path: str) -> tuple[str, str]:
    """Return what keeps a runc from restoring, and what mends it; two empty texts when it can."""
    if not path or not machines.at(machine, path).is_file():
        return (f"{path or 'runc'} is not there", machines.installing(machine, "runc"))
    if versions.named(path):
        return (f"{path} is the interposer itself", "Name the real one: perdure-agent install --runc PATH")
    with machines.at(machine, path).open("rb") as file:
        if file.read(2) == b"#!":
            return (
                f"{path} is a script that stands in front of the real runc, as ARCH's installer leaves one",
                "Take that away first (for ARCH: python3 install.py --uninstall), or name the real one with --runc.",
            )
    release, said = _release(machine, path)
    if release < OLDEST_RUNC:
        return (f"{path} is {_told(release, said)}; {_dotted(OLDEST_RUNC)} is the oldest that works", _newer(machine, "runc"))
    answer = machine.run([path, "features"])
    try:
        enabled = answer.status == 0 and json.loads(answer.out).get("annotations", {}).get(BUILT_WITH) == "true"
    except ValueError:
        enabled = False
    if not enabled:
        return (f"{path} was built without checkpoints", f"{machines.installing(machine, 'runc')} (or any build with criu)")
    return ("", "")


def criu_problem(machine: Machine, path: str) -> tuple[str, str]:
    """Return what is wrong with a criu by itself, and what mends it; two empty texts when nothing is."""
    if not path or not machines.at(machine, path).is_file():
        return (f"{path or 'criu'} is not there", machines.installing(machine, "criu"))
    release, said = _release(machine, path)
    if release < OLDEST_CRIU:
        return (f"{path} is {_told(release, said)}; {_dotted(OLDEST_CRIU)} is the oldest that works", _newer(machine, "criu"))
    return ("", "")


def python(machine: Machine) -> str:
    """Return the interpreter for the interposer: the system's where it is new enough, else the one that runs this."""
    found = machines.find(machine, "python3")
    if found and machine.run([found, "-IS", "-c", f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"]).status == 0:
        return found
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def kernel_problem(machine: Machine, path: str) -> str:
    """Return what `criu check` misses in this kernel; empty when it is content."""
    answer = machine.run([path, "check"])
    if answer.status == 0:
        return ""
    said = [line for line in (answer.out + answer.err).splitlines() if "Error" in line]
    return (said[0].partition("): ")[2] or said[0]).strip() if said else answer.said


def socket_problem(machine: Machine, path: str) -> tuple[str, str]:
    """Return why a criu cannot capture programs with network sockets on this kernel, and what mends it; empty when it can."""
    release, _ = _release(machine, path)
    kernel = machines.text(machine, "/proc/sys/kernel/osrelease").strip()
    number = tuple(map(int, re.findall(r"\d+", kernel)[:2]))
    if number >= SOCKETS_CHANGED and release < SOCKETS_KNOWN:
        return (
            f"{path} {_dotted(release)} cannot read network sockets on kernel {kernel}: containers that have any are refused",
            f"Install criu {_dotted(SOCKETS_KNOWN)} or newer, then: perdure-agent install",
        )
    return ("", "")


def release_of(machine: Machine, path: str) -> str:
    """Return the version that a program tells; empty when it tells none."""
    return _dotted(_release(machine, path)[0])


def _release(machine: Machine, path: str) -> tuple[Release, str]:
    answer = machine.run([path, "--version"])
    found = re.search(r"(?:[Vv]ersion:?) v?(\d+(?:\.\d+)*)", answer.out)
    return (tuple(map(int, found[1].split("."))) if found and answer.status == 0 else (), answer.said)


def _told(release: Release, said: str) -> str:
    return f"version {_dotted(release)}" if release else f"no program that tells its version ({said})"


def _dotted(release: Release) -> str:
    return ".".join(map(str, release))


def _newer(machine: Machine, package: str) -> str:
    return f"{machines.installing(machine, package)} (from Debian 13, Ubuntu 25.04 or newer)"
