"""Which processes belong to the attempt, and how they are signalled and weighed together."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from typing import Any

from agent.supervisor import confinement, processes, program


class Tree:
    """The program and all that it forked, also what has detached itself: we are the subreaper, and the groups hold them."""

    def __init__(self, groups: confinement.Confinement, launch: program.Launch) -> None:
        """Know nobody yet."""
        self._groups = groups
        self._launch = launch
        self._main: processes.Process | None = None
        self._adopted: dict[str, Any] | None = None

    @property
    def main(self) -> processes.Process | None:
        """The program's first process."""
        return self._main

    def bear(self, main: processes.Process) -> None:
        """Take our own child as the program."""
        self._main = main

    def adopt(self, started: dict[str, Any]) -> bool:
        """Take the process of a killed supervisor, found by pid, start time and boot. False when it is gone."""
        if started["boot"] != processes.boot():
            return False
        self._adopted = started
        if not processes.alive(started["pid"], started["start"]):
            return False
        self._main = processes.look(started["pid"])
        return self._main is not None

    def find(self) -> processes.Process | None:
        """Return the program's first process where no record names it: the oldest leader of a session with our marks."""
        known = processes.table()
        ours = set(processes.carrying(self._launch.marks, known)) | self._groups.pids()
        leaders = [known[pid] for pid in ours if pid in known and known[pid].session == pid and not known[pid].dead]
        return min(leaders, key=lambda one: one.start, default=None)

    def given(self, names: Collection[str]) -> set[str]:
        """Return the values of variables of these names that living processes of the tree were started with."""
        entries = (entry for process in self.members(thorough=True) for entry in processes.environment(process.pid))
        pairs = (entry.decode(errors="replace").partition("=") for entry in entries)
        return {value for name, _, value in pairs if name in names}

    def members(self, *, thorough: bool = False) -> list[processes.Process]:
        """Return the living processes of the tree. `thorough` also reads environments, which finds what detached itself."""
        known = processes.table()
        found = processes.descendants(os.getpid(), known) | self._groups.pids()
        roots = {self._main.pid} if self._main is not None and self._main.pid in known else set()
        if self._adopted is not None:
            roots |= self._session(known)
            if thorough:
                roots |= set(processes.carrying(self._launch.marks, known))
        for pid in roots:
            found |= {pid} | processes.descendants(pid, known)
        found.discard(os.getpid())
        return [known[pid] for pid in found if pid in known and not known[pid].dead]

    def signal(self, number: signal.Signals) -> None:
        """Signal everyone."""
        members = self.members(thorough=True)
        for process in members:
            processes.send(process, number)
        if not members and self._main is not None and not processes.told():
            processes.send(self._main, number)

    def memory(self, limit: int) -> int:
        """Return the bytes the tree holds. What processes share is counted once only above `limit`: that costs more."""
        pids = [process.pid for process in self.members()]
        quick = processes.resident(pids)
        return quick if quick <= limit else processes.proportional(pids)

    def over(self) -> bool:
        """Whether the program itself has ended, waited for or not."""
        if self._main is None:
            return True
        if self._adopted is not None:
            return not processes.alive(self._main.pid, self._main.start)
        try:
            return os.waitid(os.P_PID, self._main.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def freeze(self) -> bool:
        """Hold the program still; False when it has already ended by itself."""
        if self._main is None or not processes.send(self._main, signal.SIGSTOP):
            return False
        for _ in range(200):
            if self.over():
                return False
            process = processes.look(self._main.pid)
            if process is not None and process.state in "Tt":
                break
            time.sleep(0.005)
        return True

    def _session(self, known: dict[int, processes.Process]) -> set[int]:
        """Processes of the program's session, whose other parent was the killed supervisor."""
        assert self._adopted is not None
        pid, start = self._adopted["pid"], self._adopted["start"]
        if pid in known and known[pid].start != start:
            return set()  # the number is somebody else's by now
        return {one.pid for one in known.values() if one.session == pid}
