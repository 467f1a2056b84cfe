"""An engine that does not answer for a while: nothing is concluded from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent.containers import fake, seam
from reconciler import errors
from reconciler.core import observed
from tests.agent.containers import rig as rigs
from tests.agent.containers.rig import REF, WHAT, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_an_engine_that_is_silent_right_before_a_start_is_asked_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has been looked at before, by whoever prepared the attempt."""

    def silent(docker: fake.FakeDocker) -> seam.About:
        del docker
        raise errors.Unavailable("dockerd does not answer")

    rig.assign()
    rig.look(2)
    with monkeypatch.context() as patch:
        patch.setattr(fake.FakeDocker, "about", silent)
        with pytest.raises(errors.Unavailable, match="dockerd does not answer"):
            rig.control.start(rig.book.entries[REF])
    rig.look(4)
    assert rig.item().state is observed.ItemState.RUNNING


def test_an_engine_that_is_silent_is_trouble_and_not_an_end(rig: Rig) -> None:
    rig.running()
    rig.docker.trouble = errors.Unavailable("dockerd does not answer")
    rig.look(100)
    item = rig.item()
    assert item.state is observed.ItemState.RUNNING
    assert item.exit is None
    assert rig.agent.state().conditions == ("containers: dockerd does not answer",)
    assert rig.agent.state().engines == ("application",)
    rig.docker.trouble = None
    rig.look(3)
    assert rig.agent.state().conditions == ()
    assert rig.agent.state().engines == ("application", "criu", "docker")


def test_checkpoints_go_on_while_the_engine_is_away(rig: Rig) -> None:
    """With live-restore containers outlive dockerd, and CRIU does not need it."""
    rig.running(dataclasses.replace(WHAT, checkpoint=dataclasses.replace(rigs.CRIU, interval=10.0)))
    rig.docker.trouble = errors.Unavailable("upgraded just now")
    rig.clock.at += 60
    rig.look(3)
    assert len(rig.item().checkpoints) == 1
