"""What holds for every plan, whatever the ledger and the world say."""

from __future__ import annotations

import dataclasses
import random
import typing
from collections.abc import Mapping
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core import (
    absorb,
    action,
    codec,
    demands,
    endings,
    explain,
    facts,
    observed,
    plan,
    reasons,
    record,
    settle,
    situation,
    spec,
    transition,
)
from tests.core import scene, situations

quick = settings(
    max_examples=80,
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
def test_a_saved_plan_stands_whether_what_is_over_was_forgotten_meanwhile_or_not(scenery: scene.Scene) -> None:
    known = scenery.facts
    first = plan.compute(known)
    live = {(name, run.live.number) for name, run in known.records.items() if run.live}
    removed = {(act.run, act.attempt or 0) for act in first.actions if act.verb is action.Verb.REMOVE}
    over = {spec.AttemptRef(run=run, attempt=attempt) for run, attempt in removed - live}
    targets = {
        name: dataclasses.replace(target, items={ref: target.items[ref] for ref in target.items.keys() - over}, objects={})
        for name, target in known.world.targets.items()
    }
    again = plan.compute(dataclasses.replace(known, world=dataclasses.replace(known.world, targets=targets)))
    assert again.digest == first.digest


@settings(quick, max_examples=200)
@given(situations.scenes(), st.sampled_from([situations.NOW, situations.NOW, 0.0, 500.0, 1e6, 1e10]))
def test_every_plan_keeps_the_promises(scenery: scene.Scene, now: float) -> None:
    """Also under a clock that has jumped."""
    known = dataclasses.replace(scenery.facts, now=now)
    planned = plan.compute(known)
    what_has_ended_is_never_executed_again(known, planned)
    attempts_only_grow_and_only_the_newest_is_alive(known, planned)
    two_runs_of_one_job_are_never_begun_side_by_side(known, planned)
    nothing_is_concluded_from_what_cannot_be_seen(known, planned)
    nothing_is_asked_of_a_silent_host_or_an_unknown_target(known, planned)
    nobody_waits_shorter_than_told(known, planned)
    it_can_be_told_and_read_back(known, planned)


def what_has_ended_is_never_executed_again(known: facts.Facts, planned: action.Plan) -> None:
    over = {name for name, run in {**known.records, **planned.records}.items() if run.phase in record.TERMINAL}
    assert not [act for act in planned.actions if act.run in over and act.verb in BEGINS]
    assert not {name for name, _ in begun(known, planned)} & over


def attempts_only_grow_and_only_the_newest_is_alive(known: facts.Facts, planned: action.Plan) -> None:
    for name, after in planned.records.items():
        numbers = [attempt.number for attempt in after.attempts]
        assert numbers == sorted(set(numbers))
        assert not any(attempt.live for attempt in after.attempts[:-1])
        before = known.records[name].attempts if name in known.records else ()
        assert after.attempts[: max(len(before) - 1, 0)] == before[:-1]
        assert len(after.attempts) - len(before) in (0, 1)


def two_runs_of_one_job_are_never_begun_side_by_side(known: facts.Facts, planned: action.Plan) -> None:
    records = {**known.records, **planned.records}
    for name, _ in begun(known, planned):
        assert [run.run for run in records.values() if run.key == records[name].key and run.live is not None] == [name]


def nothing_is_concluded_from_what_cannot_be_seen(known: facts.Facts, planned: action.Plan) -> None:
    for name, run in known.records.items():
        sighting = situation.locate(name, run.live, known.world) if run.live is not None else None
        if run.live is None or not isinstance(sighting, situation.Unknown):
            continue
        if planned.records.get(name, run) not in (run, demands.remembered(known.desired, run)):
            assert situation.spent(sighting.silence, known.now, known.budgets)
            assert planned.records[name].attempts[len(run.attempts) - 1].ending is record.Ending.LOST
        assert [act for act in planned.actions if act.run == name and act.attempt == run.live.number and act.acts] == []


def nothing_is_asked_of_a_silent_host_or_an_unknown_target(known: facts.Facts, planned: action.Plan) -> None:
    target = known.world.targets[scene.TARGET]
    for act in planned.actions:
        if act.acts and act.host:
            assert target.known
            assert target.hosts[act.host].silent_since is None


def nobody_waits_shorter_than_told(known: facts.Facts, planned: action.Plan) -> None:
    """A wait that the clock can have begun is kept; one that no clock can have meant ends."""
    for name, _ in begun(known, planned):
        run = known.records.get(name)
        if run is not None and run.live is None and run.not_before is not None:
            assert not known.now < run.not_before <= known.now + known.budgets.backoff_cap
    assert planned.wake_at is None or planned.wake_at >= known.now


def it_can_be_told_and_read_back(known: facts.Facts, planned: action.Plan) -> None:
    assert explain.as_text(planned, everything=True).endswith(f"Plan: {explain.summary(planned)}.\n")
    assert explain.as_markdown(planned).startswith(explain.MARKER)
    codec.encode(explain.as_json(planned))
    assert all(line.say.endswith(".") and line.what in typing.get_args(transition.What) for line in planned.lines)
    assert all(act.reason in reasons.TABLE for act in planned.actions)
    assert codec.decode(codec.encode(planned), action.Plan) == planned
    for run in known.records.values():
        assert codec.decode(codec.encode(run), record.Record) == run
    target = known.world.targets[scene.TARGET]
    for view in target.hosts.values():
        state = dataclasses.replace(view.state, items=tuple(target.items.values()))
        assert codec.decode(codec.encode(state), observed.HostState) == state


@quick
@given(situations.scenes())
def test_passes_with_an_unmoved_world_come_to_rest(scenery: scene.Scene) -> None:
    """At once, or in a second pass that the first one asks for. Nothing is noted twice, no attempt has two numbers."""
    known = scenery.facts
    first = plan.compute(known)
    known = recorded(known, first)
    second = plan.compute(known)
    assert not second.records or first.wake_at == known.now
    known = recorded(known, second)
    third = plan.compute(known)
    assert (third.records, third.lines) == ({}, ())
    asked = {(act.run, act.attempt) for act in (*first.actions, *second.actions) if act.verb in BEGINS}
    assert {(act.run, act.attempt) for act in third.actions if act.verb in BEGINS} <= asked


@quick
@given(situations.scenes())
def test_a_prune_is_done_in_one_step_and_not_asked_again(scenery: scene.Scene) -> None:
    known = scenery.facts
    planned = plan.compute(known)
    due = [act for act in planned.actions if act.verb is action.Verb.PRUNE]
    outcomes = [(act, settle.Outcome(result=settle.Result.DELETED, digests=act.digests)) for act in due]
    known = recorded(known, planned)
    known = dataclasses.replace(known, records={**known.records, **settle.settle(known.records, outcomes, known.now).records})
    assert not [act for act in plan.compute(known).actions if act.verb is action.Verb.PRUNE]


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


@quick
@given(situations.scenes(), situations.scenes(), st.booleans())
def test_what_is_taken_over_from_the_pass_before_is_what_would_be_planned(
    scenery: scene.Scene, other: scene.Scene, declares: bool
) -> None:
    known = scenery.facts
    first, resting = plan.follow(known, {})
    later = recorded(dataclasses.replace(known, now=known.now + 100), first)
    assert plan.follow(later, resting)[0] == plan.compute(later)
    moved = dataclasses.replace(later, **({"desired": other.facts.desired} if declares else {"world": other.facts.world}))
    again, rest = plan.follow(moved, resting)
    assert again == plan.compute(moved)
    assert plan.follow(recorded(moved, again), rest)[0] == plan.compute(recorded(moved, again))


@quick
@given(situations.scenes())
def test_the_quick_answer_whether_an_attempt_runs_is_that_of_the_long_one(scenery: scene.Scene) -> None:
    known = scenery.facts
    for name, run in known.records.items():
        for attempt in run.attempts:
            found = situation.locate(name, attempt, known.world)
            here = isinstance(found, situation.Here) and found.item.state is not observed.ItemState.ENDED
            assert situation.running(name, attempt, known.world) is here


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
