"""Passes of the plan over the Swarm target: from a manifest to a finished run, and back from what goes wrong on the way."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reconciler import annotate
from reconciler.contracts import swarm
from reconciler.core import action, container, facts, model, observed, plan, record, spec
from tests.targets.test_swarm import AT, Site

State = observed.ItemState
EXITED = observed.Exit(kind=observed.ExitKind.EXITED, code=0)
JOB = model.Job(
    name="train",
    target="cluster",
    workload=model.Workload(image="train:1"),
    checkpoint=model.CheckpointPolicy(engine=model.EngineName.NONE),
    on_lost=model.OnLost.REPLACE,
    resources=model.Resources(cpu=1000),
)


class Loop:
    """What the loop does in a pass, without its ledger."""

    def __init__(self) -> None:
        self.site = Site()
        targets = {"cluster": model.TargetSpec(name="cluster", swarm=model.SwarmSpec(host="unix:///run/docker.sock"))}
        self.desired = model.Desired(revision="r", jobs={JOB.ref: JOB}, targets=targets)
        self.records: dict[str, record.Record] = {}
        self.now = AT

    def passes(self, seconds: float = 1.0) -> list[str]:
        """Make one pass, and return what it did as verbs and attempts."""
        self.now += seconds
        self.site.clock.pass_(seconds)
        world = observed.World(at=self.now, targets={"cluster": self.site.target.observe(self.now)})
        assert annotate.read(annotate.published(world)).targets.keys() == world.targets.keys()
        given = facts.Facts(instance="test", desired=self.desired, records=self.records, world=world, now=self.now)
        planned = plan.compute(given)
        self.records = {**self.records, **planned.records}
        for act in planned.actions:
            if act.verb is action.Verb.REMOVE and act.attempt is not None:
                self.site.target.delete(spec.AttemptRef(run=act.run, attempt=act.attempt), act.host)
            elif act.acts and act.assignment is not None:
                self.site.target.apply(act.assignment)
        return [f"{act.verb.value} {act.attempt}" for act in planned.actions if act.acts]

    @property
    def run(self) -> record.Record:
        (one,) = self.records.values()
        return one

    def host(self) -> Any:
        """The host of the newest attempt."""
        return {"a": self.site.a, "b": self.site.b}[self.run.attempts[-1].host]

    def says(self, state: observed.ItemState, **more: Any) -> None:
        """The host of the newest attempt has taken over what it was told, and says where that stands."""
        host, attempt = self.host(), self.run.attempts[-1]
        given = self.site.link.newest(attempt.host)
        assert given is not None
        what = next(each.spec for each in given.items if each.spec.attempt == attempt.number)
        item = observed.Item(ref=what.ref, state=state, host=attempt.host, spec=what, **more)
        others = [each for each in host.state.items if each.ref != what.ref]
        host.report(*others, item, accepted=given.generation)

    def begin(self) -> None:
        self.passes()
        self.says(State.PREPARING, ready=True)
        self.passes()
        self.site.managers.step()
        self.says(State.RUNNING, started_at=self.now)
        assert self.passes() == []

    def services(self) -> list[str]:
        return [body["Name"] for body in self.site.managers.bodies.values()]


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_from_a_manifest_to_a_finished_run(loop: Loop) -> None:
    assert loop.passes() == ["start 1"]
    assert loop.run.attempts[0].created_by is spec.Creator.ENGINE
    assert loop.services() == []
    loop.says(State.PREPARING)
    assert loop.passes() == []
    loop.says(State.PREPARING, ready=True)
    assert loop.passes() == ["start 1"]
    name = container.name(spec.AttemptRef(run=loop.run.run, attempt=1))
    assert loop.services() == [name]
    assert loop.passes() == [], "created, and not asked for again"
    loop.site.managers.step()
    loop.says(State.RUNNING, started_at=loop.now)
    assert loop.passes() == []
    loop.site.managers.end(name, "complete", "finished")
    loop.says(State.ENDED, started_at=loop.now, ended_at=loop.now, exit=EXITED)
    assert loop.passes() == ["remove 1"]
    assert loop.run.phase is record.Phase.FINISHED
    assert loop.services() == [name], "its host sends the last output first"
    loop.host().obey()
    assert loop.passes() == ["remove 1"]
    assert (loop.services(), loop.passes()) == ([], [])


def test_without_a_leader_nothing_happens_and_nothing_is_lost(loop: Loop) -> None:
    loop.begin()
    loop.site.managers.silent = "The swarm does not have a leader."
    loop.host().leave()
    for _ in range(20):
        assert loop.passes(60.0) == []
    assert loop.run.attempts[0].live
    assert loop.services() != []


def test_a_lost_host_is_replaced_and_its_service_removed(loop: Loop) -> None:
    loop.begin()
    lost = loop.host()
    lost.leave()
    stays = loop.site.b if lost is loop.site.a else loop.site.a
    done: list[str] = []
    for _ in range(40):
        stays.report()
        done += loop.passes(10.0)
    assert [attempt.ending for attempt in loop.run.attempts] == [record.Ending.LOST, None]
    assert "remove 1" in done
    assert loop.services() == [], "attempt 2 is not ready yet"
    loop.says(State.PREPARING, ready=True)
    loop.passes()
    assert loop.services() == [container.name(spec.AttemptRef(run=loop.run.run, attempt=2))]


def test_what_cannot_be_created_is_tried_again_as_another_attempt(loop: Loop) -> None:
    loop.passes()
    loop.says(State.PREPARING, ready=True)
    loop.passes()
    loop.site.managers.end(loop.services()[0], "rejected", "No such image: train:1")
    assert loop.passes() == ["remove 1", "start 2"]
    assert loop.run.attempts[0].failure == "StartFailed"
    assert loop.run.attempts[0].detail.endswith("No such image: train:1")


def test_a_new_reconciler_adopts_what_runs(loop: Loop) -> None:
    loop.begin()
    loop.site.target = loop.site.make()
    assert loop.passes() == []
    assert len(loop.site.managers.asked) == 1


def test_what_others_reserve_is_waited_for(loop: Loop) -> None:
    whole = dataclasses.replace(JOB, resources=model.Resources(cpu=4000))
    loop.desired = dataclasses.replace(loop.desired, jobs={whole.ref: whole})
    loop.site.managers.others = [
        swarm.Task(id=node, service="web", node=node, state="running", cpu=500) for node in loop.site.managers.nodes
    ]
    assert loop.passes() == []
    loop.site.managers.others = []
    assert loop.passes() == ["start 1"]


def test_what_no_node_can_hold_is_told(loop: Loop) -> None:
    huge = dataclasses.replace(JOB, resources=model.Resources(cpu=64000))
    loop.desired = dataclasses.replace(loop.desired, jobs={huge.ref: huge})
    assert loop.passes() == []
    given = observed.World(at=loop.now, targets={"cluster": loop.site.target.observe(loop.now)})
    planned = plan.compute(facts.Facts(instance="test", desired=loop.desired, records=loop.records, world=given, now=loop.now))
    assert "no host of target cluster can hold it: 2 of 2 hosts too small" in planned.actions[0].sentence


def test_a_task_that_outlives_its_attempt_is_ended_by_removing_its_service(loop: Loop) -> None:
    """The host has forgotten it, and the managers do not know yet that its container is no more."""
    loop.begin()
    loop.says(State.ENDED, started_at=loop.now, ended_at=loop.now, exit=EXITED)
    loop.passes()
    loop.host().obey()
    assert loop.passes() == ["remove 1"]
    assert loop.services() == []
