"""A real agent on this machine, with a reconciler's end that a test plays by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import secrets
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent import loop, process, service, setup
from agent.supervisor import processes
from reconciler import errors
from reconciler.contracts import store
from reconciler.core import model, observed, spec
from reconciler.seams import clock
from reconciler.storage import path
from tests import conditions

PACE = setup.Pace(look=0.02, heartbeat=0.2, ship=0.05, retry=0.05, retry_cap=0.2, flush=2.0)
HOST = "here"


class ByHand:
    """`agent.uplink.Uplink`: a test sets what is assigned and reads what is said."""

    def __init__(self) -> None:
        self.assignments: spec.Assignments | None = None
        self.said: list[observed.HostState] = []
        self.trees: dict[str, bytes] = {}

    trouble = ""

    def send(self, state: observed.HostState) -> None:
        self.said.append(state)

    def newest(self) -> spec.Assignments | None:
        return self.assignments

    def listen(self, wake: Any) -> None:
        del wake

    def archive(self, tree: str) -> Iterator[bytes]:
        if tree not in self.trees:
            raise errors.Unavailable(f"no tree {tree}")
        data = self.trees[tree]
        for start in range(0, len(data), 5000):
            yield data[start : start + 5000]


class Host:
    """The data directory of an agent, a store, and the agent while `up` is entered."""

    def __init__(self, folder: Path) -> None:
        self.link = ByHand()
        self.folder = folder
        self.data = folder / "agent"
        self.jobs = Path(tempfile.mkdtemp(prefix="perdure-jobs-"))  # reachable by the jobs' user, which tmp_path is not
        self.jobs.chmod(0o711)
        self.spec = model.StoreSpec(name="main", root=str(folder / "store"))
        (folder / "store").mkdir()
        (folder / "secrets").mkdir(mode=0o700)
        self.run = self.another()
        self._generation = 0
        self._assigned: dict[spec.AttemptRef, spec.Assignment] = {}

    def options(self, **changed: Any) -> service.Options:
        values: dict[str, Any] = {
            "data": self.data,
            "name": HOST,
            "cpu": 2000,
            "memory": 8 << 30,
            "secrets": self.folder / "secrets",
            "jobs": self.jobs,
            "pace": PACE,
        }
        return service.Options(**{**values, **changed})

    def another(self) -> str:
        """A run that no test beside this one has: its processes are known by it, and ended with it."""
        return secrets.token_hex(16)

    @contextlib.contextmanager
    def up(self, **changed: Any) -> Iterator[loop.Agent]:
        with service.running(self.options(**changed), self.link, clock.System()) as agent:
            yield agent

    @property
    def store(self) -> store.Store:
        return path.PathStore(self.spec, store.Keys())

    @contextlib.contextmanager
    def without_store(self) -> Iterator[None]:
        """The store cannot be reached meanwhile."""
        place = Path(self.spec.root)
        aside = place.with_name("unmounted")
        place.rename(aside)
        place.touch()
        try:
            yield
        finally:
            place.unlink()
            aside.rename(place)

    def add_tree(self, name: str, files: dict[str, str]) -> None:
        self.link.trees[name] = archive(files)

    def attempt(self, program: str | list[str], number: int = 1, **changed: Any) -> spec.AttemptSpec:
        command = program if isinstance(program, list) else [python(), "-u", "-c", program]
        workload = model.Workload(command=tuple(command), **changed.pop("workload", {}))
        values: dict[str, Any] = {
            "instance": "test",
            "run": self.run,
            "attempt": number,
            "tenant": "default",
            "job": "job",
            "replica": 0,
            "revision": "r",
            "store": self.spec,
            "host": HOST,
            "workload": workload,
        }
        return spec.AttemptSpec(**{**values, **changed})

    def assign(self, what: spec.AttemptSpec, **changed: Any) -> spec.AttemptRef:
        self._assigned[what.ref] = spec.Assignment(spec=what, **{"grace": 1.0, **changed})
        self.send()
        return what.ref

    def change(self, ref: spec.AttemptRef, **changed: Any) -> None:
        self._assigned[ref] = dataclasses.replace(self._assigned[ref], **changed)
        self.send()

    def send(self, generation: int | None = None) -> None:
        self._generation = self._generation + 1 if generation is None else generation
        self.link.assignments = spec.Assignments(host=HOST, generation=self._generation, items=tuple(self._assigned.values()))

    @property
    def state(self) -> observed.HostState:
        """The newest state that was said."""
        conditions.eventually(lambda: self.link.said)
        return self.link.said[-1]

    def item(self, ref: spec.AttemptRef) -> observed.Item | None:
        return next((item for item in self.state.items if item.ref == ref), None)

    def until(self, ref: spec.AttemptRef, holds: Any) -> observed.Item:
        """Waits until the newest state has the attempt with what `holds` asks for."""

        def now() -> observed.Item | None:
            item = self.item(ref)
            return item if item is not None and holds(item) else None

        found = conditions.eventually(now, message=lambda: f"{self.item(ref)}\n{self.log(ref)!r}\n{self.trace(ref)}")
        assert found is not None
        return found

    def running(self, ref: spec.AttemptRef) -> observed.Item:
        return self.until(ref, lambda item: item.state is observed.ItemState.RUNNING)

    def ended(self, ref: spec.AttemptRef) -> observed.Exit:
        found = self.until(ref, lambda item: item.state is observed.ItemState.ENDED).exit
        assert found is not None
        return found

    def gone(self, ref: spec.AttemptRef) -> None:
        conditions.eventually(lambda: self.item(ref) is None)

    def log(self, ref: spec.AttemptRef) -> bytes:
        return self.store.read_log(ref, 0, 1 << 20)

    def logged(self, ref: spec.AttemptRef, text: str) -> None:
        conditions.eventually(lambda: text.encode() in self.log(ref), message=lambda: repr(self.log(ref)))

    def supervisor(self, ref: spec.AttemptRef) -> Path:
        return self.data / "attempts" / str(ref) / "supervisor"

    def trace(self, ref: spec.AttemptRef) -> str:
        return process.trace(self.supervisor(ref))

    def shared(self, ref: spec.AttemptRef) -> Path:
        return self.jobs / "attempts" / str(ref)

    def pids(self) -> set[int]:
        """Supervisors and programs of this host that live."""
        needle = os.fsencode(self.data)
        found = set()
        for pid, one in processes.table().items():
            if not one.dead and pid != os.getpid():
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes() + b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
                    if needle in words or os.fsencode(self.jobs) in words:
                        found.add(pid)
        return found

    def close(self) -> None:
        """Kills whatever of this host still lives and removes what lies outside the test's folder."""
        for _ in range(3):
            for pid in self.pids():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        conditions.eventually(lambda: not self.pids())
        shutil.rmtree(self.jobs, ignore_errors=True)


def python() -> str:
    """A Python that the jobs' user can execute."""
    return "/usr/bin/python3" if os.geteuid() == 0 else sys.executable


def archive(files: dict[str, str]) -> bytes:
    """A tar archive of text files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()
