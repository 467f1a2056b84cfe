"""One program under a real supervisor."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent import process
from agent.supervisor import files, output, processes, program
from reconciler.core import observed
from tests import conditions


class Supervised:
    """Starts a supervisor in a folder and looks at what it writes."""

    def __init__(self, folder: Path, argv: list[str] | str, secrets: Mapping[str, str] | None = None, **bounds: Any) -> None:
        self.folder = folder / "supervisor"
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        command = [sys.executable, "-c", argv] if isinstance(argv, str) else argv
        env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PERDURE_RUN": str(folder), "PERDURE_ATTEMPT": "1"}
        values: dict[str, Any] = {
            "account": None,
            "timeout": None,
            "grace": 2.0,
            "memory": None,
            "groups": {},
            "segment": 1 << 20,
            "keep": 4,
        }
        self.launch = program.Launch(
            argv=command, env=env, cwd=str(self.work), logs=str(folder / "logs"), **{**values, **bounds}
        )
        process.prepare(self.folder, self.launch, None)
        self._children: list[process.Child] = []
        self.start(secrets or {})

    def start(self, secrets: Mapping[str, str] | None = None) -> process.Child:
        child = process.start(self.folder, secrets or {})
        self._children.append(child)
        return child

    @property
    def supervisor(self) -> int:
        return self._children[-1].pid

    def look(self) -> process.Look:
        return process.look(self.folder)

    def live(self) -> int:
        """Waits until the program runs and returns its pid."""
        conditions.eventually(lambda: self.look().presence is process.Presence.LIVE)
        started = files.read(str(self.folder), files.STARTED)
        assert started is not None
        return int(started["pid"])

    def said(self, text: str) -> None:
        """Waits until the program has written `text`."""
        conditions.eventually(lambda: text.encode() in self.output(), message=lambda: repr(self.output()))

    def output(self) -> bytes:
        found = b""
        for _, path in output.segments(self.launch.logs):
            with suppress(FileNotFoundError):
                found += Path(path).read_bytes()
        return found

    def exit(self) -> observed.Exit:
        """Waits for the recorded end."""
        conditions.eventually(
            lambda: self.look().presence is process.Presence.ENDED, message=lambda: process.trace(self.folder)
        )
        found = self.look().exit
        assert found is not None
        return found

    @property
    def ended(self) -> bool:
        """Whether the newest supervisor has ended."""
        return self._children[-1].poll() is not None

    def kill_supervisor(self) -> None:
        os.kill(self.supervisor, signal.SIGKILL)
        self._children[-1].wait()

    def close(self) -> None:
        """Ends everything, however the test went."""
        started = files.read(str(self.folder), files.STARTED)
        for child in self._children:
            if child.poll() is None:
                os.kill(child.pid, signal.SIGKILL)
            child.wait()
        if started is not None:
            conditions.eventually(lambda: self._none_left(started), message="the program's processes have ended")

    def _none_left(self, started: Mapping[str, Any]) -> bool:
        left = list(processes.carrying(self.launch.marks, processes.table()))
        if processes.alive(started["pid"], started["start"]):  # without marks until it has become the program
            left.append(started["pid"])
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return not left
