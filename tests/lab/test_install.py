"""The interposer put in place, replaced and taken away on real engines, with containers running."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import conditions
from tests.cli import outputs
from tests.lab import cache, recipe
from tests.lab.docker import LOG, PATIENCE, Docker, ping
from tests.lab.lab import CHECKOUT
from tests.lab.node import Node

PROGRAMS = Path(sys.executable).parent
AGENT, PERDURE = (str(PROGRAMS / name) for name in ("perdure-agent", "perdure"))
DAEMON_JSON = "/etc/docker/daemon.json"
LIBRARY = "/usr/local/lib/perdure"
INFO = "{{.DefaultRuntime}} {{(index .Runtimes .DefaultRuntime).Path}}"

CONTAINERD = "github.com/containerd/containerd/v2"
RELEASE = "v2.1.9"
"""Of a line with configurations of version 3; Debian has 1.7. Built as a main of our own: its go.mod forbids `go install`."""

MAIN = f"""\
package main

import (
	"fmt"
	"os"

	_ "{CONTAINERD}/cmd/containerd/builtins"
	"{CONTAINERD}/cmd/containerd/command"
)

func main() {{
	if err := command.App().Run(os.Args); err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
}}
"""


@pytest.fixture
def docker(node: Node) -> Docker:
    """A dockerd of the test's own."""
    return node.docker(images=(recipe.TINY_IMAGE,))


def agent(node: Node, *words: str) -> Mapping[str, Any]:
    done = node.run([AGENT, *words, "-o", "json"])
    found: Mapping[str, Any] = outputs.conforms("agent-install", json.loads(done.stdout))
    return found


def refused(node: Node, *words: str) -> str:
    done = node.run([AGENT, *words], check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def versions(node: Node) -> list[str]:
    return sorted(node.out("ls", LIBRARY).split())


def daemon_json(node: Node) -> Any:
    return json.loads(node.path(DAEMON_JSON).read_text())


def restart(docker: Docker) -> None:
    """dockerd ends and starts with the file as it is: `Docker.restart` would write the lab's own again."""
    docker.stop()
    docker.node.path("/run/docker.pid").unlink(missing_ok=True)
    docker.daemon = docker.node.daemon(["dockerd"], log=LOG)
    docker.ready()


def another_criu(node: Node) -> str:
    """A criu that differs from the distribution's, as one of another release would."""
    node.run(["sh", "-c", "mkdir -p /opt/new && cp /usr/sbin/criu /opt/new/criu && printf x >> /opt/new/criu"])
    return "/opt/new/criu"


def test_a_running_dockerd_takes_it_without_a_restart(docker: Docker) -> None:
    node = docker.node
    docker.cli("run", "--detach", "--name", "before", recipe.TINY_IMAGE, "sleep", "1000")
    shown = node.run([AGENT, "install", "--dry-run"]).stdout
    assert '+    "default-runtime": "perdure"\n' in shown
    assert docker.cli("info", "--format", INFO) == "runc runc"
    done = agent(node, "install")
    program = f"{LIBRARY}/{done['version']}/perdure-runc"
    assert docker.cli("info", "--format", INFO) == f"perdure {program}"
    assert docker.cli("inspect", "--format", "{{.State.Status}}", "before") == "running"
    assert docker.cli("run", "--rm", recipe.TINY_IMAGE, "echo", "hello") == "hello"
    docker.cli("run", "--detach", "--name", "ours", recipe.TINY_IMAGE, "sleep", "1000")
    bundle = f"/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/{docker.inspect('ours')['Id']}"
    assert node.path(f"{bundle}/runtime").read_text() == program, "the shim remembers the version, not the link"
    assert docker.cli("exec", "ours", "echo", "inside") == "inside"
    assert agent(node, "install")["changed"] is False
    restart(docker)
    assert docker.cli("info", "--format", INFO) == f"perdure {program}"
    assert docker.cli("run", "--rm", recipe.TINY_IMAGE, "echo", "again") == "again"


def test_an_upgrade_and_uninstalling_leave_running_containers_whole(docker: Docker) -> None:
    node = docker.node
    before = node.path(DAEMON_JSON).read_bytes()
    first = agent(node, "install")["version"]
    docker.cli("run", "--detach", "--name", "old", recipe.TINY_IMAGE, "sleep", "1000")
    done = agent(node, "upgrade", "--criu", another_criu(node))
    second = done["version"]
    assert [use["version"] for use in done["kept"]] == [first]
    assert versions(node) == sorted((first, second))
    docker.cli("run", "--detach", "--name", "new", recipe.TINY_IMAGE, "sleep", "1000")
    assert docker.cli("exec", "old", "echo", "still") == "still"
    docker.cli("stop", "--time", "1", "old")
    docker.cli("rm", "old")
    agent(node, "upgrade")
    assert versions(node) == [second], "nothing lives of the first any more"

    done = agent(node, "uninstall")
    assert docker.cli("info", "--format", INFO) == "runc runc"
    assert [use["version"] for use in done["kept"]] == [second]
    assert docker.cli("exec", "new", "echo", "still") == "still"
    assert docker.cli("run", "--rm", recipe.TINY_IMAGE, "echo", "hello") == "hello"
    docker.cli("stop", "--time", "1", "new")
    docker.cli("start", "new")
    assert docker.cli("inspect", "--format", "{{.State.Status}}", "new") == "running"
    restart(docker)
    docker.cli("start", "new")
    docker.cli("rm", "--force", "new")
    agent(node, "uninstall")
    assert node.path(DAEMON_JSON).read_bytes() == before
    assert not node.path(LIBRARY).exists()
    assert not node.path("/etc/perdure").exists()
    assert not node.path("/usr/local/bin/perdure-runc").is_symlink()


WRONG = {
    "invalid JSON": ('{"debug": true,}', "not valid JSON"),
    "what dockerd does not know": ('{"hosts": ["unix:///run/docker.sock"], "no-such-option": 1}', "no-such-option"),
    "another default": ('{"default-runtime": "kata"}', "the default-runtime is 'kata'"),
    "userns-remap": ('{"userns-remap": "default"}', "userns-remap is on"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_a_daemon_json_that_cannot_be_taken_changes_nothing(docker: Docker, text: str, said: str) -> None:
    node = docker.node
    node.write(DAEMON_JSON, text)
    told = refused(node, "install")
    assert said in told
    assert DAEMON_JSON in told
    assert node.path(DAEMON_JSON).read_text() == text
    assert not list(node.path("/etc/docker").glob("daemon.json?*"))
    assert not node.path(LIBRARY).exists()
    assert not node.path("/etc/perdure").exists()
    assert ping(node)


def test_a_dockerd_that_cannot_reload_gets_its_file_back(docker: Docker) -> None:
    """The flag clashes with the file; it came into being after dockerd had read its flags, so only the reload tells."""
    node = docker.node
    docker.stop()
    own = {"hosts": ["unix:///run/docker.sock"], "exec-opts": ["native.cgroupdriver=cgroupfs"]}
    node.write(DAEMON_JSON, json.dumps({**own, "labels": ["a=1"]}))
    docker.daemon = node.daemon(["dockerd"], log=LOG)
    docker.ready()
    before = json.dumps({**own, "labels": ["a=1", "a=2"]})
    node.write(DAEMON_JSON, before)
    assert "labels" in refused(node, "install")
    assert node.path(DAEMON_JSON).read_text() == before
    assert docker.cli("info", "--format", INFO) == "runc runc"
    assert docker.cli("run", "--rm", recipe.TINY_IMAGE, "echo", "hello") == "hello"


# containerd.


@pytest.fixture(scope="session")
def containerd_v3() -> Path:
    """containerd 2.1, built once a machine."""
    return cache.build(f"containerd-{RELEASE}", _build) / "containerd"


def _build(into: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI=true, and there is no Go to build containerd 2 with: install golang-go", pytrace=False)
        pytest.skip("containerd 2 is built with Go, which is not here")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "main.go").write_text(MAIN)
        Path(folder, "go.mod").write_text("module perdure.dev/lab\n\ngo 1.24\n")
        stamp = f"-s -w -X {CONTAINERD}/version.Version={RELEASE}"
        build = ["build", "-ldflags", stamp, "-o", str(into / "containerd"), "."]
        for words in (["get", f"{CONTAINERD}@{RELEASE}"], ["mod", "tidy"], build):
            environment = {**os.environ, "CGO_ENABLED": "0"}
            done = subprocess.run([go, *words], cwd=folder, env=environment, check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-4000:]


TWO = """\
# by hand
version = 2
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"  # of the distribution
"""

THREE = """\
# by hand
version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = true  # let systemd do it
"""


@pytest.mark.parametrize("config", [TWO, None], ids=["a file", "none"])
def test_containerd_1_accepts_what_is_written(node: Node, config: str | None) -> None:
    accepts(node, config, "containerd", "io.containerd.grpc.v1.cri")


@pytest.mark.parametrize("config", [THREE, TWO, None], ids=["version 3", "version 2", "none"])
def test_containerd_2_accepts_what_is_written(node: Node, containerd_v3: Path, config: str | None) -> None:
    node.run(["mv", "/usr/bin/containerd", "/usr/bin/containerd-1"])
    shutil.copy(containerd_v3, node.path("/usr/bin/containerd"))
    accepts(node, config, "containerd", "io.containerd.cri.v1.runtime")


def accepts(node: Node, config: str | None, containerd: str, section: str) -> None:
    place = node.path("/etc/containerd/config.toml")
    place.unlink(missing_ok=True)
    if config is not None:
        node.write("/etc/containerd/config.toml", config)
    done = agent(node, "install", "--engine", "containerd")
    dump = node.out(containerd, "config", "dump")
    part = dump.partition(
        f"{section}'.containerd.runtimes.runc.options]" if "'" in dump else f'{section}".containerd.runtimes.runc.options]'
    )
    assert f"{LIBRARY}/{done['version']}/perdure-runc" in part[2].partition("BinaryName")[2].splitlines()[0], dump
    daemon = node.daemon([containerd], log="/var/log/containerd.log")
    conditions.eventually(
        lambda: node.run(["ctr", "version"], check=False).returncode == 0 or not daemon.alive(), PATIENCE, interval=0.1
    )
    plugins = node.out("ctr", "plugins", "ls")
    states = {line.split()[1]: line.split()[-1] for line in plugins.splitlines() if "cri" in line.split()[1:2]}
    daemon.stop()
    assert states.get("cri") == "ok", f"{plugins}\n{daemon.output()}"
    agent(node, "uninstall", "--engine", "containerd")
    assert (place.read_text() if place.exists() else None) == config


# Podman.


def test_podman_runs_its_containers_through_it(node: Node) -> None:
    with cache.ensure(cache.tell).image(recipe.TINY_IMAGE).open("rb") as archive:
        loading = node.popen(["podman", "load", "--quiet"], stdin=archive)
        output, _ = loading.communicate(timeout=PATIENCE)
    assert loading.returncode == 0, output
    run = ("podman", "--cgroup-manager", "cgroupfs", "run", "--network", "none")
    node.out(*run, "--detach", "--name", "before", recipe.TINY_IMAGE, "sleep", "1000")
    done = agent(node, "install", "--engine", "podman")
    program = f"{LIBRARY}/{done['version']}/perdure-runc"
    assert done["said"] == [f"podman: podman uses {program}"]
    assert node.out(*run, "--rm", recipe.TINY_IMAGE, "echo", "hello") == "hello"
    node.out(*run, "--detach", "--name", "ours", recipe.TINY_IMAGE, "sleep", "1000")
    done = agent(node, "uninstall")
    assert [use["version"] for use in done["kept"]] == [program.split("/")[-2]], done
    for name in ("before", "ours"):
        node.out("podman", "stop", "--time", "1", name)
        node.out("podman", "rm", name)
    conditions.eventually(lambda: not agent(node, "uninstall")["kept"])
    assert not node.path(LIBRARY).exists()


# The doctor.

LISTENER = (
    "import os, socket; os.makedirs('/run/perdure', exist_ok=True); s = socket.socket(socket.AF_UNIX);"
    "s.bind('/run/perdure/runtime.sock'); s.listen()\nwhile True: s.accept()[0].close()"
)


@pytest.fixture(scope="module")
def able(lab: Any) -> Iterator[Docker]:
    """A machine on which the doctor finds nothing wrong: dockerd, the interposer, and somebody on the agent's socket."""
    node = lab.node("able")
    docker = node.docker(images=())
    agent(node, "install")
    node.daemon(["python3", "-c", LISTENER], log="/var/log/listener.log")
    conditions.eventually(lambda: node.path("/run/perdure/runtime.sock").exists())
    yield docker
    lab.remove(node)


def failing(node: Node, *around: str) -> list[dict[str, str]]:
    done = node.run([*around, PERDURE, "doctor", "--host", "-o", "json"], check=False)
    assert done.stdout, done.stderr
    document = outputs.conforms("doctor", json.loads(done.stdout))
    assert done.returncode == (0 if document["ok"] else 1)
    return [found for found in document["findings"] if found["state"] == "fail"]


def test_the_doctor_finds_nothing_wrong_with_a_machine_that_can(able: Docker) -> None:
    assert failing(able.node) == []


def inside(script: str) -> tuple[str, ...]:
    """A mount namespace of the doctor's own, in which a script has changed what it sees."""
    return ("unshare", "--mount", "sh", "-c", f'{script}; exec "$@"', "sh")


NOBODY = ("setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""Another user, who can still read the interpreter of the tests wherever it lies."""

KERNEL = "mount -t tmpfs none /proc/sys/kernel && echo 6.12 > /proc/sys/kernel/osrelease"
HIDDEN: dict[str, tuple[tuple[str, ...], str, str]] = {
    # what the doctor does not have: how, the row that fails, part of its remedy
    "root": (NOBODY, "user", "sudo perdure doctor --host"),
    "capabilities": (("setpriv", "--bounding-set=-sys_ptrace"), "capabilities", "--privileged"),
    "CONFIG_CHECKPOINT_RESTORE": (inside(KERNEL), "kernel", "Boot the kernel"),
    "ptrace": (
        inside(f"{KERNEL}; cd /proc/sys/kernel; touch ns_last_pid; mkdir yama; echo 3 > yama/ptrace_scope"),
        "tracing",
        "/etc/sysctl.d",
    ),
    "freezer": (inside("umount /sys/fs/cgroup/freezer"), "freezer", "mount -t cgroup -o freezer"),
}


@pytest.mark.parametrize(("around", "subject", "remedy"), HIDDEN.values(), ids=HIDDEN)
def test_what_the_doctor_cannot_have_is_what_it_names(able: Docker, around: tuple[str, ...], subject: str, remedy: str) -> None:
    found = failing(able.node, *around)
    assert [each["subject"] for each in found] == [subject], found
    assert remedy in found[0]["remedy"]


OLD_CRIU = "#!/bin/sh\necho Version: 3.17.1\n"
BAD_KERNEL = '#!/bin/sh\n[ $1 = --version ] && exec echo Version: 4.1.1\necho "Error (criu/x.c:1): no rseq" >&2; exit 1\n'
CRIU = "$(echo /usr/local/lib/perdure/*/criu)"

TAKEN: dict[str, tuple[str, str, str, str]] = {
    # what is taken away: how, how it comes back, the row that fails, part of its remedy
    "iptables": (
        "mv /usr/sbin/iptables-restore /root",
        "mv /root/iptables-restore /usr/sbin",
        "network lock",
        "apt-get install -y iptables",
    ),
    "tar": ("mv /usr/bin/tar /root", "mv /root/tar /usr/bin", "tar", "apt-get install -y tar"),
    "runc": ("mv /usr/sbin/runc /root", "mv /root/runc /usr/sbin", "runc", "apt-get install -y runc"),
    "criu": (
        f"mv {CRIU} /root/criu",
        "mv /root/criu $(dirname /usr/local/lib/perdure/*/perdure-runc)/criu",
        "criu",
        "perdure-agent install",
    ),
    "a new criu": (
        f"cp {CRIU} /root/criu; cat > {CRIU} <<'E'\n{OLD_CRIU}E",
        f"mv /root/criu {CRIU}",
        "criu",
        "perdure-agent install",
    ),
    "what criu asks of the kernel": (
        f"cp {CRIU} /root/criu; cat > {CRIU} <<'E'\n{BAD_KERNEL}E",
        f"mv /root/criu {CRIU}",
        "criu check",
        "newer kernel",
    ),
    "freedom from criu's files": (
        "mkdir -p /etc/criu; echo leave-running > /etc/criu/default.conf",
        "rm /etc/criu/default.conf",
        "criu configuration",
        "Take it out of /etc/criu/default.conf",
    ),
    "one user namespace": (
        f'cp {DAEMON_JSON} /root; sed -i \'s/{{/{{"userns-remap": "default",/\' {DAEMON_JSON}',
        f"mv /root/daemon.json {DAEMON_JSON}",
        "engine",
        "Take userns-remap out",
    ),
    "the host file": (
        "mv /etc/perdure/runtime.json /root",
        "mv /root/runtime.json /etc/perdure",
        "interposer",
        "perdure-agent install",
    ),
    "root's hold on it": (
        "chmod 666 /etc/perdure/runtime.json",
        "chmod 644 /etc/perdure/runtime.json",
        "interposer",
        "chmod 644",
    ),
    "the prologue's lines": (
        "mv /etc/perdure/programs /root",
        "mv /root/programs /etc/perdure",
        "interposer",
        "perdure-agent install",
    ),
    "the interposer's files": (
        "cd /usr/local/lib/perdure/*; cp perdure-runc /root; sed -i 2d perdure-runc",
        "mv /root/perdure-runc $(echo /usr/local/lib/perdure/*/)",
        "interposer",
        "perdure-agent upgrade",
    ),
}


@pytest.mark.parametrize(("take", "give", "subject", "remedy"), TAKEN.values(), ids=TAKEN)
def test_what_is_taken_away_is_what_the_doctor_names(able: Docker, take: str, give: str, subject: str, remedy: str) -> None:
    node = able.node
    node.run(["sh", "-c", take])
    try:
        found = failing(node)
    finally:
        node.run(["sh", "-c", give])
    assert [each["subject"] for each in found] == [subject], found
    assert remedy in found[0]["remedy"]


def _stopped(docker: Docker) -> Callable[[], None]:
    docker.stop()

    def again() -> None:
        docker.node.path("/run/docker.pid").unlink(missing_ok=True)
        docker.daemon = docker.node.daemon(["dockerd"], log=LOG)
        docker.ready()

    return again


def _not_configured(docker: Docker) -> Callable[[], None]:
    text = docker.node.path(DAEMON_JSON).read_text()
    docker.node.write(DAEMON_JSON, json.dumps({"hosts": ["unix:///run/docker.sock"]}))
    return lambda: docker.node.write(DAEMON_JSON, text)


def _not_reloaded(docker: Docker) -> Callable[[], None]:
    text = docker.node.path(DAEMON_JSON).read_text()
    docker.node.write(DAEMON_JSON, json.dumps({**json.loads(text), "default-runtime": "runc"}))
    assert docker.daemon
    docker.daemon.send(1)
    conditions.eventually(lambda: docker.cli("info", "--format", "{{.DefaultRuntime}}") == "runc")
    docker.node.write(DAEMON_JSON, text)

    def again() -> None:
        assert docker.daemon
        docker.daemon.send(1)
        conditions.eventually(lambda: docker.cli("info", "--format", "{{.DefaultRuntime}}") == "perdure")

    return again


def _no_agent(docker: Docker) -> Callable[[], None]:
    docker.node.run(["mv", "/run/perdure/runtime.sock", "/run/perdure/away"])

    def again() -> None:
        docker.node.run(["mv", "/run/perdure/away", "/run/perdure/runtime.sock"])

    return again


@pytest.mark.parametrize(
    ("take", "subject", "remedy"),
    [
        (_stopped, "use", "systemctl start docker"),
        (_not_configured, "use", "perdure-agent install --engine docker"),
        (_not_reloaded, "use", "systemctl reload docker"),
        (_no_agent, "agent", "systemctl enable --now perdure-agent"),
    ],
)
def test_what_does_not_run_as_it_should_is_named(
    able: Docker, take: Callable[[Docker], Callable[[], None]], subject: str, remedy: str
) -> None:
    again = take(able)
    try:
        found = failing(able.node)
    finally:
        again()
    assert [each["subject"] for each in found] == [subject], found
    assert remedy in found[0]["remedy"]


def test_the_interposer_of_this_checkout_is_what_is_installed(able: Docker) -> None:
    done = agent(able.node, "install", "--dry-run")
    installed = able.node.path(f"{LIBRARY}/{done['version']}/perdure-runc").read_bytes()
    assert installed == (CHECKOUT / "agent" / "runtime" / "perdure-runc").read_bytes()
