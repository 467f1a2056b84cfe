"""The containers' part of an agent, put together and taken apart."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from pathlib import Path

import pytest

from agent import journal
from agent.containers import opening, room
from agent.install import hostfile
from reconciler import errors
from reconciler.contracts import store
from reconciler.core import container, spec
from reconciler.seams import clock
from tests import conditions
from tests.agent.containers.rig import IMAGE, REF, WHAT, Rig

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root answers the interposer")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    made.docker.judge = None
    made.about = dataclasses.replace(made.about, clock=clock.System())
    return made


def known(rig: Rig) -> hostfile.HostFile:
    return hostfile.HostFile(
        runc="/usr/sbin/runc", python="/usr/bin/python3", criu="/no/criu", socket=str(rig.folder / "run/runtime.sock")
    )


def left(rig: Rig, ref: spec.AttemptRef) -> str:
    labels = {container.INSTANCE: "i", container.RUN: ref.run, container.ATTEMPT: str(ref.attempt)}
    return rig.docker.create(container.name(ref), {"Image": IMAGE.id, "Labels": labels})


def test_containers_of_forgotten_attempts_are_removed(rig: Rig) -> None:
    gone, strange = spec.AttemptRef(run="2" * 32, attempt=1), spec.AttemptRef(run="3" * 32, attempt=1)
    left(rig, gone)
    other = left(rig, strange)  # of nobody that this agent knows: it may run, and is left alone
    rig.book.save_host(journal.forgetting(rig.book.host, gone))
    with opening.opened(rig.about, rig.book, rig.docker, known(rig)):
        assert list(rig.docker.containers) == [other]


@root
def test_the_interposer_is_answered_while_it_is_open(rig: Rig) -> None:
    path = Path(known(rig).socket)
    with opening.opened(rig.about, rig.book, rig.docker, known(rig)), socket.socket(socket.AF_UNIX) as asks:
        asks.connect(str(path))
        question = {"v": 1, "verb": "create", "container": "c", "namespace": "moby", "attempt": str(REF), "bundle": "/b"}
        asks.sendall(json.dumps(question).encode() + b"\n")
        assert json.loads(asks.makefile().readline())["verdict"] == "refuse"
    assert not path.exists()


@root
def test_a_second_agent_says_that_there_is_a_first(rig: Rig) -> None:
    with (
        opening.opened(rig.about, rig.book, rig.docker, known(rig)),
        opening.opened(rig.about, rig.book, rig.docker, known(rig)) as second,
    ):
        assert "another agent answers there" in second.offers().conditions[0]
        assert second.offers().engines == ("docker",)


def test_a_machine_without_criu_or_root_says_so(rig: Rig) -> None:
    lacking = "criu is not on this machine" if os.geteuid() == 0 else "need root"
    with opening.opened(rig.about, rig.book, rig.docker, known(rig)) as control:
        conditions.eventually(lambda: lacking in control.offers().conditions[0], message=lambda: str(control.offers()))
        assert control.offers().engines == ("docker",)


@root
def test_a_host_tells_what_its_processor_offers(rig: Rig) -> None:
    criu = rig.folder / "criu"
    criu.write_text('#!/bin/sh\n[ "$1" = check ] && echo "Looks good." || echo "Version: 4.2"\n')
    criu.chmod(0o700)
    rig.criu.processor = "x86_64 9:20"
    with opening.opened(rig.about, rig.book, rig.docker, dataclasses.replace(known(rig), criu=str(criu))) as control:
        conditions.eventually(lambda: "criu" in control.offers().engines, message=lambda: str(control.offers()))
        assert control.offers().facts["processor"] == "x86_64 9:20"


def test_an_engine_that_is_down_at_the_start_is_a_condition(rig: Rig) -> None:
    rig.docker.trouble = errors.Unavailable("nobody listens", where="/run/docker.sock")
    with opening.opened(rig.about, rig.book, rig.docker, known(rig)) as control:
        assert control.offers().engines == ()
        assert "nobody listens" in control.offers().conditions[0]


def test_what_was_laid_out_for_nobody_is_removed(tmp_path: Path) -> None:
    for name in (str(REF), f"{REF}{room.PARTIAL}", "2-1", f"2-1{room.PARTIAL}"):
        (tmp_path / name).mkdir()
    room.swept({str(REF)}, tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {str(REF), f"{REF}{room.PARTIAL}"}


@pytest.mark.parametrize(("wanted", "expected"), [("none", ""), ("/x.sock", "/x.sock")])
def test_the_socket_that_is_used(wanted: str, expected: str) -> None:
    assert opening.socket(wanted) == expected


def test_a_checkpoint_goes_to_memory_only_where_it_fits(rig: Rig) -> None:
    place = rig.about.places.attempt(WHAT.ref)

    class Large:
        def entries(self) -> list[object]:
            return [store.FileEntry(path="pages", size=1 << 60)]

    assert room.for_restore(place, WHAT.ref, Large(), rig.folder / "memory") == place.private / "restore"  # type: ignore[arg-type]


def test_an_upgrade_beside_a_running_agent_gives_it_another_criu(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version of before is gone as soon as nothing runs by it, and the agent goes on."""
    made = opening.engine(rig.folder / "dumps", clock.System())
    for each in (known(rig), dataclasses.replace(known(rig), criu="/new/criu")):
        monkeypatch.setattr(opening, "told", lambda each=each: each)
        assert made.criu == each.criu
    monkeypatch.setattr(opening, "told", lambda: None)
    assert made.criu == opening.CRIU
