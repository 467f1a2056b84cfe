"""A machine as a directory tree: Debian with runc, criu and the engines that a test wants."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.install import dockerd, tomltext, versions
from agent.install.fake import Fake
from agent.install.machine import Answer

DAEMON_JSON = dockerd.CONFIG
FEATURES = json.dumps({"annotations": {"org.opencontainers.runc.checkpoint.enabled": "true"}})


class Tree(Fake):
    """A `Fake` with a dockerd that reads its file as the real one does: at its start and on SIGHUP."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (root / "proc/self/ns").mkdir(parents=True)
        (root / "proc/self/ns/pid").symlink_to("pid:[1]")
        self.write("/etc/os-release", 'ID=debian\nVERSION_ID="13"\n')
        self.binary("runc", lambda words: Answer(status=0, out=FEATURES if words[0] == "features" else "runc version 1.1.15\n"))
        self.binary("python3", folder="/usr/bin")
        self.binary("criu", lambda words: Answer(status=0, out="Version: 4.1.1\n" if "--version" in words else "Looks good.\n"))
        self.on_reload = lambda pid: self.reread()
        self.dockerd = lambda: self.info
        self.info: dict[str, Any] | None = None

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        place.chmod(mode)
        return place

    def read(self, path: str) -> str | None:
        place = self.root / path.lstrip("/")
        return place.read_text(encoding="utf-8") if place.exists() else None

    def binary(self, name: str, program: Any = lambda words: Answer(status=0), folder: str = "/usr/sbin") -> None:
        self.write(f"{folder}/{name}", f"\x7fELF {name}", 0o755)
        self.programs[name] = program

    def process(self, pid: int, words: Sequence[str], user: int = 0, folder: str = "/", numbering: int = 1) -> None:
        self.write(f"/proc/{pid}/cmdline", "".join(f"{word}\0" for word in words))
        self.write(f"/proc/{pid}/status", f"Name:\tx\nUid:\t{user}\t{user}\t{user}\t{user}\n")
        for name, target in (("cwd", folder), ("ns/pid", f"pid:[{numbering}]")):
            link = self.root / "proc" / str(pid) / name
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)

    def docker_engine(self, config: str | None = None, flags: Sequence[str] = (), *, running: bool = True) -> None:
        """Docker from the distribution; its dockerd refuses what is no JSON, and keeps what it does not find any more."""
        self.binary("dockerd", self._validate)
        if config is not None:
            self.write(DAEMON_JSON, config)
        if running:
            self.process(500, ["/usr/sbin/dockerd", *flags])
            self.write(dockerd.PID, "500")
            self.info = {"DefaultRuntime": "runc", "Runtimes": {"runc": {"path": "runc"}}}
            self.reread()

    def reread(self) -> None:
        found: Mapping[str, Any] = json.loads(self.read(DAEMON_JSON) or "{}")
        if self.info is not None:
            self.info["DefaultRuntime"] = found.get("default-runtime", self.info["DefaultRuntime"])
            self.info["Runtimes"] |= found.get("runtimes", {})

    def _validate(self, words: Sequence[str]) -> Answer:
        try:
            json.loads(Path(words[-1]).read_text(encoding="utf-8"))
        except ValueError as error:
            return Answer(status=1, err=f"unable to configure: {error}")
        return Answer(status=0, err="configuration OK")

    def container(self, name: str, runtime: str, *, namespace: str = "moby", state: str = "/run/containerd") -> Path:
        """A running container whose shim remembers its runtime."""
        folder = f"{state}/{versions.TASKS}/{namespace}/{name}"
        self.write(f"{folder}/runtime", runtime)
        return self.root / folder.lstrip("/")

    def made_by_docker(self, name: str, runtime: str) -> Path:
        return self.write(f"/var/lib/docker/containers/{name}/hostconfig.json", json.dumps({"Runtime": runtime}))

    def containerd_engine(self, config: str | None, release: str = "1.7.24") -> None:
        """containerd with pods on it. Its dump is the file that it is given."""

        def containerd(words: Sequence[str]) -> Answer:
            if "--version" in words:
                return Answer(status=0, out=f"containerd github.com/containerd/containerd {release} 1.7.24~ds1-6\n")
            text = Path(words[1]).read_text(encoding="utf-8")
            tomltext.parsed("dump", text)
            return Answer(status=0, out=text)

        self.binary("containerd", containerd)
        self.binary("kubelet")
        if config is not None:
            self.write("/etc/containerd/config.toml", config)

    def podman_engine(self) -> None:
        def podman(_: Sequence[str]) -> Answer:
            drop_in = tomltext.parsed("", self.read("/etc/containers/containers.conf.d/90-perdure.conf") or "")
            programs = tomltext.at(drop_in, ("engine", "runtimes", "runc")) or ["/usr/bin/crun"]
            return Answer(status=0, out=f"{programs[0]}\n")

        self.binary("podman", podman)

    def state(self) -> dict[str, str]:
        """Every file outside of /proc with the digest of its content, and where links lead."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = f"/{path.relative_to(self.root)}"
            if path.is_symlink():
                found[name] = f"-> {os.readlink(path)}"
            elif path.is_file() and not name.startswith("/proc/"):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found
