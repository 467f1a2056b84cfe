"""On a kernel with cgroup v2, AppArmor and CAP_SYS_RESOURCE: what this machine's own cannot show.

The tests that run there are `guest_containers.py` and some of the agent's; here each is told as it ended there.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from xml.etree import ElementTree

import pytest

from tests.lab import guest_tree
from tests.lab.guest import Guest
from tests.lab.lab import CHECKOUT

CONTAINERS = "tests/lab/guest_containers.py"
PLAIN = "tests/agent/test_confinement.py"
LIMITS = (
    "test_out_of_memory_is_told_by_the_control_group",
    "test_the_control_group_holds_the_limits_and_is_removed",
)
"""Of a plain process."""

MOVED = tuple(re.findall(r"^def (test_\w+)", (CHECKOUT / CONTAINERS).read_text(), re.MULTILINE))
SCRIPT = """
cd {checkout}
echo controllers: $(cat /sys/fs/cgroup/cgroup.subtree_control)
criu check 2>&1
criu check --feature mem_dirty_track 2>&1
mkdir -p /sys/fs/cgroup/service/agent
echo $$ > /sys/fs/cgroup/service/agent/cgroup.procs # as systemd does by Delegate=yes and DelegateSubgroup=agent
export PYTHONDONTWRITEBYTECODE=1
{python} -m pytest -p tests.lab.in_guest -p no:cacheprovider --quiet --junitxml /tmp/report {tests}
echo left: $(ls -d /sys/fs/cgroup/perdure-lab/*/* 2> /dev/null)
echo REPORT; cat /tmp/report
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the guest printed; booting it is dear, so it does everything in one go."""
    tests = [*(f"{PLAIN}::{name}" for name in LIMITS), CONTAINERS]
    script = SCRIPT.format(checkout=shlex.quote(str(CHECKOUT)), python=shlex.quote(sys.executable), tests=" ".join(tests))
    given = guest_tree.lay(tmp_path_factory.mktemp("given"))
    outcome = Guest().run(guest_tree.LAID + script, files=given, timeout=3600)
    assert outcome.status == 0, outcome.output
    return outcome.output


@pytest.fixture(scope="module")
def ended(told: str) -> Mapping[str, str]:
    """By the name of a test: why it did not pass, empty where it did."""
    cases = ElementTree.fromstring(told.partition("\nREPORT\n")[2]).iter("testcase")
    return {
        case.get("name", ""): "\n".join(child.text or child.get("message") or child.tag for child in case) for case in cases
    }


def passed(ended: Mapping[str, str], name: str) -> None:
    if ended[name]:
        pytest.fail(ended[name], pytrace=False)


def test_nodes_there_have_cgroup_v2_with_its_controllers(told: str) -> None:
    found = re.search(r"^controllers: (.*)$", told, re.MULTILINE)
    assert found
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(found[1].split())


def test_criu_is_good_and_tracks_dirty_pages(told: str) -> None:
    assert "Looks good" in told
    assert "mem_dirty_track is supported" in told


@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_a_plain_process(ended: Mapping[str, str], name: str) -> None:
    passed(ended, name)


@pytest.mark.parametrize("name", MOVED)
def test_containers(ended: Mapping[str, str], name: str) -> None:
    passed(ended, name)


def test_the_lab_leaves_nothing_there(told: str) -> None:
    assert "\nleft:\n" in told
