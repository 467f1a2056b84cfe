"""A dump under way whose criu is played: when it is killed, and when it must not be."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import engine
from reconciler.engines.criu import engine as criu_engine
from reconciler.engines.criu import freeze, leftovers, program, runtime_state, takers
from reconciler.seams import clock
from tests.engines.criu.test_before_and_after import state
from tests.engines.program import Memory


def dump(tmp_path: Path, script: str, given_up: Callable[[], str], **changed: object) -> freeze.Freeze:
    """A dump by a program that takes the place of criu, whose container is frozen once it has begun."""
    criu, group = tmp_path / "criu", tmp_path / "cgroup"
    criu.write_text(script)
    criu.chmod(0o700)
    group.mkdir()
    container = engine.Container(id="c1", state_file=tmp_path / "state.json", bundle=tmp_path)
    one = state(tmp_path, cgroup_paths={"freezer": str(group)}, **changed)
    folder, trace = leftovers.begin(tmp_path / "dumps", container, one)
    (group / "freezer.state").write_text("FROZEN")
    order = program.Order(
        pid=one.pid, folder=folder, external=(), freezer=one.freezer, ghost_limit=1, leave_running=True, patience=600
    )
    return freeze.Freeze(str(criu), order, trace, given_up)


def test_a_criu_that_hangs_in_the_kernel_holds_nobody_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes are frozen and do not come to stand, its own limit does not count."""
    monkeypatch.setattr(freeze, "_SEIZING", 0.3)
    monkeypatch.setattr(leftovers, "PATIENCE", 0.3)
    made = dump(tmp_path, "#!/bin/sh\nexec sleep 1000\n", str)
    with pytest.raises(errors.Unavailable, match="did not stand still in time"), made:
        made.standstill()
    assert (tmp_path / "cgroup" / "freezer.state").read_text().startswith("THAWED")


def test_a_criu_that_waits_for_a_program_that_somebody_has_killed_is_ended(tmp_path: Path) -> None:
    """It waits in a futex for what it has put into the program."""
    sleeper = subprocess.Popen(["sleep", "1000"])
    begun = time.monotonic()
    made = dump(
        tmp_path,
        "#!/bin/sh\nexec sleep 1000\n",
        str,
        init_process_pid=sleeper.pid,
        init_process_start=runtime_state.started(sleeper.pid),
    )
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(errors.Unavailable, match="the container was ended meanwhile"), made:
        made.standstill()
    assert time.monotonic() - begun < 30


def test_who_asks_in_the_middle_of_a_dump_waits_for_its_end(tmp_path: Path) -> None:
    made = criu_engine.CriuEngine(clock.System(), tmp_path)
    waiting = threading.Thread(target=made.at_rest, args=("c1",))
    with made.dumping("c1"):
        waiting.start()
        made.at_rest("c2")
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


SENDS = f"""#!{sys.executable} -IS
import pathlib, socket, sys
with socket.socket(fileno=int(sys.argv[sys.argv.index("--ps-socket") + 1])) as pages:
    pages.send(bytes(4))
    while pages.recv(1):
        pass
pathlib.Path(__file__).with_name("undone").touch()
sys.exit(1)
"""
WAITS = """group = pathlib.Path(__file__).with_name("cgroup") / "freezer.state"
    while group.read_text().startswith("FROZEN"):
        pass"""
"""Sends nothing while the container is frozen."""


@pytest.mark.parametrize("begun", [True, False], ids=["pages have come", "before any page"])
def test_a_container_that_somebody_freezes_meanwhile_is_let_go_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """criu cannot move it before, and who killed criu would leave its code in the program."""
    monkeypatch.setattr(freeze, "_SEIZING", 0.3)
    group = tmp_path / "cgroup/freezer.state"
    script = SENDS if begun else SENDS.replace("pages.send(bytes(4))", WAITS)
    made = dump(tmp_path, script, lambda: "it takes too long" if group.read_text().startswith("THAWED") else "")
    with pytest.raises(errors.Unavailable, match="it takes too long"), made:
        made.pages((4, 1), takers.Direct(Memory()), lambda: None)
    assert (tmp_path / "undone").exists()
    assert group.read_text().startswith("FROZEN" if begun else "THAWED")
