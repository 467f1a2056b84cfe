"""A container that somebody has paused: it runs, and says why it does not move."""

from __future__ import annotations

from pathlib import Path

from reconciler.core import observed
from tests.agent.containers.rig import Rig


def test_one_that_somebody_paused_says_so_until_it_is_let_go_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    one = rig.running()
    rig.docker.pause(one.id, still=True)
    rig.look(2)
    assert rig.item().state is observed.ItemState.RUNNING
    assert rig.item().condition == f"its container is paused: `docker unpause {one.id[:12]}` lets it go on"
    rig.docker.pause(one.id, still=False)
    rig.look(2)
    assert rig.item().condition == ""
