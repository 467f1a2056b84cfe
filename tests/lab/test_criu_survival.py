"""What of a program survives: one of each thing that a process may hold, over three moves and one checkpoint it outlives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.criu_rig import Rig
from tests.lab.lab import Lab


@pytest.fixture(scope="module")
def shared_rig(lab: Lab) -> Rig:
    return Rig(lab)


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    yield shared_rig
    shared_rig.clean()


def test_everything_that_a_process_may_hold(rig: Rig) -> None:
    one = rig.start("parts.py")
    token = one.goes_on()["token"]
    assert one.said()["bad"] == []
    assert "digest" in one.take()
    assert one.goes_on()["bad"] == []
    for _ in range(3):
        one = one.moved()
        one.goes_on()
        assert one.goes_on() | {"n": 0} == {"n": 0, "bad": [], "token": token, "wrong": 0}


@pytest.mark.parametrize("program", ["pipeline.sh", "training.py"])
def test_programs_of_other_kinds(rig: Rig, program: str) -> None:
    one = rig.start(program)
    one.goes_on()
    for _ in range(2):
        before = one.said()["n"]
        one = one.moved()
        said = one.goes_on()
        assert said["n"] > before
        assert said["wrong"] == 0
