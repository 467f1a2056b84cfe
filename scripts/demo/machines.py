"""The demo's machines: a temporary folder with a Git server's repository, the loop, and three hosts as processes."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import console

from agent import cgroups
from agent.supervisor import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "first-steps"
BIN = pathlib.Path(sys.executable).parent
HOSTS = ("amsterdam", "berlin", "cairo")
LOST_AFTER, LOST_TRIES = 6, 4
STORE_IN_EXAMPLE = "/srv/perdure/checkpoints"
SEED_IN_EXAMPLE = 'SEED: "7"'
TRAINS = 40
"""Seconds that the training takes by itself: more than twice what the scenes need of it on an idle machine."""
TRIAL = 400
"""Steps by which this machine's pace is measured."""
MOST_BUSY = 3.0
"""Most times longer that it trains on a busy machine."""


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


class TooShortError(DemoError):
    """The training was over before all was shown."""


class Site:
    """Everything the demo makes. `close` ends every process it started and, unless asked otherwise, removes the folder."""

    def __init__(self, stage: console.Stage) -> None:
        self._stage = stage
        self.root = pathlib.Path(tempfile.gettempdir()) / f"perdure-demo-{os.getuid()}"
        self.remote = self.root / "desired.git"
        self.clone = self.root / "desired"
        self.store = self.root / "checkpoints"
        self.config = self.root / "perdure.yaml"
        self.logs = self.root / "logs"
        self.training: dict[str, str] = {}
        """The variables of the training."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self, seconds: float = TRAINS) -> None:
        """Make the folder, and the repository from the example with a training of so many seconds."""
        self._clear()
        self.root.mkdir(mode=0o755)
        self.logs.mkdir()
        self.store.mkdir(mode=0o700)
        self._repository(seconds)
        address = f"127.0.0.1:{_free_port()}"
        self.config.write_text(
            f"instance: demo\n"
            f"data: {self.root}/reconciler\n"
            f"source:\n  repository: {self.remote}\n  ref: main\n"
            f"loop: {{poll: 1s, lostAfter: {LOST_AFTER}s, lostTries: {LOST_TRIES}, backoff: 1s}}\n"
            f"agents: {{embedded: false, listen: '{address}'}}\n"
        )

    def _repository(self, seconds: float) -> None:
        shutil.copytree(EXAMPLE, self.clone, ignore=shutil.ignore_patterns("__pycache__"))
        platform = self.clone / "platform.yaml"
        platform.write_text(platform.read_text().replace(STORE_IN_EXAMPLE, str(self.store)))
        self.training = {"SEED": "7", "STEPS": str(self._steps(seconds))}
        train = self.clone / "jobs" / "train.yaml"
        train.write_text(
            train.read_text().replace(SEED_IN_EXAMPLE, f'{SEED_IN_EXAMPLE}\n      STEPS: "{self.training["STEPS"]}"')
        )
        run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote)])
        run(["git", "init", "--quiet", "--initial-branch=main", str(self.clone)])
        self.git("remote", "add", "origin", str(self.remote))
        self.git("config", "--add", "remote.origin.fetch", "+refs/notes/perdure/*:refs/notes/perdure/*")
        self.commit("Declare the first jobs")

    def _steps(self, seconds: float) -> int:
        """Return how many steps this machine trains in so many seconds; a busy machine needs more time for the scenes too."""
        began, before = time.monotonic(), _spent()
        run([sys.executable, str(self.clone / "code" / "train.py")], env={"STEPS": str(TRIAL)})
        took, spent = time.monotonic() - began, _spent() - before
        busy = min(max(took / spent, 1.0), MOST_BUSY)
        return max(1, round(TRIAL / spent * seconds * busy / 1000)) * 1000

    def git(self, *arguments: str) -> str:
        """Run git in the clone, as the person at the desk."""
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        return run(["git", "-C", str(self.clone), *who, *arguments])

    def commit(self, message: str) -> str:
        """Commit everything in the clone and push it; return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        self.git("push", "--quiet", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD").strip()

    def start_loop(self) -> None:
        """Start the reconciler."""
        self._start("reconciler", [str(BIN / "perdure"), "reconcile", "--config", str(self.config)])

    def start_host(self, name: str) -> str:
        """Let one host join with a one-time token, and start its agent; return its name."""
        made = json.loads(self.perdure("token", "create", name, "-o", "json"))
        data = str(self.root / name)
        run([str(BIN / "perdure-agent"), "join", "--data", data, "--name", name, "-"], given=made["token"])
        self._start(name, [str(BIN / "perdure-agent"), "run", "--data", data, "--cpu", "1", "--memory", str(2 << 30)])
        return name

    def lose_host(self, name: str) -> int:
        """End a host as a power cut does: SIGKILL for agent, supervisors and jobs at once, its data gone. Return how many."""
        agent = self._processes.pop(name)
        doomed = {agent.pid, *of_folder(str(self.root / name))}
        doomed |= set(descendants(doomed))
        for pid in doomed:
            _kill(pid, signal.SIGKILL)
        agent.wait()
        shutil.rmtree(self.root / name, ignore_errors=True)
        return len(doomed)

    def perdure(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> str:
        """Run `perdure` as a person would and return what it printed."""
        return run([str(BIN / "perdure"), *arguments, "--config", str(self.config)], expect=expect)

    def jobs(self) -> list[dict[str, Any]]:
        """Return where every job stands, and show it."""
        found: list[dict[str, Any]] = json.loads(self.perdure("status", "-o", "json"))["jobs"]
        self._stage.show(found)
        return found

    def history(self, job: str) -> dict[str, Any]:
        """Return the newest run of a job with its attempts and checkpoints."""
        runs = json.loads(self.perdure("history", job, "-o", "json"))["runs"]
        return dict(runs[-1]) if runs else {"phase": "pending", "attempts": [], "checkpoints": []}

    def until(self, what: str, true: Callable[[], bool], patience: float = 120.0) -> None:
        """Wait for a condition, showing the jobs meanwhile, however slow this machine is.

        Raises TimeoutError once nothing has moved for `patience` seconds, and `DemoError` once a job has failed.
        """
        before, end = None, 0.0
        while True:
            self._alive()
            jobs = self.jobs()
            if true():
                return
            for job in jobs:
                if job["phase"] == "failed":
                    raise DemoError(f"{what}: not any more, for {job['name']} has failed. {job['sentence']}")
            now = [(job["phase"], job["attempt"], job["step"]) for job in jobs]
            if now != before:
                before, end = now, time.monotonic() + patience
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not yet, and nothing has moved for {patience:g} s")
            time.sleep(0.3)

    def _alive(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                tail = (self.logs / f"{name}.log").read_text(errors="replace")[-800:]
                raise DemoError(f"{name} ended with status {process.returncode}:\n{tail}")

    def _start(self, name: str, command: list[str]) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.root, start_new_session=True
            )
        with (self.root / "pids").open("a") as pids:
            pids.write(f"{self._processes[name].pid}\n")

    def close(self, *, forget: bool) -> None:
        """End every process; remove the folder unless something is to be looked at."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        self._sweep()
        if forget:
            shutil.rmtree(self.root, ignore_errors=True)

    def end(self) -> bool:
        """End what an earlier demo left running and remove its folder; return whether there was any."""
        found = self.root.exists()
        self._clear()
        return found

    def _clear(self) -> None:
        """Take away what an earlier demo left running (KEEP=1, or a kill)."""
        if self.root.exists():
            if self.root.stat().st_uid != os.getuid():
                raise DemoError(f"{self.root} belongs to someone else; set TMPDIR to another folder")
            self._sweep()
            shutil.rmtree(self.root)

    def _sweep(self) -> None:
        """End whatever still runs out of the demo's folder: supervisors outlive their agents on purpose."""
        left = of_folder(str(self.root))
        for pid in {*left, *descendants(left)}:
            _kill(pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while of_folder(str(self.root)) and time.monotonic() < end:
            time.sleep(0.01)
        for host in HOSTS:  # as root an agent makes control groups, and one that was killed removes none
            cgroups.discard(cgroups.name_of((self.root / host).resolve()))


def run(command: list[str], *, given: str = "", expect: tuple[int, ...] = (0,), env: Mapping[str, str] | None = None) -> str:
    """Run a command and return its output; `env` comes on top of ours. Raises `DemoError` with what it said."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    if done.returncode not in expect:
        name = " ".join(pathlib.Path(part).name if part.startswith("/") else part for part in command[:4])
        raise DemoError(f"`{name}` ended with status {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def of_folder(folder: str) -> set[int]:
    """Return the processes started with a path below `folder` in their arguments, this one and its parents aside."""
    return {pid for pid, _, arguments in _processes() if f"{folder}/" in arguments and pid not in (os.getpid(), os.getppid())}


def descendants(roots: set[int]) -> set[int]:
    """Return the children, grandchildren, … of some processes."""
    found: set[int] = set()
    table = list(_processes())
    while more := {pid for pid, parent, _ in table if parent in roots | found} - found:
        found |= more
    return found


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield pid, parent's pid and arguments of each; `ps` tells them where no /proc does (a small Linux has no `ps`)."""
    if table := processes.table():
        for pid, process in table.items():
            with contextlib.suppress(OSError):  # it has ended
                yield (
                    pid,
                    process.parent,
                    pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
                )
        return
    for line in run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]).splitlines():
        pid, parent, arguments = line.split(None, 2) if len(line.split(None, 2)) == 3 else (*line.split(None, 2), "")
        yield int(pid), int(parent), arguments


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _spent() -> float:
    """Return the seconds of processor time of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
