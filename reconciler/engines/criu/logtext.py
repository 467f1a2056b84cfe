"""CRIU's log, said in plain words where we know what a line means.

The patterns are CRIU's own messages (`pr_err` in the named files of CRIU 4.1.1); what is not known is shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 5
_PASSING = re.compile(r"In-flight connection \(l\)|on an in-flight socket|Timeout reached\. Try to interrupt")
_HARMLESS = re.compile(r"RLIMIT_NOFILE for self|Dumping FAILED")
"""Errors that CRIU goes on after, or that only repeat."""
_TAIL = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One known message."""

    pattern: str
    meaning: str
    """May name the pattern's groups."""


MEANINGS: tuple[Row, ...] = (
    Row(pattern=r"io_uring", meaning="the program uses io_uring, which CRIU cannot capture"),
    Row(
        pattern=r"Can't dump ghost file (\S+) of (\d+) size",
        meaning=r"the deleted file \1 that is still open is too large (\2 bytes)",
    ),
    Row(
        pattern=r"(?:Found a tty|tty: Found slave|tty: .*no peer|Task has tty \w+ )|Found dangling tty",
        meaning="the program has a terminal whose other end lies outside of the container",
    ),
    Row(
        pattern=r"Can't dump half of stream unix connection",
        meaning="a unix socket is connected to a process outside of the container, or to a command of `docker exec`",
    ),
    Row(
        pattern=r"Non-empty write queue on an in-flight socket",
        meaning="a unix socket has a connection with data that its listener has not accepted yet",
    ),
    Row(pattern=r"[Uu]nix socket .* without peer|External socket is used", meaning="a unix socket leads out of the container"),
    Row(
        pattern=r"mnt: Mount (\d+) \S+ \(\w+ \w+:\w+\)? is unreachable|Mount (\S+) is unreachable",
        meaning="a mount of the container lies outside of what can be reached",
    ),
    Row(pattern=r"FS mnt (\S+) dev \S+ root \S+ unsupported", meaning=r"the mount \1 is of a kind that CRIU cannot capture"),
    Row(
        pattern=r"Can't lookup mount=\d+ for fd=-?\d+ path=(\S+)",
        meaning=r"the open file \1 lies on a mount that the container does not see",
    ),
    Row(pattern=r"Can't open file (\S*nvidia\S*|/dev/dri\S*|/dev/kfd)", meaning=r"the program uses the GPU device \1"),
    Row(
        pattern=r"Can't dump file \d+ of that type \[\d+\] \(?(?:chr|unknown)? ?(\d+:\d+)",
        meaning=r"the program has the device \1 open, which CRIU cannot capture",
    ),
    Row(
        pattern=r"Can't dump file \d+ of that type \[\d+\] \(anon anon_inode:\[?([\w-]+)",
        meaning=r"the program has a descriptor of kind \1 open, which CRIU cannot capture",
    ),
    Row(
        pattern=r"Unknown socket collected \(family (\d+)\)",
        meaning=r"the program has a socket of family \1 open, which CRIU cannot capture",
    ),
    Row(pattern=r"secretmem", meaning="the program has secret memory (memfd_secret), which nobody else can read"),
    Row(
        pattern=r"Can't dump nested (\w+) namespace for (\d+)",
        meaning=r"process \2 has made a \1 namespace of its own, which CRIU cannot capture",
    ),
    Row(pattern=r"mqueue isn't empty", meaning="the container has a POSIX message queue, which CRIU cannot capture"),
    Row(
        pattern=r"Zombies with threads are not supported|Zombie thread not supported",
        meaning="the first thread of a process has ended and others go on, which CRIU cannot capture",
    ),
    Row(
        pattern=r"Failed to dump .* inotify|fsnotify: .*(?:Can't|No|unable)",
        meaning="an inotify or fanotify watch cannot be captured",
    ),
    Row(
        pattern=r"Can't (?:freeze|seize) (?:task|processes)|Unable to freeze cgroup|Unable to freeze tasks",
        meaning="the processes could not be frozen",
    ),
    Row(
        pattern=r"iptables-restore returned|Locking network failed",
        meaning="CRIU could not lock the network: iptables or nftables is missing or refused",
    ),
    Row(pattern=r"Timeout reached", meaning="the processes did not stand still in time"),
    Row(pattern=r"No space left on device", meaning="the disk is full"),
    Row(
        pattern=r"Can't write pages to socket|The page server doesn't answer|Can't send PSI",
        meaning="the receiver of the pages went away",
    ),
    Row(
        pattern=r"(\d+) \(\S+\) (?:has|is) .*CLONE_NEWUSER|userns: .*",
        meaning="the container has a user namespace that CRIU cannot capture",
    ),
)
"""The first that fits the earliest error is what is said."""


def explain(log: Path) -> str:
    """Return why CRIU failed: a known meaning, or its first errors as they stand; "" when the log says nothing."""
    found = complaints(log)
    for line in found:
        for row in MEANINGS:
            match = re.search(row.pattern, line)
            if match:
                return f"{match.expand(row.meaning)} (CRIU: {line})"
    return "; ".join(found[:_SHOWN])


def is_passing(log: Path) -> bool:
    """Whether CRIU failed for what will be over in a moment: a connection not accepted yet, a process between vfork and exec.

    Of two processes joined by vfork CRIU stops the child, and then waits for the parent, which waits for the child.
    """
    return any(_PASSING.search(line) for line in complaints(log))


def complaints(log: Path) -> list[str]:
    """Return the error lines of a log, without times."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [re.sub(r"^\(\d+\.\d+\)\s*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith("Error") and not _HARMLESS.search(line)]
