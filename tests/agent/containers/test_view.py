"""What is known of an engine that comes and goes."""

from __future__ import annotations

from pathlib import Path

from agent.containers import fake, view
from reconciler import errors
from reconciler.core import container, observed, spec
from reconciler.seams import clock
from tests import conditions
from tests.agent.containers.rig import WHAT, Rig


def test_that_an_engine_has_gone_away_is_known_at_once() -> None:
    """Not only at the next question what it is: until then its host would be chosen for what is to go on elsewhere."""
    docker = fake.FakeDocker(clock=clock.System().now)
    watching = view.View(docker, clock.System())
    watching.open()
    try:
        watching.recent()
        asked = docker.calls["list"]
        docker.trouble = errors.Unavailable("connection refused")
        conditions.eventually(lambda: watching.trouble)
        assert docker.calls["list"] <= asked + 2
        assert watching.about is None
        docker.trouble = None
        conditions.eventually(lambda: watching.about is not None and not watching.trouble)
    finally:
        watching.close()


def test_what_was_given_to_a_host_whose_engine_is_away_is_given_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.docker.trouble = errors.Unavailable("connection refused")
    rig.clock.at += view.STALE + 1
    rig.assign()
    rig.look(3)
    assert rig.item().exit == observed.Exit(kind=observed.ExitKind.NOT_STARTED, detail="connection refused")
    rig.assign(WHAT, want=spec.Want.REMOVE)
    rig.look(3)
    assert rig.agent.state().items
    rig.docker.trouble = None
    rig.look(30)
    assert not rig.agent.state().items


def test_containers_that_an_agent_with_other_data_has_begun_are_told(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    one = rig.running()
    assert rig.agent.state().conditions == ()
    (tmp_path / "agent").rename(tmp_path / "former")
    (tmp_path / "agent").mkdir(mode=0o700)
    rig.link.assignments = None
    rig.start()
    rig.look(3)
    (said,) = rig.agent.state().conditions
    remedy = f"`docker rm --force {one.id[:12]}` ends them"
    assert said == f"unrecorded: containers run here of attempts that this agent knows nothing of; {remedy}"
    rig.docker.containers[one.id].body["Labels"][container.RUN] = ".."
    rig.look(1)
    assert rig.agent.state().conditions == (said,)
    rig.docker.end(one.id, 0)
    rig.look(1)
    assert rig.agent.state().conditions == ()
