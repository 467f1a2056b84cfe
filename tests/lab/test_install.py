"""The interposer put in place, replaced and taken away on real engines, with containers running."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests import conditions
from tests.lab import cache, installed, recipe
from tests.lab.docker import LOG, PATIENCE, Docker, ping
from tests.lab.node import Node

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


def refused(node: Node, *words: str) -> str:
    done = node.run([installed.AGENT, *words], check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def versions(node: Node) -> list[str]:
    return sorted(node.out("ls", installed.LIBRARY).split())


def daemon_json(node: Node) -> Any:
    return json.loads(node.path(installed.DAEMON_JSON).read_text())


def another_criu(node: Node) -> str:
    """A criu that differs from the distribution's, as one of another release would."""
    node.run(["sh", "-c", "mkdir -p /opt/new && cp /usr/sbin/criu /opt/new/criu && printf x >> /opt/new/criu"])
    return "/opt/new/criu"


def test_a_running_dockerd_takes_it_without_a_restart(docker: Docker) -> None:
    node = docker.node
    docker.cli("run", "--detach", "--name", "before", recipe.TINY_IMAGE, "sleep", "1000")
    shown = node.run([installed.AGENT, "install", "--dry-run"]).stdout
    assert '+    "default-runtime": "perdure"\n' in shown
    assert docker.cli("info", "--format", INFO) == "runc runc"
    done = installed.agent(node, "install")
    program = f"{installed.LIBRARY}/{done['version']}/perdure-runc"
    assert docker.cli("info", "--format", INFO) == f"perdure {program}"
    assert docker.cli("inspect", "--format", "{{.State.Status}}", "before") == "running"
    assert docker.printed(recipe.TINY_IMAGE, "echo", "hello") == "hello"
    docker.cli("run", "--detach", "--name", "ours", recipe.TINY_IMAGE, "sleep", "1000")
    bundle = f"/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/{docker.inspect('ours')['Id']}"
    assert node.path(f"{bundle}/runtime").read_text() == program, "the shim remembers the version, not the link"
    assert docker.cli("exec", "ours", "echo", "inside") == "inside"
    assert installed.agent(node, "install")["changed"] is False
    installed.restart(docker)
    assert docker.cli("info", "--format", INFO) == f"perdure {program}"
    assert docker.printed(recipe.TINY_IMAGE, "echo", "again") == "again"


def test_an_upgrade_and_uninstalling_leave_running_containers_whole(docker: Docker) -> None:
    node = docker.node
    before = node.path(installed.DAEMON_JSON).read_bytes()
    first = installed.agent(node, "install")["version"]
    docker.cli("run", "--detach", "--name", "old", recipe.TINY_IMAGE, "sleep", "1000")
    done = installed.agent(node, "upgrade", "--criu", another_criu(node))
    second = done["version"]
    assert [use["version"] for use in done["kept"]] == [first]
    assert versions(node) == sorted((first, second))
    docker.cli("run", "--detach", "--name", "new", recipe.TINY_IMAGE, "sleep", "1000")
    assert docker.cli("exec", "old", "echo", "still") == "still"
    docker.cli("stop", "--time", "1", "old")
    docker.cli("rm", "old")
    installed.agent(node, "upgrade")
    assert versions(node) == [second], "nothing lives of the first any more"

    done = installed.agent(node, "uninstall")
    assert docker.cli("info", "--format", INFO) == "runc runc"
    assert [use["version"] for use in done["kept"]] == [second]
    assert docker.cli("exec", "new", "echo", "still") == "still"
    assert docker.printed(recipe.TINY_IMAGE, "echo", "hello") == "hello"
    docker.cli("stop", "--time", "1", "new")
    docker.cli("start", "new")
    assert docker.cli("inspect", "--format", "{{.State.Status}}", "new") == "running"
    installed.restart(docker)
    docker.cli("start", "new")
    docker.cli("rm", "--force", "new")
    installed.agent(node, "uninstall")
    assert node.path(installed.DAEMON_JSON).read_bytes() == before
    assert not node.path(installed.LIBRARY).exists()
    assert not node.path("/etc/perdure").exists()
    assert not node.path("/usr/local/bin/perdure-runc").is_symlink()


COUNTER = (
    "import secrets, time\nnonce = secrets.token_hex(16)\nfor n in range(10**9): print(n, nonce, flush=True); time.sleep(0.02)"
)


def test_a_container_is_checkpointed_by_the_version_that_started_it_and_restored_by_the_next(docker: Docker) -> None:
    node = docker.node
    docker.load(recipe.BASE_IMAGE)
    node.run(["mkdir", "-p", "/mnt/shared"])
    first = installed.agent(node, "install", "--arch-root", "/mnt/shared")["version"]
    run = ("run", "--detach", "--env=ARCH_ENABLE=1", "--env=ARCH_CHECKPOINT_HOST_PATH=/mnt/shared", "--env=AWS_BATCH_JOB_ID=a")
    program = (recipe.BASE_IMAGE, "python3", "-c", COUNTER)
    docker.cli(*run, "--name", "old", *program)

    def said(name: str) -> list[list[str]]:
        return [line.split() for line in docker.cli("logs", name).splitlines() if line.count(" ") == 1]

    conditions.eventually(lambda: len(said("old")) > 20)
    done = installed.agent(node, "upgrade", "--criu", another_criu(node))
    assert [use["version"] for use in done["kept"]] == [first]
    address = "/run/docker/containerd/containerd.sock"
    identity = docker.inspect("old")["Id"]
    node.run(
        ["ctr", "--address", address, "-n", "moby", "tasks", "checkpoint", "--exit", "--image-path", "/tmp/unused", identity]
    )
    conditions.eventually(lambda: docker.inspect("old")["State"]["Status"] == "exited")
    number, nonce = said("old")[-1]
    docker.cli(*run, "--name", "new", *program)
    again = conditions.eventually(lambda: said("new"))[0]
    assert (again[1], int(number) <= int(again[0]) <= int(number) + 2) == (nonce, True)
    docker.cli("rm", "old")
    installed.agent(node, "upgrade")
    assert versions(node) == [done["version"]]


WRONG = {
    "invalid JSON": ('{"debug": true,}', "not valid JSON"),
    "what dockerd does not know": ('{"hosts": ["unix:///run/docker.sock"], "no-such-option": 1}', "no-such-option"),
    "another default": ('{"default-runtime": "kata"}', "the default-runtime is 'kata'"),
    "userns-remap": ('{"userns-remap": "default"}', "userns-remap is on"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_a_daemon_json_that_cannot_be_taken_changes_nothing(docker: Docker, text: str, said: str) -> None:
    node = docker.node
    node.write(installed.DAEMON_JSON, text)
    told = refused(node, "install")
    assert said in told
    assert installed.DAEMON_JSON in told
    assert node.path(installed.DAEMON_JSON).read_text() == text
    assert not list(node.path("/etc/docker").glob("daemon.json?*"))
    assert not node.path(installed.LIBRARY).exists()
    assert not node.path("/etc/perdure").exists()
    assert ping(node)


def test_a_dockerd_that_cannot_reload_gets_its_file_back(docker: Docker) -> None:
    """The flag clashes with the file; it came into being after dockerd had read its flags, so only the reload tells."""
    node = docker.node
    docker.stop()
    own = {"hosts": ["unix:///run/docker.sock"], "exec-opts": ["native.cgroupdriver=cgroupfs"]}
    node.write(installed.DAEMON_JSON, json.dumps({**own, "labels": ["a=1"]}))
    docker.daemon = node.daemon(["dockerd"], log=LOG)
    docker.ready()
    before = json.dumps({**own, "labels": ["a=1", "a=2"]})
    node.write(installed.DAEMON_JSON, before)
    assert "labels" in refused(node, "install")
    assert node.path(installed.DAEMON_JSON).read_text() == before
    assert docker.cli("info", "--format", INFO) == "runc runc"
    assert docker.printed(recipe.TINY_IMAGE, "echo", "hello") == "hello"


SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> /var/log/systemctl
stop() { kill "$(cat "$1")" && while kill -0 "$(cat "$1")"; do :; done; rm -f "$1"; }
case "$1 $2" in
    "restart docker")
        stop /run/docker.pid
        [ -e /root/broken ] && grep -q perdure /etc/docker/daemon.json && echo "Job for docker.service failed." >&2 && exit 1
        setsid dockerd >> /var/log/dockerd.log 2>&1 < /dev/null & ;;
    "restart containerd")
        stop /run/containerd/containerd.pid
        start='echo $$ > /run/containerd/containerd.pid; exec containerd'
        setsid sh -c "$start" >> /var/log/containerd.log 2>&1 < /dev/null & ;;
esac
"""


def with_services(node: Node) -> None:
    """systemd for two services, as far as installing needs it."""
    node.run(["mkdir", "-p", "/run/systemd/system"])
    node.write("/usr/local/sbin/systemctl", SYSTEMCTL, 0o755)


def test_a_restart_where_it_is_asked_for(docker: Docker) -> None:
    node = docker.node
    with_services(node)
    program = f"{installed.LIBRARY}/{installed.agent(node, 'install', '--restart')['version']}/perdure-runc"
    assert node.path("/var/log/systemctl").read_text() == "restart docker\n"
    assert docker.cli("info", "--format", INFO) == f"perdure {program}"
    assert docker.printed(recipe.TINY_IMAGE, "echo", "hello") == "hello"


def test_a_dockerd_that_does_not_start_again_gets_its_file_back(docker: Docker) -> None:
    node = docker.node
    with_services(node)
    node.write("/root/broken", "")
    before = node.path(installed.DAEMON_JSON).read_bytes()
    assert "Job for docker.service failed." in refused(node, "install", "--restart")
    assert node.path(installed.DAEMON_JSON).read_bytes() == before
    assert docker.cli("info", "--format", INFO) == "runc runc", "it was started again, with its own file"
    assert docker.printed(recipe.TINY_IMAGE, "echo", "hello") == "hello"
    assert not node.path(installed.LIBRARY).exists()


# containerd.


def test_containers_go_on_while_containerd_restarts(node: Node) -> None:
    with_services(node)
    containerd = node.containerd(TWO)
    assert containerd.daemon
    node.write("/run/containerd/containerd.pid", f"{containerd.daemon.pid}\n")
    image = containerd.load(recipe.TINY_IMAGE)
    containerd.ctr("run", "--detach", image, "kept", "sleep", "1000")
    done = installed.agent(node, "install", "--engine", "containerd", "--restart")
    assert done["said"] == ["containerd: containerd was restarted, containers go on"]
    assert "RUNNING" in containerd.ctr("tasks", "ls")
    containerd.ctr("tasks", "exec", "--exec-id", "x", "kept", "true")
    containerd.ctr("tasks", "kill", "--signal", "KILL", "kept")
    installed.agent(node, "uninstall", "--restart")
    assert node.path("/etc/containerd/config.toml").read_text() == TWO


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
    done = installed.agent(node, "install", "--engine", "containerd")
    dump = node.out(containerd, "config", "dump")
    part = dump.partition(
        f"{section}'.containerd.runtimes.runc.options]" if "'" in dump else f'{section}".containerd.runtimes.runc.options]'
    )
    assert f"{installed.LIBRARY}/{done['version']}/perdure-runc" in part[2].partition("BinaryName")[2].splitlines()[0], dump
    daemon = node.daemon([containerd], log="/var/log/containerd.log")
    conditions.eventually(
        lambda: node.run(["ctr", "version"], check=False).returncode == 0 or not daemon.alive(), PATIENCE, interval=0.1
    )
    plugins = node.out("ctr", "plugins", "ls")
    states = {line.split()[1]: line.split()[-1] for line in plugins.splitlines() if "cri" in line.split()[1:2]}
    daemon.stop()
    assert states.get("cri") == "ok", f"{plugins}\n{daemon.output()}"
    installed.agent(node, "uninstall", "--engine", "containerd")
    assert (place.read_text() if place.exists() else None) == config


# Podman.


def test_podman_runs_its_containers_through_it(node: Node) -> None:
    with cache.ensure(cache.tell).image(recipe.TINY_IMAGE).open("rb") as archive:
        loading = node.popen(["podman", "load", "--quiet"], stdin=archive)
        output, _ = loading.communicate(timeout=PATIENCE)
    assert loading.returncode == 0, output
    run = ("podman", "--cgroup-manager", "cgroupfs", "run", "--network", "none")
    node.out(*run, "--detach", "--name", "before", recipe.TINY_IMAGE, "sleep", "1000")
    done = installed.agent(node, "install", "--engine", "podman")
    program = f"{installed.LIBRARY}/{done['version']}/perdure-runc"
    assert done["said"] == [f"podman: podman uses {program}"]
    assert node.out(*run, "--rm", recipe.TINY_IMAGE, "echo", "hello") == "hello"
    node.out(*run, "--detach", "--name", "ours", recipe.TINY_IMAGE, "sleep", "1000")
    done = installed.agent(node, "uninstall")
    assert [use["version"] for use in done["kept"]] == [program.split("/")[-2]], done
    for name in ("before", "ours"):
        node.out("podman", "stop", "--time", "1", name)
        node.out("podman", "rm", name)
    conditions.eventually(lambda: not installed.agent(node, "uninstall")["kept"])
    assert not node.path(installed.LIBRARY).exists()
