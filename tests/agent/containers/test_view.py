"""What is known of an engine that comes and goes."""

from __future__ import annotations

from agent.containers import fake, view
from reconciler import errors
from reconciler.seams import clock
from tests import conditions


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
