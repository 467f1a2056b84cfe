"""An agent in a process of its own that kills itself at a chosen effect: `python -m tests.agent.doomed FOLDER EFFECT`.

Every call that changes something outside the process counts as one effect, whichever thread makes it, the store's included.
With an odd number the process dies before the effect that half of it names, with an even one right after it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent import service
from reconciler import errors
from reconciler.core import codec, observed, spec
from reconciler.seams import clock
from tests.agent import host

COUNTED = ("replace", "rename", "mkdir", "rmdir", "unlink", "link", "fsync", "mkfifo", "posix_spawn", "chown", "symlink")


class Files:
    """`agent.uplink.Uplink` through two files: what is assigned, and what is said."""

    def __init__(self, folder: Path, replace: Callable[[Path, Path], None]) -> None:
        self._folder = folder
        self._replace = replace
        self._known: tuple[bytes, spec.Assignments] | None = None

    trouble = ""

    def send(self, state: observed.HostState) -> None:
        partial = self._folder / "state.partial"
        partial.write_bytes(codec.encode(state))
        self._replace(partial, self._folder / "state.json")

    def newest(self) -> spec.Assignments | None:
        try:
            data = (self._folder / "assignments.json").read_bytes()
        except FileNotFoundError:
            return None
        if self._known is None or self._known[0] != data:
            self._known = (data, codec.decode(data, spec.Assignments))
        return self._known[1]

    def listen(self, wake: Callable[[], None]) -> None:
        del wake

    def archive(self, tree: str) -> Iterator[bytes]:
        raise errors.Unavailable(f"no tree {tree}")


class Doom:
    """Counts effects, and ends the process at one of them."""

    def __init__(self, at: int, counter: Path) -> None:
        self._at = at
        self._counter = counter
        self._lock = threading.Lock()
        self._count = 0

    def wrap(self, name: str) -> None:
        real = getattr(os, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._count += 1
                number = self._count
            if self._at == 2 * number - 1:
                self._die()
            try:
                return real(*args, **kwargs)
            finally:
                if self._at == 2 * number:
                    self._die()

        setattr(os, name, counted)

    def note(self) -> None:
        self._counter.write_text(str(self._count))

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, at: int) -> None:
    """Runs until SIGTERM or doom."""
    replace = os.replace
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    doom = Doom(at, folder / "effects")
    for name in COUNTED:
        doom.wrap(name)
    options = json.loads((folder / "options.json").read_text())
    given = service.Options(
        data=folder / "agent", name=host.HOST, jobs=Path(options["jobs"]), secrets=folder / "secrets", pace=host.PACE
    )
    with service.running(given, Files(folder, replace), clock.System()):
        while not told.wait(0.05):
            pass
    doom.note()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
