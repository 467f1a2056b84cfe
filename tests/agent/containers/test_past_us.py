"""An engine that does not call the interposer any more: what is to go on from a checkpoint never begins from its beginning."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent.containers import fake, seam
from reconciler.core import container, failures, observed, spec
from tests.agent.containers import rig as rigs
from tests.agent.containers.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def uninstalled(rig: Rig) -> None:
    rig.docker.judge = None
    rig.docker.known = seam.About(
        version="26.1.5", default_runtime="runc", runtimes={"runc": "runc", "perdure": "/usr/sbin/runc"}
    )


def begun(rig: Rig, what: spec.AttemptSpec) -> fake.FakeContainer:
    """As a Swarm begins it."""
    labels = {**container.labels(what), "com.docker.swarm.service.name": container.name(what.ref)}
    body = {"Image": "train:1", "Labels": labels, "Env": [f"{container.MARKER}={what.ref}"]}
    one = rig.docker.create("task", body)
    rig.docker.start(one)
    return rig.docker.containers[one]


def test_it_is_not_started_where_the_engine_was_told_otherwise_since_it_was_prepared(rig: Rig) -> None:
    second = rigs.restored(rig)
    rig.assign(second)
    rig.look(2)
    uninstalled(rig)
    rig.agent.tick()
    rig.look(2)
    exit = rig.item(second.ref).exit
    assert exit == observed.Exit(
        kind=observed.ExitKind.NOT_STARTED,
        detail="the container engine does not know perdure-runc. Run `perdure-agent install`",
    )
    assert rig.docker.containers == {}


def test_one_that_its_engine_has_begun_past_the_interposer_is_ended_and_was_never_started(rig: Rig) -> None:
    second = dataclasses.replace(rigs.restored(rig), created_by=spec.Creator.ENGINE)
    rig.assign(second)
    rig.look(6)
    assert rig.item(second.ref).ready
    uninstalled(rig)
    one = begun(rig, second)
    rig.look(1)
    assert (rig.item(second.ref).state, rig.item(second.ref).started_at) == (observed.ItemState.PREPARING, None)
    rig.look(6)
    assert one.state is seam.State.EXITED
    item = rig.item(second.ref)
    assert item.exit is not None
    assert (item.state, item.started_at) == (observed.ItemState.ENDED, None)
    assert failures.classify(item.exit).tell(item.exit) == (
        "could not be started: its engine has begun it from its beginning, past perdure-runc, and it was ended. "
        "Run `perdure-agent install`"
    )


def test_one_that_begins_from_its_beginning_all_the_same_goes_on(rig: Rig) -> None:
    """It cannot be saved, and is told so where it is tried."""
    first = dataclasses.replace(rigs.WHAT, created_by=spec.Creator.ENGINE)
    rig.assign(first)
    rig.look(6)
    uninstalled(rig)
    one = begun(rig, first)
    rig.look(6)
    assert (one.state, rig.item().state) == (seam.State.RUNNING, observed.ItemState.RUNNING)
