"""A desired-state repository with a store and a data directory, and `perdure` as a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from reconciler.cli import main
from tests.cli.outputs import conforms
from tests.conditions import eventually

PERDURE = (sys.executable, "-m", "reconciler.cli")

LOOKING = {"status", "why", "history", "checkpoints", "verify", "events", "diff", "doctor", "config", "version"}
WRITING = {"init", "validate", "schema", "explain", "token", "host"}
CHANGING = {"run", "suspend", "resume", "stop", "rerun", "checkpoint", "restore", "move"}

INSIDE = frozenset(LOOKING | WRITING | CHANGING)
"""Commands that need no process of their own: starting one for each look would be most of the tests' time."""

TARGET = """
apiVersion: perdure.dev/v1alpha1
kind: Target
metadata: {name: machines}
spec:
  hosts: {selector: {}}
"""

STORE = """
apiVersion: perdure.dev/v1alpha1
kind: Store
metadata: {name: checkpoints}
spec:
  path: {root: ROOT}
"""

PROGRAM = """
import os, pathlib, time
import perdure_job as perdure

OF = int(os.environ["STEPS"])
GATE = pathlib.Path(os.environ["GATE"])  # once it is open, the program goes beyond its first step
start = int((perdure.restore_dir() / "state").read_text()) if perdure.restore_dir() else 0
print(f"from {start}", flush=True)
for step in range(start, OF):
    while step == 1 and not GATE.exists() and not perdure.requested():
        time.sleep(0.02)
    perdure.progress(step + 1, of=OF)
    if perdure.requested() or step + 1 == OF:
        with perdure.checkpoint(step + 1) as folder:
            (folder / "state").write_text(str(step + 1))
    while step == 1 and not GATE.exists():
        time.sleep(0.02)
print("done", flush=True)
"""

CONFIGURATION = """
loop: {poll: 500ms, backoff: 500ms}
agents: {name: here}
"""


class Site:
    """Everything of one test, below one folder that the jobs' user can pass through."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repository = root / "jobs.git"
        self.work = root / "work"
        self.data = root / "data"
        self.store = root / "store"
        self.gate = root / "open"
        self.config = root / "config.yaml"
        self.config.write_text(CONFIGURATION)
        self.store.mkdir()
        self.git("init", "--quiet", "--bare", str(self.repository), cwd=root)
        self.git("clone", "--quiet", str(self.repository), str(self.work), cwd=root)
        self.write("platform.yaml", f"{TARGET}---{STORE.replace('ROOT', str(self.store))}")
        self.write("code/count.py", PROGRAM)
        self.started: list[subprocess.Popen[bytes]] = []

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run plain git, as people do."""
        return subprocess.run(
            ["git", *arguments], cwd=cwd or self.work, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def write(self, name: str, text: str) -> None:
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def job(self, name: str = "count", more: str = "", steps: int = 3) -> None:
        """Declare a job that waits at its first step until the gate is open."""
        text = f"""
            apiVersion: perdure.dev/v1alpha1
            kind: Job
            metadata: {{name: {name}}}
            spec:
              target: machines
              workload:
                code: {{path: code, entrypoint: count.py}}
                env: {{GATE: "{self.gate}", STEPS: "{steps}"}}
              checkpoint: {{store: checkpoints}}
            """
        self.write(f"jobs/{name}.yaml", textwrap.dedent(text) + textwrap.indent(textwrap.dedent(more), "  "))

    def push(self, message: str = "change") -> str:
        """Commit everything, push it, and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        self.git("push", "--quiet", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD").strip()

    def arguments(self, *arguments: str) -> list[str]:
        flags = ["--config", str(self.config), "--repo", str(self.repository), "--data", str(self.data)]
        return [*PERDURE, *flags, *arguments]

    def run(self, *arguments: str, code: int | None = 0, timeout: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; `code` is the exit code it must have. Most run in this process."""
        if arguments[0] in INSIDE:
            done = self._inside(*arguments)
        else:
            done = subprocess.run(
                self.arguments(*arguments), capture_output=True, text=True, timeout=timeout, cwd=self.root, check=False
            )
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def _inside(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        given = self.arguments(*arguments)
        out, said = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            code = main.run(given[len(PERDURE) :])
        return subprocess.CompletedProcess(given, code, out.getvalue(), said.getvalue())

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        """Return what a command answers with -o json; it fits the command's schema."""
        document = json.loads(self.run(*arguments, "-o", "json", code=code).stdout)
        return conforms("-".join(arguments[:2]) if arguments[0] in ("token", "host") else arguments[0], document)

    def start(self, *arguments: str, name: str = "loop") -> subprocess.Popen[bytes]:
        """Start a command that goes on; its output is in NAME.out."""
        with (self.root / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(self.arguments(*arguments), stdout=out, stderr=out, cwd=self.root)
        self.started.append(process)
        return process

    def output(self, name: str = "loop") -> str:
        return (self.root / f"{name}.out").read_text()

    def notes(self, revision: str = "main") -> str:
        """Return the note of a revision as `git notes` shows it."""
        done = subprocess.run(
            ["git", "notes", "--ref=perdure/default", "show", revision],
            cwd=self.repository,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    def says(self, text: str, revision: str = "main") -> None:
        """Wait until the note of a revision says something."""
        eventually(lambda: text in self.notes(revision), timeout=60, message=lambda: f"{self.notes(revision)}\n{self.loop()}")

    def loop(self) -> str:
        return self.output() if (self.root / "loop.out").exists() else ""

    def phase(self, job: str = "count") -> str:
        found = self.json("status", job)["jobs"]
        return str(found[0]["phase"])

    def close(self) -> None:
        """End what was started; and what runs under it, by letting it go to its end."""
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            process.wait(30)
        self.gate.touch()
        if (self.data / "agent" / "attempts").exists():
            eventually(lambda: not self.living(), timeout=60)

    def living(self) -> list[Path]:
        """Return the supervisors that stand by an attempt."""
        return [path for path in (self.data / "agent" / "attempts").glob("*/supervisor/control") if _attended(path)]


def _attended(fifo: Path) -> bool:
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
