"""Whether a container is begun: the agent's word, once, for the container that it is meant for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent import journal, verdicts
from agent.containers import seam, sites
from reconciler import errors
from reconciler.core import container, spec
from tests.agent.containers import rig as rigs
from tests.agent.containers.rig import REF, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def refused(rig: Rig, question: verdicts.Asked) -> str:
    try:
        answer = rig.judge.create(question)
    except errors.Refused as error:
        return str(error)
    assert isinstance(answer, verdicts.Refuse), answer
    return answer.reason


def test_the_judge_grants_one_create(rig: Rig) -> None:
    one = rig.running()
    assert "granted already" in refused(rig, rigs.asked(one.id))
    rig.docker.end(one.id, 0)
    with pytest.raises(errors.Refused, match="granted already"):
        rig.docker.start(one.id)


def test_the_judge_refuses_what_is_not_meant(rig: Rig) -> None:
    one = rig.running()
    assert "no attempt of this host" in refused(rig, rigs.asked(one.id, "f" * 32 + "-1"))
    assert "no attempt of this host" in refused(rig, rigs.asked(one.id, "rubbish"))
    assert "does not list it" in refused(rig, rigs.asked("0" * 64))
    thief = rig.docker.create("thief", {"Image": "train:1", "Labels": {}, "Env": [f"PERDURE_ATTEMPT={REF}"]})
    with pytest.raises(errors.Refused, match="does not list it with the labels"):
        rig.docker.start(thief)
    labels = {**one.body["Labels"], container.ATTEMPT: "2"}
    thief = rig.docker.create("second", {"Image": "train:1", "Labels": labels, "Env": [f"PERDURE_ATTEMPT={REF}"]})
    with pytest.raises(errors.Refused, match="labels name another attempt"):
        rig.docker.start(thief)
    thief = rig.docker.create("third", {**one.body})
    with pytest.raises(errors.Refused, match="granted already"):
        rig.docker.start(thief)


def test_nothing_is_granted_before_the_host_is_ready_or_after_it_is_unwanted(rig: Rig) -> None:
    rig.assign()
    rig.look(1)
    assert rig.book.entries[REF].stage is not journal.Stage.RESTORED
    assert "not ready" in refused(rig, rigs.asked("0" * 64))
    rig.look(1)
    rig.assign(want=spec.Want.STOP)
    rig.agent.tick()
    assert "not wanted" in refused(rig, rigs.asked("0" * 64))


def test_the_judge_never_inspects(rig: Rig) -> None:
    one = rig.running()
    before = rig.docker.calls["inspect"]
    refused(rig, rigs.asked(one.id))
    rig.judge.kill(dataclasses.replace(rigs.asked(one.id), signal=15))
    assert rig.docker.calls["inspect"] == before


@pytest.mark.parametrize(
    ("own", "number", "saves"),
    [
        ("SIGRTMIN+3", 37, True),
        ("rtmax-2", 62, True),
        ("37", 37, True),
        ("SIGUSR1", 10, True),
        ("SIGUSR1", 37, False),
        ("", 37, False),
        ("no signal", 37, False),
    ],
)
def test_the_images_own_stop_signal_may_be_a_real_time_one(rig: Rig, own: str, number: int, saves: bool) -> None:
    """systemd's is SIGRTMIN+3, a number for which Python has no name."""
    one = rig.running()
    rig.control.books.set(REF, stop_signal=own)
    rig.judge.kill(dataclasses.replace(rigs.asked(one.id), signal=number))
    rig.look(3)
    assert bool(rig.item().checkpoints) is saves


def test_why_there_is_no_checkpoint_before_its_engine_ends_it_is_told(rig: Rig) -> None:
    one = rig.running()
    rig.criu.broken = "store main (/srv): the store is full\n  Free space."
    rig.judge.kill(dataclasses.replace(rigs.asked(one.id), signal=15))
    rig.docker.end(one.id, 143)
    told = (
        "its container engine was told to end it, and the checkpoint before that failed: store main (/srv): the store is full"
    )
    assert (rig.ended().stopped, rig.ended().detail) == (True, f"{told}. Free space")


@pytest.mark.parametrize(
    ("root", "there"), [("/run/elsewhere/runtime-runc/moby", "/run/elsewhere/runtime-runc/moby"), ("", "")]
)
def test_what_runc_knows_is_where_its_engine_has_told_it(rig: Rig, root: str, there: str) -> None:
    """dockerd's `exec-root`; the interposer of an earlier version does not say."""
    second = rigs.restored(rig)
    rig.assign(second)
    rig.look(3)
    one = rig.container(second.ref)
    one.state = seam.State.CREATED
    rig.control.books.set(second.ref, granted=False, begun=False, restore=str(rig.folder))
    rig.judge.create(dataclasses.replace(rigs.asked(one.id, str(second.ref)), root=root))
    site = rig.control._sites.site(rig.book.entries[second.ref], lambda: False)
    assert site.container is not None
    assert site.container.state_file == Path(there or sites.RUNC) / one.id / "state.json"


def test_volumes_of_its_own_are_the_engines_word(rig: Rig) -> None:
    """Known from the moment of the grant, also once the engine says nothing any more."""
    second = rigs.restored(rig)
    rig.assign(second)
    rig.look(3)
    one = rig.container(second.ref)
    one.volumes, one.state = ("a" * 64,), seam.State.CREATED
    rig.control.books.set(second.ref, granted=False, begun=False, restore=str(rig.folder))
    answer = rig.judge.create(rigs.asked(one.id, str(second.ref)))
    assert answer == verdicts.Restore(directory=rig.folder, volumes=("a" * 64,))
    rig.docker.trouble = errors.Unavailable("shutting down")
    site = rig.control._sites.site(rig.book.entries[second.ref], lambda: False)
    assert site.container is not None
    assert site.container.volumes == ("a" * 64,)
