"""A whole installation in the lab: a repository and the loop on one machine, hosts with dockerd and agents on others."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests import conditions
from tests.lab import recipe
from tests.lab.docker import Docker
from tests.lab.lab import Lab
from tests.lab.node import Daemon, Node

BIN = Path(sys.executable).parent
PLAIN = {"PYTHONDONTWRITEBYTECODE": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
PORT = 7443
PROGRAMS = Path(__file__).with_name("programs")

PLATFORM = """\
apiVersion: perdure.dev/v1alpha1
kind: Target
metadata: {name: machines}
spec: {hosts: {}}
---
apiVersion: perdure.dev/v1alpha1
kind: Store
metadata: {name: main}
spec: {path: {root: %s}}
"""


class Host:
    """A machine with dockerd, the interposer and an agent."""

    def __init__(self, fleet: Fleet, node: Node, docker: Docker) -> None:
        self.fleet = fleet
        self.node = node
        self.docker = docker
        self.agent: Daemon | None = None

    def start(self) -> None:
        """Starts the agent."""
        command = [str(BIN / "perdure-agent"), "run", "--cpu", "8", "--memory", "8Gi", "--docker", "/run/docker.sock"]
        self.agent = self.node.daemon(command, log="/var/log/agent.log", env=PLAIN)

    def stop(self, number: int = 15) -> None:
        """Ends the agent; containers go on."""
        assert self.agent
        self.agent.stop(number)

    def said(self) -> str:
        """What the agent and the interposer have printed last."""
        log = self.node.path("/var/log/perdure/runtime.log")
        return f"{self.agent.output() if self.agent else ''}\n{log.read_text()[-3000:] if log.exists() else ''}"

    def containers(self) -> list[dict[str, Any]]:
        """What dockerd knows of containers of attempts."""
        names = self.docker.cli("ps", "--all", "--quiet", "--no-trunc", "--filter", "label=dev.perdure.attempt").split()
        found = self.node.run(["docker", "inspect", "--type", "container", *names], check=False) if names else None
        listed: list[dict[str, Any]] = json.loads(found.stdout or "[]") if found else []  # one may go meanwhile
        return listed


class Fleet:
    """Made for one test; `close` takes its machines away."""

    def __init__(self, lab: Lab, *, lost_after: str = "6s") -> None:
        self.lab = lab
        self.name = f"fleet{secrets.token_hex(3)}"
        self.outside = lab.shared / self.name
        self.inside = f"/srv/lab/{self.name}"
        (self.outside / "store").mkdir(parents=True)
        self.control = lab.node(f"{self.name}-control")
        self.hosts: dict[str, Host] = {}
        self._loop: Daemon | None = None
        self._prepare(lost_after)

    def close(self) -> None:
        """Ends everything."""
        for host in self.hosts.values():
            self.lab.remove(host.node)
        self.lab.remove(self.control)

    def host(self, name: str, options: Mapping[str, Any] | None = None, criu: str = "") -> Host:
        """Boots a host that has joined, with its agent running. `criu`: a script that takes the place of criu."""
        node = self.lab.node(f"{self.name}-{name}")
        docker = node.docker(options, images=(recipe.BASE_IMAGE,))
        if criu:
            node.write("/opt/criu", criu, 0o755)
        node.run([str(BIN / "perdure-agent"), "install", *(["--criu", "/opt/criu"] if criu else [])], env=PLAIN)
        docker.options = json.loads(node.path("/etc/docker/daemon.json").read_text())  # kept when it starts again
        token = json.loads(self.perdure("token", "create", name, "-o", "json"))["token"]
        node.run([str(BIN / "perdure-agent"), "join", "--name", name, "-"], input=token, env=PLAIN)
        host = self.hosts[name] = Host(self, node, docker)
        host.start()
        return host

    def perdure(self, *arguments: str, check: bool = True) -> str:
        """What `perdure ARGUMENTS` prints."""
        command = [str(BIN / "perdure"), *arguments, "--config", f"{self.inside}/perdure.yaml"]
        return self.control.run(command, env=PLAIN, cwd=self.inside, check=check).stdout

    def commit(self, files: Mapping[str, str | None], message: str = "change") -> None:
        """Writes (or removes) files of the repository and pushes them."""
        desired = self.outside / "desired"
        for name, text in files.items():
            if text is None:
                (desired / name).unlink()
            else:
                (desired / name).write_text(text)
        script = 'git add --all && git commit -q -m "$1" && git push -q origin HEAD:main'
        self.control.run(["sh", "-c", script, "sh", message], cwd=f"{self.inside}/desired", env=PLAIN)

    def start_loop(self) -> None:
        """Starts the reconciler."""
        command = [str(BIN / "perdure"), "reconcile", "--config", f"{self.inside}/perdure.yaml"]
        self._loop = self.control.daemon(command, log="/var/log/perdure.log", env=PLAIN, cwd=self.inside)

    def stop_loop(self, number: int = 15) -> None:
        """Ends the reconciler."""
        assert self._loop
        self._loop.stop(number)

    def run(self, job: str = "") -> dict[str, Any]:
        """The newest run of a job: phase, attempts, checkpoints."""
        said = self.perdure("history", job, "-o", "json", check=False)
        runs = json.loads(said)["runs"] if said.startswith("{") else []
        return dict(runs[-1]) if runs else {"phase": "none", "attempts": [], "checkpoints": []}

    def until(self, job: str, holds: Callable[[dict[str, Any]], Any], timeout: float = 120.0) -> dict[str, Any]:
        """Waits until the newest run of a job is as asked, and returns it."""

        def now() -> dict[str, Any] | None:
            run = self.run(job)
            return run if holds(run) else None

        found = conditions.eventually(now, timeout, interval=0.3, message=lambda: self.told(job))
        assert found
        return found

    def log(self, job: str, *arguments: str) -> str:
        """What a job has printed."""
        return self.perdure("logs", job, *arguments, check=False)

    def told(self, job: str) -> str:
        """Everything that helps to see what went wrong."""
        parts = [json.dumps(self.run(job), indent=1)[-3000:], self.perdure("why", job, check=False), self.log(job)[-1500:]]
        parts += [f"--- {name}\n{host.said()}" for name, host in self.hosts.items() if host.node.running]
        parts.append(f"--- loop\n{self._loop.output() if self._loop else ''}")
        return "\n".join(parts)

    def _prepare(self, lost_after: str) -> None:
        desired = self.outside / "desired"
        script = (
            f"git init -q --bare --initial-branch=main {self.inside}/repository.git && "
            f"git init -q --initial-branch=main {self.inside}/desired && cd {self.inside}/desired && "
            f"git remote add origin {self.inside}/repository.git && "
            "git config user.name Ada && git config user.email ada@example.org"
        )
        self.control.run(["sh", "-c", script], env=PLAIN)
        (self.outside / "perdure.yaml").write_text(
            f"instance: lab\n"
            f"data: /var/lib/perdure/reconciler\n"
            f"source: {{repository: {self.inside}/repository.git, ref: main}}\n"
            f"loop: {{poll: 1s, lostAfter: {lost_after}, lostTries: 3, backoff: 1s}}\n"
            f'agents: {{embedded: false, listen: "{self.control.address}:{PORT}"}}\n'
        )
        (desired / "platform.yaml").write_text(PLATFORM % f"{self.inside}/store")
        self.commit({}, "platform")
        self.start_loop()


def job(name: str, program: str, *, checkpoint: str = "{}", extra: str = "", image: str = recipe.BASE_IMAGE) -> str:
    """A Job of an image that runs a Python program given as text."""
    more = "".join(f"  {line}\n" for line in extra.splitlines())
    return (
        f"apiVersion: perdure.dev/v1alpha1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  target: machines\n"
        f"  workload: {{image: {image}, command: [python3, -u, -c, {quoted(program)}]}}\n"
        f"  checkpoint: {checkpoint}\n{more}"
    )


def quoted(text: str) -> str:
    """A text as YAML takes it anywhere."""
    return json.dumps(text)
