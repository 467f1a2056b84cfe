"""Where control groups can be made, on pictures of both versions; the kernel's part is tested in test_confinement.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent import cgroups
from agent.supervisor import confinement
from reconciler.core import model

LIMITS = model.Resources(cpu=1500, memory=1 << 30)


def picture(root: Path, mountinfo: str, own: str, folders: dict[str, dict[str, str]]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mountinfo)
    (root / "proc/self/cgroup").write_text(own)
    for folder, files in folders.items():
        (root / folder).mkdir(parents=True)
        for name, content in files.items():
            (root / folder / name).write_text(content)
    return root


def test_no_proc_means_no_groups(tmp_path: Path) -> None:
    assert cgroups.detect("x", tmp_path) is None


def test_version_1_lies_below_the_agents_own_groups(tmp_path: Path) -> None:
    mountinfo = "30 25 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    root = picture(tmp_path, mountinfo, "4:pids:/own\n0::/\n", {"sys/fs/cgroup/pids/own": {}})
    assert cgroups.detect("x", root) is None, "a folder that is not the kernel's has no limits to set"
    assert not (root / "sys/fs/cgroup/pids/own/perdure-x/probe").exists()


def test_version_2_needs_the_controllers(tmp_path: Path) -> None:
    mountinfo = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    root = picture(tmp_path, mountinfo, "0::/own\n", {"sys/fs/cgroup/own": {"cgroup.controllers": "cpu pids"}})
    assert cgroups.detect("x", root) is None


def test_version_2_moves_the_agent_into_a_leaf_and_switches_controllers_on(tmp_path: Path) -> None:
    mountinfo = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    files = {"cgroup.controllers": "cpuset cpu io memory pids", "cgroup.subtree_control": ""}
    root = picture(tmp_path, mountinfo, "0::/own\n", {"sys/fs/cgroup/own": files, "sys/fs/cgroup/own/agent": {}})
    found = cgroups.detect("x", root)
    assert found is not None
    own = root / "sys/fs/cgroup/own"
    assert (own / "agent/cgroup.procs").read_text()
    assert (own / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    made = found.create("run-1", LIMITS)
    group = own / "perdure-x/run-1"
    assert set(made.values()) == {str(group)}
    assert (group / "memory.max").read_text() == str(1 << 30)
    assert (group / "cpu.max").read_text() == "150000 100000"
    assert (group / "pids.max").read_text() == str(cgroups.PIDS)


def test_an_agent_in_its_leaf_uses_the_group_above(tmp_path: Path) -> None:
    mountinfo = "30 25 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    files = {"cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": "cpu memory pids"}
    folders = {"sys/fs/cgroup/own": files, "sys/fs/cgroup/own/agent": {}}
    found = cgroups.detect("x", picture(tmp_path, mountinfo, "0::/docker/1/own/agent\n", folders))
    assert found is not None
    assert found.folders["memory"] == tmp_path / "sys/fs/cgroup/own/perdure-x"


def test_what_killed_agents_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    base = tmp_path / "pids"
    for group in (
        "perdure-own/kept",
        "perdure-own/ended",
        "perdure-killed/old",
        "perdure-alive/new",
        "perdure-busy/old/inside",
    ):
        (base / group).mkdir(parents=True)
    for old in ("perdure-killed/old", "perdure-busy/old"):
        os.utime(base / old, (1.0, 1.0))
    cgroups.Groups(version=1, folders={"pids": base / "perdure-own"}).sweep({"kept"}, older=2.0)
    left = {str(group.relative_to(base)) for group in base.glob("*/*/")}
    assert left == {"perdure-own/kept", "perdure-alive/new", "perdure-busy/old"}, "one that is in use is refused by the kernel"
    assert not (base / "perdure-killed").exists()


@pytest.mark.parametrize(
    ("mount", "own"),
    [
        ("/sys/fs/cgroup/pids rw - cgroup cgroup rw,pids", "4:pids:/own"),
        ("/sys/fs/cgroup/pids rw - cgroup2 cgroup2 rw", "0::/own"),
    ],
    ids=["v1", "v2"],
)
def test_the_groups_of_one_agent_that_is_gone_are_discarded(tmp_path: Path, mount: str, own: str) -> None:
    folder = "sys/fs/cgroup/pids/own"
    root = picture(
        tmp_path, f"30 25 0:26 / {mount}\n", f"{own}\n", {f"{folder}/perdure-x/run-1": {}, f"{folder}/perdure-y": {}}
    )
    cgroups.discard("x", root)
    assert [group.name for group in (root / folder).iterdir()] == ["perdure-y"]
    cgroups.discard("x", root)  # nothing is there any more


def test_groups_above_what_is_mounted_are_not_ours(tmp_path: Path) -> None:
    mountinfo = "30 25 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    assert cgroups.detect("x", picture(tmp_path, mountinfo, "0::/other\n", {})) is None


def test_the_memory_counters_of_both_versions_are_read(tmp_path: Path) -> None:
    two, one = tmp_path / "2", tmp_path / "1"
    for folder, file, text in (
        (two, "memory.events", "low 0\noom 3\noom_kill 2\n"),
        (one, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
    ):
        folder.mkdir()
        (folder / file).write_text(text)
    assert confinement.Confinement({"memory": str(two)}).killed_for_memory() == 2
    assert confinement.Confinement({"memory": str(one)}).killed_for_memory() == 1
    assert confinement.Confinement({}).killed_for_memory() == 0


def test_what_the_kernel_does_not_enforce_is_said() -> None:
    assert cgroups.unenforced(None, model.Resources()) == ""
    assert cgroups.unenforced(None, LIMITS).startswith("the cpu limit is not enforced and the memory limit is enforced by")
    both = cgroups.Groups(version=1, folders={"memory": Path("/m"), "cpu": Path("/c")})
    assert cgroups.unenforced(both, LIMITS) == ""
