"""The few calls of the C library that Python 3.8 does not have, what else the kernel tells, and programs that die with us."""

from __future__ import annotations

import ctypes
import os
import re
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLONE_NEWNET, CLONE_NEWUTS = 0x40000000, 0x04000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 2, 4, 8, 4096
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, PTRACE_SECCOMP_GET_FILTER = 0x4206, 0x4207, 17, 0x420C
PTRACE_O_EXITKILL = 1 << 20
WALL = 0x40000000
INSTRUCTION, MOST_INSTRUCTIONS = 8, 4096
"""Bytes of one, and how many a filter may have (linux/filter.h, BPF_MAXINSNS)."""

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """Call `name` of the C library with numbers, byte strings and None. Raises OSError."""
    if getattr(_libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def run(argv: Sequence[str], first_in_path: str = "", output: int | None = None) -> int:
    """Run a program with our own descriptors, but for what it prints where `output` is one, and return its status. It dies
    with us: whoever kills us means it."""
    environment: dict[str, Any] = dict(os.environ)
    if first_in_path:
        environment["PATH"] = f"{first_in_path}:{environment.get('PATH', os.defpath)}"
    child = os.fork()
    if child == 0:
        try:
            call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
            if output is not None:
                os.dup2(output, 1)
                os.dup2(output, 2)
            os.execve(argv[0], list(argv), environment)
        finally:
            os._exit(127)
    return os.waitpid(child, 0)[1]


def seccomp_filter(pid: int) -> bytes:
    """Return the instructions of a process's first filter (ptrace(2)). It ends where we die meanwhile. Raises OSError."""
    room = ctypes.create_string_buffer(INSTRUCTION * MOST_INSTRUCTIONS)
    _ptrace(PTRACE_SEIZE, pid, None, PTRACE_O_EXITKILL)
    _ptrace(PTRACE_INTERRUPT, pid, None, None)
    os.waitpid(pid, WALL)
    try:
        count = _ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, ctypes.addressof(room))
    finally:
        _ptrace(PTRACE_DETACH, pid, None, None)
    return room.raw[: INSTRUCTION * count]


def _ptrace(request: int, pid: int, address: int | None, data: int | None) -> int:
    ptrace = _libc.ptrace
    ptrace.restype, ptrace.argtypes = ctypes.c_long, (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    answer: int = ptrace(request, pid, address, data)
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "ptrace")
    return answer


class Mount(NamedTuple):
    """A line of mountinfo (proc(5))."""

    point: str
    kind: str
    options: tuple[str, ...]
    """Of the file system."""


def mounts() -> Iterator[Mount]:
    """Yield the mounts that this process sees, those on top of others last."""
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.rstrip("\n").partition(" - ")
            kind, _, options = rest.split(" ", 2)
            yield Mount(_plain(fields.split(" ")[4]), kind, tuple(_plain(options).split(",")))


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
