"""What a reader sees of attempts that started after the observation was published."""

from __future__ import annotations

import dataclasses

from reconciler.cli import view
from reconciler.core import model, observed, record, spec

JOB = model.Job(name="train", target="machines", workload=model.Workload(command=("true",)))
REF = spec.AttemptRef(run="run", attempt=1)
RUN = record.Record(
    instance="i",
    run="run",
    tenant="default",
    job="train",
    replica=0,
    identity=1,
    revision="r",
    created_at=0.0,
    phase=record.Phase.RUNNING,
    applied=JOB,
    attempts=(record.Attempt(number=1, target="machines", host="a", intended_at=1.0, started_at=2.0, seen=(5, 7)),),
)


def world(session: int, generation: int) -> observed.World:
    state = observed.HostState(host="a", session=session, generation=generation)
    hosts = {"a": observed.HostView(state=state, seen_at=1.0)}
    return observed.World(at=1.0, targets={"machines": observed.TargetView(name="machines", hosts=hosts)})


def test_an_attempt_that_started_after_the_observation_is_taken_as_running() -> None:
    caught_up = view.caught_up(world(5, 6), [RUN])
    item = caught_up.targets["machines"].items[REF]
    assert (item.state, item.host, item.started_at) == (observed.ItemState.RUNNING, "a", 2.0)


def test_so_is_one_on_a_host_that_was_not_observed_yet() -> None:
    nothing = observed.World(at=1.0, targets={"machines": observed.TargetView(name="machines")})
    assert "a" in view.caught_up(nothing, [RUN]).targets["machines"].hosts


def test_a_newer_observation_that_lacks_it_is_believed() -> None:
    assert REF not in view.caught_up(world(5, 8), [RUN]).targets["machines"].items


def test_a_target_that_could_not_be_listed_stays_unknown() -> None:
    failed = dataclasses.replace(world(5, 6).targets["machines"], known=False)
    before = observed.World(at=1.0, targets={"machines": failed})
    assert view.caught_up(before, [RUN]) == before
