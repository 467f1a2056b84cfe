"""Whether a machine can take checkpoints: with everything there it can, and each thing taken away is the one that is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.install import hostfile, installing, looks, prerequisites, versions
from agent.install.machine import Answer
from reconciler import errors
from tests.agent.install.tree import DAEMON_JSON, Tree

SOCKET = "/run/perdure/runtime.sock"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A machine that has everything."""
    tree = Tree(tmp_path)
    for name in ("iptables-restore", "ip6tables-restore", "tar"):
        tree.binary(name)
    tree.write("/proc/sys/kernel/osrelease", "6.12.0\n")
    tree.write("/proc/sys/kernel/ns_last_pid", "1\n")
    tree.write("/proc/self/map_files", "")
    tree.write("/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n")
    tree.write("/proc/sys/kernel/yama/ptrace_scope", "1\n")
    tree.write("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    tree.docker_engine("{}")
    (tree.root / "var/lib").mkdir(parents=True, exist_ok=True)
    installing.install(tree, installing.Options())
    tree.listening.add(SOCKET)
    return tree


def failing(tree: Tree) -> list[looks.Found]:
    return [found for found in prerequisites.examine(tree) if found.state == "fail"]


def test_a_machine_that_has_everything_can(tree: Tree) -> None:
    found = list(prerequisites.examine(tree))
    assert [each.text for each in found if each.state == "fail"] == []
    assert [each.subject for each in found] == [row.subject for row in prerequisites.TABLE]


def gone(path: str) -> Callable[[Tree], object]:
    return lambda tree: (tree.root / path.lstrip("/")).unlink()


def write(path: str, text: str) -> Callable[[Tree], object]:
    return lambda tree: tree.write(path, text)


def answer(name: str, program: Callable[..., Answer]) -> Callable[[Tree], object]:
    return lambda tree: tree.programs.update({name: program})


def _silent(tree: Tree) -> None:
    tree.info = None


def _forgetful(tree: Tree) -> None:
    assert tree.info is not None
    tree.info["DefaultRuntime"] = "runc"


def _other_release(tree: Tree) -> None:
    told = json.loads(tree.read(hostfile.PATH) or "")
    other = f"{versions.FOLDER}/0.0.1-00000000/criu"
    tree.write(other, tree.read(told["criu"]) or "", 0o755)
    shutil.rmtree((tree.root / told["criu"].lstrip("/")).parent)
    tree.write(hostfile.PATH, json.dumps({**told, "criu": other}))


def _no_criu_of_ours(tree: Tree) -> None:
    (tree.root / json.loads(tree.read(hostfile.PATH) or "")["criu"].lstrip("/")).unlink()


def _no_criu_at_all(tree: Tree) -> None:
    _no_criu_of_ours(tree)
    (tree.root / "usr/sbin/criu").unlink()


def _no_engine(tree: Tree) -> None:
    (tree.root / "usr/sbin/dockerd").unlink()
    shutil.rmtree(tree.root / "proc/500")


def _v1(tree: Tree) -> None:
    (tree.root / "sys/fs/cgroup/cgroup.controllers").unlink()
    tree.write("/proc/self/mountinfo", "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n")


def _check_fails(words: list[str]) -> Answer:
    if "--version" in words:
        return Answer(status=0, out="Version: 4.1.1\n")
    return Answer(status=1, err="Error (criu/cr-check.c:1): Kernel doesn't support PTRACE_O_SUSPEND_SECCOMP\n")


REMOVED: dict[str, tuple[Callable[[Tree], object], str, str, str]] = {
    # what is taken away: how, the row that fails, part of what it says, part of what mends it
    "Linux": (gone("/proc/sys/kernel/osrelease"), "system", "this is", "Linux machine"),
    "root": (lambda tree: setattr(tree, "user", 1000), "user", "this is user 1000", "sudo perdure doctor --host"),
    "CAP_SYS_PTRACE": (
        write("/proc/self/status", "CapEff:\t000001fffff7ffff\n"),
        "capabilities",
        "root lacks CAP_SYS_PTRACE",
        "--privileged",
    ),
    "CONFIG_CHECKPOINT_RESTORE": (gone("/proc/sys/kernel/ns_last_pid"), "kernel", "CONFIG_CHECKPOINT_RESTORE", "kernel"),
    "ptrace": (write("/proc/sys/kernel/yama/ptrace_scope", "3\n"), "tracing", "ptrace_scope is 3", "/etc/sysctl.d"),
    "freezer": (_v1, "freezer", "/sys/fs/cgroup/freezer is not mounted", "mount -t cgroup -o freezer"),
    "iptables": (
        gone("/usr/sbin/iptables-restore"),
        "network lock",
        "iptables-restore not found",
        "apt-get install -y iptables",
    ),
    "ip6tables": (gone("/usr/sbin/ip6tables-restore"), "network lock", "ip6tables-restore not found", "iptables"),
    "tar": (gone("/usr/sbin/tar"), "tar", "tar is not found", "apt-get install -y tar"),
    "runc": (gone("/usr/sbin/runc"), "runc", "/usr/sbin/runc is not there", "apt-get install -y runc"),
    "a runc with checkpoints": (
        answer("runc", lambda words: Answer(status=0, out="runc version 1.2.0\n")),
        "runc",
        "built without checkpoints",
        "runc",
    ),
    "a new enough criu": (
        answer("criu", lambda words: Answer(status=0, out="Version: 3.17.1\n")),
        "criu",
        "version 3.17.1; 4.0 is the oldest that works",
        "perdure-agent install",
    ),
    "our criu": (_no_criu_of_ours, "criu", "/criu is not there", "perdure-agent install"),
    "every criu": (
        _no_criu_at_all,
        "criu",
        "/criu is not there",
        "apt-get install -y criu; perdure-agent install",
    ),
    "what criu asks of the kernel": (
        answer("criu", _check_fails),
        "criu check",
        "Kernel doesn't support PTRACE_O_SUSPEND_SECCOMP",
        "newer kernel",
    ),
    "freedom from criu's files": (
        write("/etc/criu/runc.conf", "tcp-established\nimages-dir /tmp/x\n"),
        "criu configuration",
        "/etc/criu/runc.conf sets images-dir",
        "Take it out",
    ),
    "every engine": (_no_engine, "engine", "no container engine is here", "apt-get install -y docker.io"),
    "one user namespace": (
        write(DAEMON_JSON, '{"userns-remap": "default"}'),
        "engine",
        "userns-remap is on (default)",
        "Take userns-remap out",
    ),
    "the host file": (gone(hostfile.PATH), "interposer", f"{hostfile.PATH} is not there", "perdure-agent install"),
    "root's hold on the host file": (
        lambda tree: (tree.root / hostfile.PATH.lstrip("/")).chmod(0o666),
        "interposer",
        "others can write it",
        "chmod 644",
    ),
    "root's hold on the interposer": (
        lambda tree: (tree.root / versions.FOLDER.lstrip("/")).chmod(0o777),
        "interposer",
        f"others can change {versions.FOLDER}",
        "chmod -R go-w",
    ),
    "the prologue's two lines": (write(hostfile.PROGRAMS, "/usr/bin/runc\n"), "interposer", "does not say what", "install"),
    "Python": (gone("/usr/bin/python3"), "interposer", "its Python, /usr/bin/python3, is not there", "install"),
    "this release": (_other_release, "interposer", "is not there as this release has it", "perdure-agent upgrade"),
    "the configuration of the engine": (
        write(DAEMON_JSON, "{}"),
        "use",
        "docker is not configured to use it",
        "perdure-agent install --engine docker",
    ),
    "the reload": (_forgetful, "use", "has not read its configuration since", "systemctl reload docker"),
    "dockerd": (_silent, "use", "dockerd does not answer", "systemctl start docker"),
    "the agent": (
        lambda tree: tree.listening.clear(),
        "agent",
        f"nobody answers on {SOCKET}",
        "systemctl enable --now perdure-agent",
    ),
}


@pytest.mark.parametrize(("remove", "subject", "said", "remedy"), REMOVED.values(), ids=REMOVED)
def test_what_is_taken_away_is_what_is_named(
    tree: Tree, remove: Callable[[Tree], object], subject: str, said: str, remedy: str
) -> None:
    remove(tree)
    found = failing(tree)
    assert [each.subject for each in found] == [subject], found
    assert said in found[0].text
    assert remedy in found[0].remedy


def test_every_row_that_can_fail_is_taken_away_once() -> None:
    taken = {subject for _, subject, _, _ in REMOVED.values()}
    assert {row.subject for row in prerequisites.TABLE} - taken == {"space"}, "a full disk is a warning"


def test_rows_need_only_rows_before_them() -> None:
    seen: set[str] = set()
    for row in prerequisites.TABLE:
        assert seen.issuperset(row.needs), row.subject
        assert row.why
        seen.add(row.subject)


def test_before_anything_is_installed_the_doctor_names_that(tree: Tree) -> None:
    installing.uninstall(tree, installing.Options())
    assert [(each.subject, each.remedy) for each in failing(tree)] == [("interposer", "perdure-agent install")]


def test_a_machine_for_the_variables_of_arch_needs_no_agent(tree: Tree) -> None:
    installing.install(tree, installing.Options(arch_roots=("/mnt/shared",)))
    tree.listening.clear()
    found = {each.subject: each for each in prerequisites.examine(tree)}
    assert (failing(tree), found["agent"].state) == ([], "warn")


def test_other_distributions_are_told_their_own_command(tree: Tree) -> None:
    tree.write("/etc/os-release", 'ID="rocky"\nID_LIKE="rhel centos fedora"\n')
    (tree.root / "usr/sbin/tar").unlink()
    assert failing(tree)[0].remedy == "dnf install -y tar"


@pytest.mark.parametrize(
    ("kernel", "state"), [("6.15.9-cloud", "ok"), ("6.16.0", "warn"), ("6.18.44", "warn"), ("7.0", "warn")]
)
def test_a_criu_that_cannot_read_sockets_of_this_kernel_is_a_warning(tree: Tree, kernel: str, state: str) -> None:
    tree.write("/proc/sys/kernel/osrelease", f"{kernel}\n")
    found = next(each for each in prerequisites.examine(tree) if each.subject == "criu")
    assert (found.state, "Install criu 4.2 or newer" in found.remedy) == (state, state == "warn")


def test_a_v1_freezer_is_enough(tree: Tree) -> None:
    _v1(tree)
    tree.write("/proc/self/mountinfo", "31 25 0:27 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n")
    assert failing(tree) == []


def test_what_cannot_be_read_is_a_finding_of_its_row(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise errors.Unavailable("cannot be read: Input/output error", where=hostfile.PATH, remedy="Look at the disk.")

    monkeypatch.setattr(hostfile, "load", broken)
    assert [each.subject for each in failing(tree)] == ["interposer"]
