"""What the kernel says about processes (proc(5)), and signals that cannot hit a stranger who took over a pid."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from typing import NamedTuple

PROC = "/proc"
PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One process as /proc/PID/stat tells it."""

    pid: int
    parent: int
    session: int
    state: str
    start: int
    """Ticks from boot to its start (field 22): with the pid and the boot it names the process for ever."""

    @property
    def dead(self) -> bool:
        """Whether only its entry is left."""
        return self.state in "ZX"


def boot() -> str:
    """Return the id of this boot; empty where the kernel has none."""
    try:
        with open(f"{PROC}/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def look(pid: int) -> Process | None:
    """Return a process, None when there is none."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return _without_proc(pid)
    # The command's name stands in parentheses and may itself contain any character.
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(pid, int(fields[1]), int(fields[3]), fields[0].decode(), int(fields[19]))


def age(process: Process) -> float:
    """Return for how many seconds it has run; 0 where the kernel does not tell."""
    try:
        with open(f"{PROC}/uptime", encoding="ascii") as file:
            return max(0.0, float(file.read().split()[0]) - process.start / os.sysconf("SC_CLK_TCK"))
    except OSError:
        return 0.0


def alive(pid: int, start: int) -> bool:
    """Whether exactly this process still runs."""
    process = look(pid)
    return process is not None and process.start == start and not process.dead


def table() -> dict[int, Process]:
    """Return every process by pid."""
    try:
        names = os.listdir(PROC)
    except OSError:
        return {}
    return {process.pid: process for name in names if name.isdigit() and (process := look(int(name)))}


def descendants(root: int, known: dict[int, Process]) -> set[int]:
    """Return the pids of all below `root`, without it."""
    children: dict[int, list[int]] = {}
    for process in known.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found


def carrying(entries: Iterable[str], known: dict[int, Process]) -> Iterator[int]:
    """Yield the pids of processes that were started with all these entries (NAME=VALUE) in their environment."""
    wanted = {entry.encode() for entry in entries}
    yield from (pid for pid in known if wanted <= environment(pid))


def environment(pid: int) -> set[bytes]:
    """Return the entries (NAME=VALUE) that a process was started with; none where they cannot be read."""
    try:
        with open(f"{PROC}/{pid}/environ", "rb") as file:
            return set(file.read().split(b"\0"))
    except OSError:
        return set()


def resident(pids: Iterable[int]) -> int:
    """Return the bytes of memory these processes hold; what they share is counted for each of them."""
    total = 0
    for pid in pids:
        try:
            with open(f"{PROC}/{pid}/statm", "rb") as file:
                total += int(file.read().split()[1]) * PAGE
        except (OSError, IndexError):
            continue
    return total


def proportional(pids: Iterable[int]) -> int:
    """Return the bytes of memory these processes hold, what they share counted once. Slower: the kernel walks every mapping."""
    total = 0
    for pid in pids:
        try:
            with open(f"{PROC}/{pid}/smaps_rollup", "rb") as file:
                total += next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")), 0)
        except OSError:
            total += resident([pid])
    return total


def send(process: Process, number: signal.Signals) -> bool:
    """Signal exactly this process; False when it is gone."""
    if not hasattr(os, "pidfd_open"):
        return _send_to_group(process.pid, number)
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if not alive(process.pid, process.start):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def told() -> bool:
    """Whether the kernel tells of processes in files, as Linux does and macOS does not."""
    return os.path.isdir(f"{PROC}/self")


def _without_proc(pid: int) -> Process | None:
    """Other systems only tell whether a pid is in use."""
    if told():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return Process(pid, 0, pid, "R", 0)


def _send_to_group(pid: int, number: signal.Signals) -> bool:
    """Every program is started as leader of a group of its own."""
    try:
        os.killpg(pid, number)
    except OSError:
        return False
    return True
