"""The doctor on a machine that has everything, and with each thing taken away: what is named is what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import conditions
from tests.cli import outputs
from tests.lab import installed
from tests.lab.docker import LOG, Docker
from tests.lab.lab import CHECKOUT
from tests.lab.node import Node

LISTENER = (
    "import os, socket; os.makedirs('/run/perdure', exist_ok=True); s = socket.socket(socket.AF_UNIX);"
    "s.bind('/run/perdure/runtime.sock'); s.listen()\nwhile True: s.accept()[0].close()"
)


@pytest.fixture(scope="module")
def able(lab: Any) -> Iterator[Docker]:
    """A machine on which the doctor finds nothing wrong: dockerd, the interposer, and somebody on the agent's socket."""
    node = lab.node("able")
    docker = node.docker(images=())
    installed.agent(node, "install")
    node.daemon(["python3", "-c", LISTENER], log="/var/log/listener.log")
    conditions.eventually(lambda: node.path("/run/perdure/runtime.sock").exists())
    yield docker
    lab.remove(node)


def failing(node: Node, *around: str) -> list[dict[str, str]]:
    done = node.run([*around, installed.PERDURE, "doctor", "--host", "-o", "json"], check=False)
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
        f'cp {installed.DAEMON_JSON} /root; sed -i \'s/{{/{{"userns-remap": "default",/\' {installed.DAEMON_JSON}',
        f"mv /root/daemon.json {installed.DAEMON_JSON}",
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
    text = docker.node.path(installed.DAEMON_JSON).read_text()
    docker.node.write(installed.DAEMON_JSON, json.dumps({"hosts": ["unix:///run/docker.sock"]}))
    return lambda: docker.node.write(installed.DAEMON_JSON, text)


def _not_reloaded(docker: Docker) -> Callable[[], None]:
    text = docker.node.path(installed.DAEMON_JSON).read_text()
    docker.node.write(installed.DAEMON_JSON, json.dumps({**json.loads(text), "default-runtime": "runc"}))
    assert docker.daemon
    docker.daemon.send(1)
    conditions.eventually(lambda: docker.cli("info", "--format", "{{.DefaultRuntime}}") == "runc")
    docker.node.write(installed.DAEMON_JSON, text)

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
    done = installed.agent(able.node, "install", "--dry-run")
    there = able.node.path(f"{installed.LIBRARY}/{done['version']}/perdure-runc").read_bytes()
    assert there == (CHECKOUT / "agent" / "runtime" / "perdure-runc").read_bytes()
