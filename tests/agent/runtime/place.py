"""A host of its own for the interposer: its files, a fake runtime, a bundle, and the agent's answers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import verdicts
from agent.runtime import create, pack
from tests.agent.runtime import fake_runc

ROOT = os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == create.EVERYBODY
"""Whether this is the root that containers of ours are made by, and not one that is another user outside."""
SILENT = "the agent does not answer" if ROOT else "its engine maps users"
"""What a marked container is told where no agent is, by whoever runs the tests: it is no container of others."""

CONTAINER = "c0ffee"
ATTEMPT = "abc-3"
MARKED = f"PERDURE_ATTEMPT={ATTEMPT}"
TASK: dict[str, Any] = {
    "pid": 1,
    "uids": [0, 0, 0, 0],
    "gids": [0, 0, 0, 0],
    "groups": [],
    "capabilities": {"bounding": 0b100001, "permitted": 0b100001, "effective": 0b100001, "inheritable": 0},
    "no_new_privileges": False,
    "seccomp": 0,
    "lsm": "",
}
"""A process as root, in `credentials.json`."""


@dataclass
class Answers:
    """A judge that says what it was told to say, and keeps what it was asked."""

    verdict: verdicts.Create | verdicts.Restore | verdicts.Refuse = field(default_factory=verdicts.Create)
    asked: list[tuple[str, verdicts.Asked]] = field(default_factory=list)

    def create(self, asked: verdicts.Asked) -> verdicts.Create | verdicts.Restore | verdicts.Refuse:
        self.asked.append(("create", asked))
        return self.verdict

    def kill(self, asked: verdicts.Asked) -> None:
        self.asked.append(("kill", asked))

    def hold(self, asked: verdicts.Asked) -> None:
        self.asked.append(("hold", asked))

    def started(self, asked: verdicts.Asked) -> None:
        self.asked.append(("started", asked))

    def deleted(self, asked: verdicts.Asked) -> None:
        self.asked.append(("deleted", asked))

    def failed(self, asked: verdicts.Asked) -> None:
        self.asked.append(("failed", asked))

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.asked]


class Place:
    """Everything lies below `folder`; the namespace is `moby`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc, self.run, self.root = folder / "etc", folder / "run", folder / "state" / "moby"
        self.bundle, self.rootfs, self.roots = folder / "bundle", folder / "bundle" / "rootfs", folder / "shared"
        self.log, self.record = folder / "engine.json", folder / "record"
        for one in (self.etc, self.run, self.root, self.rootfs, self.roots, folder / "bin"):
            one.mkdir(parents=True)
        for name, content in pack.files().items():
            (folder / "bin" / name).write_bytes(content)
        self.program = folder / "bin" / pack.PROGRAM
        self.library = folder / "bin" / pack.LIBRARY
        self.program.chmod(0o755)
        self.runc = folder / "bin" / "runc"
        self.runc.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {fake_runc.__file__} {self.record} "$@"\n')
        self.runc.chmod(0o755)
        self.install()

    @property
    def home(self) -> Path:
        """What the interposer keeps of the container."""
        return self.run / "containers" / "moby" / CONTAINER

    def install(self, **changes: Any) -> None:
        """Writes the files of the host as `perdure-agent install` does."""
        (self.etc / "programs").write_text(f"{self.runc}\n{sys.executable}\n")
        value = {
            "version": 1,
            "runc": str(self.runc),
            "python": sys.executable,
            "criu": "/bin/true",
            "socket": str(self.run / "runtime.sock"),
            "log": str(self.folder / "log" / "runtime.log"),
            "deadline": 5,
            "arch": {"roots": [str(self.roots)], "namespaces": ["moby"]},
        }
        (self.etc / "runtime.json").write_text(json.dumps({**value, **changes}))

    def config(self, *env: str, **changes: Any) -> None:
        """Writes the bundle's configuration, as dockerd does for a plain `docker run`."""
        value = {
            "ociVersion": "1.2.0",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["python3", "train.py"],
                "env": ["PATH=/usr/bin", *env],
                "cwd": "/",
                "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"]},
            },
            "root": {"path": str(self.rootfs)},
            "hostname": "c0ffee",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev/shm",
                    "type": "tmpfs",
                    "source": "shm",
                    "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=1048576"],
                },
                {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["rbind", "rprivate"]},
            ],
            "linux": {"namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "pid"}]},
        }
        (self.bundle / "config.json").write_text(json.dumps({**value, **changes}))

    def shaped(self) -> dict[str, Any]:
        """The bundle's configuration as it is now."""
        value: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        return value

    def call(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Calls the interposer as a shim does: these words after the global flags."""
        return self.exactly(*self.flags, *words, **more)

    def exactly(self, *argv: str, fails: str = "", status: int = 1, **more: Any) -> subprocess.CompletedProcess[str]:
        """Calls the interposer with exactly these arguments; the real runtime's subcommand `fails` ends with `status`."""
        environment = {**self.environment, "FAKE_FAILS": fails, "FAKE_STATUS": str(status)}
        return subprocess.run(
            [str(self.program), *argv], check=False, capture_output=True, text=True, env=environment, timeout=60, **more
        )

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Calls the interposer and does not wait."""
        return subprocess.Popen([self.program, *self.flags, *words], env=self.environment)

    @property
    def flags(self) -> list[str]:
        """The global flags of a shim."""
        return ["--root", str(self.root), "--log", str(self.log), "--log-format", "json"]

    @property
    def environment(self) -> dict[str, str]:
        """What a shim's environment would have."""
        places = {"PERDURE_ETC": self.etc, "PERDURE_RUN": self.run, "PERDURE_VAR": self.folder / "var"}
        return {"PATH": os.defpath, **{name: str(path) for name, path in places.items()}}

    def create(self, **more: Any) -> subprocess.CompletedProcess[str]:
        """Calls `create` as containerd's shim does."""
        return self.call("create", "--bundle", str(self.bundle), "--pid-file", str(self.folder / "pid"), CONTAINER, **more)

    def calls(self) -> list[dict[str, Any]]:
        """How the real runtime was called, oldest first."""
        return [json.loads(line) for line in self.record.read_text().splitlines()] if self.record.exists() else []

    def subcommands(self) -> list[str]:
        """The subcommands of those calls."""
        return [call["argv"][6] for call in self.calls()]

    def told(self) -> str:
        """What the engine shows: the last error of the runtime's log."""
        said = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return next((str(line["msg"]) for line in reversed(said) if line["level"] == "error"), "")

    @contextlib.contextmanager
    def agent(self, judge: verdicts.Judge) -> Iterator[None]:
        """Answers where the interposer asks."""
        with verdicts.serve(self.run / "runtime.sock", judge):
            yield

    def overlay(self, lower: Path, upper: Path, work: Path) -> None:
        """Mounts the container's root as Docker does."""
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.rootfs)], check=True)

    def release(self) -> None:
        """Unmounts the container's root."""
        subprocess.run(["umount", "--lazy", str(self.rootfs)], check=False, capture_output=True)

    def clean(self) -> None:
        """Lets go of everything that is mounted."""
        self.release()
        mounted = [self.roots, *(home / name for home in self.run.glob("containers/*/*") for name in ("net", "shm"))]
        for one in mounted:
            subprocess.run(["umount", "--lazy", str(one)], check=False, capture_output=True)
