"""What holds for every plan, whatever the ledger and the world say."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core import (
    absorb,
    action,
    codec,
    endings,
    explain,
    facts,
    observed,
    plan,
    record,
    settle,
    situation,
)
from tests.core import scene, situations

quick = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

K = TypeVar("K")
V = TypeVar("V")

BEGINS = (action.Verb.START, action.Verb.RESTORE)


def recorded(known: facts.Facts, planned: action.Plan) -> facts.Facts:
    """Return the facts of the next pass when the plan is in the ledger and the world has not moved."""
    return dataclasses.replace(known, records={**known.records, **planned.records})


def shuffled(mapping: Mapping[K, V], chance: random.Random) -> Mapping[K, V]:
    pairs = list(mapping.items())
    chance.shuffle(pairs)
    return dict(pairs)


def begun(known: facts.Facts, planned: action.Plan) -> set[tuple[str, int]]:
    """Return the attempts that a plan adds to the ledger."""
    return {
        (name, attempt.number)
        for name, run in planned.records.items()
        for attempt in run.attempts[len(known.records[name].attempts) if name in known.records else 0 :]
    }


@quick
@given(situations.scenes(), st.randoms(use_true_random=False))
def test_equal_facts_give_an_equal_plan_in_whatever_order(scenery: scene.Scene, chance: random.Random) -> None:
    known = scenery.facts
    first = plan.compute(known)
    assert plan.compute(known) == first
    desired = dataclasses.replace(known.desired, jobs=shuffled(known.desired.jobs, chance))
    again = plan.compute(dataclasses.replace(known, desired=desired, records=shuffled(known.records, chance)))
    assert (again.digest, again.actions, again.records) == (first.digest, first.actions, first.records)


@quick
@given(situations.scenes())
def test_a_plan_that_is_recorded_leaves_nothing_more_to_record(scenery: scene.Scene) -> None:
    known = scenery.facts
    first = plan.compute(known)
    after = recorded(known, first)
    second = plan.compute(after)
    assert second.records == {}
    assert second.lines == ()
    asked = {(act.run, act.attempt) for act in first.actions if act.verb in BEGINS}
    assert {(act.run, act.attempt) for act in second.actions if act.verb in BEGINS} <= asked


@quick
@given(situations.scenes())
def test_what_has_ended_is_never_executed_again(scenery: scene.Scene) -> None:
    planned = plan.compute(scenery.facts)
    over = {name for name, run in scenery.facts.records.items() if run.phase in record.TERMINAL}
    over |= {name for name, run in planned.records.items() if run.phase in record.TERMINAL}
    assert not [act for act in planned.actions if act.run in over and act.verb in BEGINS]
    for name in over:
        before, after = scenery.facts.records[name], planned.records.get(name)
        assert after is None or len(after.attempts) == len(before.attempts)


@quick
@given(situations.scenes())
def test_attempts_only_grow_and_only_the_newest_is_alive(scenery: scene.Scene) -> None:
    known = scenery.facts
    for name, after in plan.compute(known).records.items():
        numbers = [attempt.number for attempt in after.attempts]
        assert numbers == sorted(set(numbers))
        assert not any(attempt.live for attempt in after.attempts[:-1])
        before = known.records[name].attempts if name in known.records else ()
        assert after.attempts[: len(before) - 1] == before[:-1] if before else True
        assert len(after.attempts) - len(before) in (0, 1)


@quick
@given(situations.scenes())
def test_two_runs_of_one_job_are_never_begun_side_by_side(scenery: scene.Scene) -> None:
    known = scenery.facts
    planned = plan.compute(known)
    records = {**known.records, **planned.records}
    for name, _ in begun(known, planned):
        alive = [run.run for run in records.values() if run.key == records[name].key and run.live is not None]
        assert alive == [name]


@quick
@given(situations.scenes())
def test_nothing_is_concluded_from_what_cannot_be_seen(scenery: scene.Scene) -> None:
    known = scenery.facts
    planned = plan.compute(known)
    for name, run in known.records.items():
        if run.live is None:
            continue
        sighting = situation.locate(name, run.live, known.world)
        if not isinstance(sighting, situation.Unknown):
            continue
        if (name, run.live.number + 1) in begun(known, planned) or name in planned.records:
            assert situation.spent(sighting.silence, known.now, known.budgets)
        touched = [act for act in planned.actions if act.run == name and act.attempt == run.live.number and act.acts]
        assert touched == []


@quick
@given(situations.scenes())
def test_nothing_is_asked_of_a_silent_host_or_an_unknown_target(scenery: scene.Scene) -> None:
    target = scenery.facts.world.targets[scene.TARGET]
    for act in plan.compute(scenery.facts).actions:
        if act.acts and act.host:
            assert target.known
            assert act.host in target.hosts
            assert target.hosts[act.host].silent_since is None


@quick
@given(situations.scenes())
def test_absorbing_twice_is_absorbing_once(scenery: scene.Scene) -> None:
    known = scenery.facts
    for name, run in known.records.items():
        if run.live is None:
            continue
        look = endings.Look(job=run.applied, now=known.now, budgets=known.budgets)
        sighting = situation.locate(name, run.live, known.world)
        once, _ = absorb.absorb(run, sighting, look)
        assert absorb.absorb(once, sighting, look) == (once, ())
        assert absorb.absorb(run, sighting, look)[0] == once


@quick
@given(situations.scenes())
def test_everything_we_write_can_be_read_back(scenery: scene.Scene) -> None:
    planned = plan.compute(scenery.facts)
    assert codec.decode(codec.encode(planned), action.Plan) == planned
    for run in {**scenery.facts.records, **planned.records}.values():
        assert codec.decode(codec.encode(run), record.Record) == run
    target = scenery.facts.world.targets[scene.TARGET]
    for view in target.hosts.values():
        state = dataclasses.replace(view.state, items=tuple(target.items.values()))
        assert codec.decode(codec.encode(state), observed.HostState) == state


@quick
@given(situations.scenes(), st.sampled_from([0.0, 1.0, 500.0, 1e6, 1e10]))
def test_a_clock_may_jump(scenery: scene.Scene, now: float) -> None:
    """No wait outlives a jump by more than its own length, and none is cut short: a wait in its own time is kept."""
    known = dataclasses.replace(scenery.facts, now=now)
    planned = plan.compute(known)
    for act in planned.actions:
        run = known.records.get(act.run)
        if act.verb in BEGINS and run is not None and run.live is None and run.not_before is not None:
            assert not now < run.not_before <= now + known.budgets.backoff_cap
    assert planned.wake_at is None or planned.wake_at >= now
    assert plan.compute(recorded(known, planned)).records == {}


@quick
@given(situations.scenes())
def test_every_plan_can_be_told(scenery: scene.Scene) -> None:
    planned = plan.compute(scenery.facts)
    assert explain.as_text(planned, everything=True).endswith(f"Plan: {explain.summary(planned)}.\n")
    assert explain.as_markdown(planned).startswith(explain.MARKER)
    codec.encode(explain.as_json(planned))
    assert all(line.say.endswith(".") for line in planned.lines)


@quick
@given(situations.scenes())
def test_passes_with_an_unmoved_world_come_to_rest(scenery: scene.Scene) -> None:
    """Every waiting run says why; what acts on every pass is only what has been asked and is not done."""
    known = scenery.facts
    planned = plan.compute(known)
    for _ in range(3):
        known = recorded(known, planned)
        outcomes = [(act, settle.Outcome(result=settle.Result.UNCHANGED)) for act in planned.actions if act.acts]
        known = dataclasses.replace(
            known, records={**known.records, **settle.settle(known.records, outcomes, known.now).records}
        )
        planned = plan.compute(known)
    assert planned.records == {}
    assert not [act for act in planned.actions if act.verb is action.Verb.PRUNE]


@quick
@given(situations.scenes())
def test_names_kept_from_pass_to_pass_are_the_names(scenery: scene.Scene) -> None:
    known = scenery.facts
    first = facts.wanted(known.instance, known.desired)
    changed = {
        ref: dataclasses.replace(job, written='{"args":["other"]}') if index % 2 else job
        for index, (ref, job) in enumerate(known.desired.jobs.items())
    }
    desired = dataclasses.replace(known.desired, jobs=changed)
    assert facts.wanted(known.instance, desired, first) == facts.wanted(known.instance, desired)
    assert facts.wanted("other", known.desired, first) == facts.wanted("other", known.desired)
    assert plan.compute(dataclasses.replace(known, wanted=first)) == plan.compute(known)
