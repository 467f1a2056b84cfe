"""On a kernel with cgroup v2, AppArmor and CAP_SYS_RESOURCE: what this machine's own cannot show.

The tests that run there are `guest_containers.py` and some of the agent's; here each is told as it ended there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from tests.lab import guest_report

CONTAINERS = "tests/lab/guest_containers.py"
PLAIN = "tests/agent/test_confinement.py"
LIMITS = (
    "test_out_of_memory_is_told_by_the_control_group",
    "test_the_control_group_holds_the_limits_and_is_removed",
)
"""Of a plain process."""

BEFORE = """
echo controllers: $(cat /sys/fs/cgroup/cgroup.subtree_control)
criu check 2>&1
criu check --feature mem_dirty_track 2>&1
mkdir -p /sys/fs/cgroup/service/agent
echo $$ > /sys/fs/cgroup/service/agent/cgroup.procs # as systemd does by Delegate=yes and DelegateSubgroup=agent
"""
AFTER = "echo left: $(ls -d /sys/fs/cgroup/perdure-lab/*/* 2> /dev/null)"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    tests = " ".join([*(f"{PLAIN}::{name}" for name in LIMITS), CONTAINERS])
    return guest_report.told(tmp_path_factory.mktemp("given"), tests, before=BEFORE, after=AFTER)


@pytest.fixture(scope="module")
def ended(told: str) -> Mapping[str, str]:
    return guest_report.ended(told)


def test_nodes_there_have_cgroup_v2_with_its_controllers(told: str) -> None:
    found = re.search(r"^controllers: (.*)$", told, re.MULTILINE)
    assert found
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(found[1].split())


def test_criu_is_good_and_tracks_dirty_pages(told: str) -> None:
    assert "Looks good" in told
    assert "mem_dirty_track is supported" in told


@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_a_plain_process(ended: Mapping[str, str], name: str) -> None:
    guest_report.passed(ended, name)


@pytest.mark.parametrize("name", guest_report.names(CONTAINERS))
def test_containers(ended: Mapping[str, str], name: str) -> None:
    guest_report.passed(ended, name)


def test_the_lab_leaves_nothing_there(told: str) -> None:
    assert "\nleft:\n" in told
