"""Nothing of a lab outlives the process that made it, and what a violent end leaves is swept by the next lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import conditions, processes
from tests.lab import cgroups, slots
from tests.lab.lab import CHECKOUT, Lab
from tests.lab.slots import Slot

OWNER = """
import json, os, time
from tests.lab.lab import Lab
site = Lab()
node = site.node("one")
node.daemon(["sleep", "4244"], log="/log")
site.store("depot", "8m", "ext4")
told = {"slot": site.number, "folder": str(site.shared.parent), "init": node.init, "supervisor": site.supervisor}
print(json.dumps(told), flush=True)
input()
os._exit(0)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process with a lab of its own."""

    process: subprocess.Popen[str]
    slot: Slot
    init: int
    supervisor: int

    def traces(self) -> list[str]:
        """What is left of its lab."""
        found = [str(one) for one in Path("/sys/class/net").glob(f"{self.slot.bridge}*")]
        found += [str(one.place / self.slot.group) for one in cgroups.hierarchies() if (one.place / self.slot.group).exists()]
        found += [str(self.slot.folder)] if self.slot.folder.exists() else []
        found += [pid for pid in (str(self.init), str(self.supervisor)) if Path("/proc", pid).exists()]
        loops = subprocess.run(
            ["losetup", "--list", "--output", "BACK-FILE"], check=True, capture_output=True, text=True
        ).stdout
        return found + [line for line in loops.splitlines() if str(self.slot.folder) in line]


@pytest.fixture
def owner(lab: Lab) -> Iterator[Owner]:
    assert lab.supervisor  # where no lab can be, there is none to watch
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdin
    try:
        told = json.loads(process.stdout.readline())
        slot = Slot(number=told["slot"], folder=Path(told["folder"]))
        yield Owner(process=process, slot=slot, init=told["init"], supervisor=told["supervisor"])
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_several_labs_live_beside_each_other(lab: Lab, owner: Owner) -> None:
    assert lab.number != owner.slot.number
    assert len(owner.traces()) > 10
    assert lab.node("beside").out("hostname") == "beside"
    lab.remove(lab.nodes["beside"])


@pytest.mark.parametrize("how", ["returns", "is_killed"])
def test_a_parent_that_ends_leaves_nothing(owner: Owner, how: str) -> None:
    if how == "returns":
        assert owner.process.stdin
        owner.process.stdin.write("\n")
        owner.process.stdin.flush()
    else:
        owner.process.kill()
    owner.process.wait(timeout=60)
    conditions.eventually(lambda: not owner.traces(), timeout=60, message=lambda: f"left: {owner.traces()}")


def test_what_a_killed_supervisor_leaves_is_swept_by_the_next_lab(owner: Owner) -> None:
    os.kill(owner.supervisor, signal.SIGKILL)
    owner.process.kill()
    owner.process.wait(timeout=60)
    conditions.eventually(lambda: not Path("/proc", str(owner.init)).exists(), timeout=60)
    assert owner.slot.folder.exists()
    slots.reap(owner.slot.folder.parents[1])
    conditions.eventually(lambda: not owner.traces(), timeout=60, message=lambda: f"left: {owner.traces()}")


def test_the_session_lab_has_one_child(lab: Lab) -> None:
    assert lab.supervisor in {one.pid for one in processes.children()}
