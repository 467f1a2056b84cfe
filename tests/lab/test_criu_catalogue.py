"""Faults of CRIU that others have met, one by one: docs/reliability.md names them by their numbers."""

from __future__ import annotations

import json

import pytest

from tests.lab.criu_inside import RUNC
from tests.lab.criu_rig import Container, Rig
from tests.lab.node import CommandFailed
from tests.lab.test_criu_refusals import LIVE


def live(rig: Rig, before: str = "", **asked: object) -> Container:
    one = rig.run(["python3", "-c", before + LIVE], **asked)
    one.said()
    return one


@pytest.mark.parametrize("stop", [True, False], ids=["ending", "going on"])
def test_a_container_that_somebody_has_paused(rig: Rig, stop: bool) -> None:
    """It is saved as it stands, continues awake elsewhere, and stays paused here."""
    one = live(rig)
    rig.node.run([*RUNC, "pause", one.name])
    taken = one.take(stop=stop)
    one.continued(taken["digest"]).goes_on()
    if not stop:
        assert json.loads(rig.node.out(*RUNC, "state", one.name))["status"] == "paused"
        rig.node.run([*RUNC, "resume", one.name])
        one.goes_on()


def test_a_container_that_somebody_has_paused_stays_so_where_saving_it_fails(rig: Rig) -> None:
    """Its engine would go on saying that it is paused, and could not let it go on."""
    one = live(rig)
    rig.node.run([*RUNC, "pause", one.name])
    assert "No space left" in one.take(fault="raise at pages")["failed"]
    assert json.loads(rig.node.out(*RUNC, "state", one.name))["status"] == "paused"
    rig.node.run([*RUNC, "resume", one.name])
    one.goes_on()


def test_a_volume_at_a_place_that_is_a_link_in_the_image(rig: Rig) -> None:
    """In Debian's images /var/run leads to /run, and there the mount is."""
    (rig.lab.shared / "linked").mkdir(exist_ok=True)
    volume = {"destination": "/var/run/x", "type": "bind", "source": "/srv/lab/linked", "options": ["rbind"]}
    one = live(rig, "kept = open('/run/x/kept', 'w')\n", mounts=[volume])
    one.moved().moved().goes_on()


def test_an_open_file_of_a_volume_that_has_another_length_since(rig: Rig) -> None:
    """What the program had in mind of it is not true any more: it is not restored, and the reason names the file."""
    folder = rig.lab.shared / "catalogue"
    folder.mkdir(exist_ok=True)
    (folder / "data").write_text("as it was")
    volume = {"destination": "/volume", "type": "bind", "source": "/srv/lab/catalogue", "options": ["rbind"]}
    one = live(rig, "kept = open('/volume/data')\n", mounts=[volume])
    taken = one.take(stop=True)
    (folder / "data").write_text("as it is now, and longer")
    with pytest.raises(CommandFailed, match="volume/data"):
        one.continued(taken["digest"])
    (folder / "data").write_text("as it was")
    one.continued(taken["digest"]).goes_on()
