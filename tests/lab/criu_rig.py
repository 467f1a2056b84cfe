"""The engine's tests' way to containers in a node: `criu_inside` asked from outside, and the programs that run in them."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import conditions
from tests.lab.criu_inside import Place
from tests.lab.lab import CHECKOUT, Lab
from tests.lab.node import Node

PROGRAMS = Path(__file__).with_name("programs")
STORE = "/srv/lab/store"
_PLAIN = {"PYTHONDONTWRITEBYTECODE": "1"}


class Rig:
    """A node whose containers have layers of the lab as their image (topmost first; Python and numpy), and a store."""

    def __init__(self, lab: Lab, layers: Sequence[str] = ("base",), store: str = STORE) -> None:
        self.lab = lab
        folders = [lab.cache.layer(name) for name in layers]
        self.lower = ":".join(map(str, folders))
        self.node: Node = lab.node(binds=folders)
        self.store = store
        (lab.shared / "store").mkdir(exist_ok=True)
        self._names: list[str] = []

    def ask(self, verb: str, **asked: Any) -> dict[str, Any]:
        """Ask `criu_inside` and return its answer. Raises where it fails."""
        result = self.node.run(self._command(verb, asked), cwd=str(CHECKOUT), env=_PLAIN)
        answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return answer

    def asking(self, verb: str, cgroup: str = "", **asked: Any) -> subprocess.Popen[str]:
        """Ask, and let the asker be killed meanwhile. `cgroup`: a folder that it is put into."""
        command = self._command(verb, asked)
        if cgroup:
            enter = f'mkdir -p {cgroup} && echo 0 > {cgroup}/cgroup.procs && exec "$@"'
            command = ["/bin/sh", "-c", enter, "sh", *command]
        return self.node.popen(command, cwd=str(CHECKOUT), env=_PLAIN)

    def start(self, program: str, *arguments: str, **asked: Any) -> Container:
        """Start a container that runs a program of the folder `programs`."""
        interpreter = "python3" if program.endswith(".py") else "/bin/sh"
        return self.run([interpreter, "-c", (PROGRAMS / f"{program}.txt").read_text(), *arguments], **asked)

    def run(self, command: list[str], **asked: Any) -> Container:
        """Start a container."""
        made = Container(self, {"lower": self.lower, "command": command, **asked})
        self.ask("create", name=made.name, **made.asked)
        return made

    def name(self) -> str:
        """A name for a container, which `clean` removes."""
        self._names.append(f"c{secrets.token_hex(4)}")
        return self._names[-1]

    def clean(self) -> None:
        """Remove all containers."""
        for name in self._names:
            self.ask("remove", name=name)
        self._names.clear()

    def _command(self, verb: str, asked: dict[str, Any]) -> list[str]:
        return [sys.executable, "-m", "tests.lab.criu_inside", verb, json.dumps(asked)]


class Container:
    """One container and the checkpoints of its attempt."""

    def __init__(self, rig: Rig, asked: dict[str, Any], run: str = "", attempt: int = 1) -> None:
        self.rig = rig
        self.asked = asked
        self.name = rig.name()
        self.run = run or secrets.token_hex(16)
        self.attempt = attempt

    @property
    def upper(self) -> Path:
        """Its writable layer."""
        return self.rig.lab.shared / "criu" / self.name / "upper"

    def volume(self, destination: str) -> Path:
        """What lies in a volume of its own."""
        return self.rig.node.path(str(Place(name=self.name).volume(destination)))

    @property
    def merged(self) -> Path:
        """Its files as it sees them: what is written below an overlay need not show in it."""
        return self.rig.node.path(f"/srv/lab/criu/{self.name}/bundle/rootfs")

    def about(self, **asked: Any) -> dict[str, Any]:
        """What every question about it names."""
        return {"name": self.name, "store": self.rig.store, "run": self.run, "attempt": self.attempt, **asked}

    def take(self, **asked: Any) -> dict[str, Any]:
        """Take a checkpoint."""
        return self.rig.ask("take", **self.about(**asked))

    def moved(self, **asked: Any) -> Container:
        """Take a checkpoint that ends it, and continue it as the next attempt in a new container."""
        taken = self.take(stop=True, **asked)
        assert "digest" in taken, taken
        assert not self.alive(), "it runs on"
        return self.continued(taken["digest"])

    def continued(self, digest: str) -> Container:
        """Continue from a checkpoint, as the next attempt in a new container."""
        made = Container(self.rig, self.asked, self.run, self.attempt + 1)
        self.rig.ask("restore", name=made.name, store=self.rig.store, digest=digest, **self.asked)
        return made

    def alive(self) -> bool:
        """Whether runc says that it runs."""
        state = self.rig.node.run(["runc", "--root", "/run/runc", "state", self.name], check=False)
        return state.returncode == 0 and json.loads(state.stdout)["status"] == "running"

    def read(self, path: str) -> str:
        """A file of its writable layer, empty while it is not there."""
        try:
            return (self.upper / path.lstrip("/")).read_text()
        except FileNotFoundError:
            return ""

    def said(self) -> dict[str, Any]:
        """What its program last said of itself, in /said."""
        conditions.eventually(lambda: self.read("/said"), message=lambda: f"it says nothing:\n{self.log()}")
        said: dict[str, Any] = json.loads(self.read("/said"))
        return said

    def goes_on(self) -> dict[str, Any]:
        """Wait until its program says something new, and return it."""
        before = self.said()["n"]
        conditions.eventually(lambda: self.said()["n"] > before, message=lambda: f"it stands still:\n{self.log()}")
        return self.said()

    def log(self) -> str:
        """What it printed, in all its attempts under this name."""
        path = self.upper.parent / "log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""
