"""The supervisor's use of the attempt's control groups. The agent makes them and sets their limits (`agent.cgroups`)."""

from __future__ import annotations

import os


class Confinement:
    """The groups of one attempt: one folder per controller (version 1), or one for all (version 2). None: no groups."""

    def __init__(self, folders: dict[str, str]) -> None:
        """`folders` gives the folder of the group by controller: "memory", "cpu", "pids"."""
        self._folders = folders

    @property
    def memory(self) -> bool:
        """Whether the kernel enforces the memory limit."""
        return "memory" in self._folders

    def enter(self, pid: int) -> None:
        """Put a process, and all it will fork, into the groups. Raises OSError."""
        for folder in set(self._folders.values()):
            _write(os.path.join(folder, "cgroup.procs"), str(pid))

    def pids(self) -> set[int]:
        """Return who is inside now."""
        found: set[int] = set()
        for folder in set(self._folders.values()):
            found.update(int(line) for line in _read(os.path.join(folder, "cgroup.procs")).split())
        return found

    def killed_for_memory(self) -> int:
        """Return how many processes the kernel has ended because the group was out of memory."""
        folder = self._folders.get("memory")
        if folder is None:
            return 0
        counters = _read(os.path.join(folder, "memory.events")) or _read(os.path.join(folder, "memory.oom_control"))
        for line in counters.splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
        return 0

    def seal(self) -> None:
        """Let nobody inside fork any more, so that a tree which is being killed cannot outrun the killer."""
        folder = self._folders.get("pids")
        if folder is not None:
            try:
                _write(os.path.join(folder, "pids.max"), "0")
            except OSError:
                return

    def remove(self) -> None:
        """Remove the groups; the agent does it later when something is still inside."""
        for folder in set(self._folders.values()):
            try:
                os.rmdir(folder)
            except OSError:
                continue


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
