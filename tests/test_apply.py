"""What the applier refuses, holds back, repeats later, and turns into UNKNOWN."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

from reconciler import apply, errors, registry
from reconciler.contracts import store, target
from reconciler.core import action, model, observed, record, retention, settle, situation, spec
from reconciler.storage import path
from tests.core import runs
from tests.storage import images

HOSTS = model.TargetSpec(name="machines")
DESIRED = model.Desired(revision="r", targets={"machines": HOSTS})


class Machines:
    """A target whose answers the test sets."""

    def __init__(self) -> None:
        self.engines = frozenset({model.EngineName.APPLICATION})
        self.presence = target.Presence.GONE
        self.applied: list[spec.Assignment] = []
        self.answer: Callable[[], settle.Outcome] = lambda: settle.Outcome(result=settle.Result.CREATED)

    def capabilities(self) -> target.Capabilities:
        return target.Capabilities(engines=self.engines)

    def observe(self, at: float) -> observed.TargetView:
        return observed.TargetView(name="machines")

    def apply(self, assignment: spec.Assignment) -> settle.Outcome:
        self.applied.append(assignment)
        return self.answer()

    def delete(self, ref: spec.AttemptRef, host: str) -> settle.Outcome:
        return settle.Outcome(result=settle.Result.DELETED)

    def confirm_gone(self, ref: spec.AttemptRef, host: str) -> target.Presence:
        return self.presence


JOB = runs.JOB


def begun(number: int) -> record.Record:
    attempts = tuple(record.Attempt(number=each, target="machines", host="a", intended_at=0.0) for each in range(1, number + 1))
    return runs.of(JOB, *attempts)


def start(number: int) -> action.Action:
    assigned = spec.AttemptSpec(
        instance="i",
        run="run",
        attempt=number,
        tenant="default",
        job="train",
        replica=0,
        revision="r",
        workload=JOB.workload,
    )
    return action.Action(
        verb=action.Verb.START,
        tenant="default",
        job="train",
        run="run",
        attempt=number,
        target="machines",
        host="a",
        reason="New",
        sentence="",
        assignment=spec.Assignment(spec=assigned),
    )


def outcome(applier: apply.Applier, number: int = 1, now: float = 0.0) -> settle.Outcome:
    plan = action.Plan(revision="r", actions=(start(number),))
    [(_, found)] = applier.carry_out(plan, {"run": begun(number)}, DESIRED, now)
    return found


def applier_of(machines: Machines) -> apply.Applier:
    def no_store(declared: model.StoreSpec) -> object:
        raise errors.Unavailable("no store here", where=declared.root)

    adapters = registry.Registry(lambda _: machines, no_store)  # type: ignore[arg-type]
    return apply.Applier(adapters, situation.Budgets(backoff=10.0))


def test_an_attempt_is_started() -> None:
    machines = Machines()
    assert outcome(applier_of(machines)).result is settle.Result.CREATED
    assert len(machines.applied) == 1


def test_an_engine_that_the_target_lacks_is_refused() -> None:
    machines = Machines()
    machines.engines = frozenset()
    found = outcome(applier_of(machines))
    assert found.result is settle.Result.REFUSED
    assert found.detail == "target machines has no checkpoint engine 'application'"
    assert not machines.applied


def test_an_attempt_waits_while_the_one_before_is_seen_running() -> None:
    machines = Machines()
    machines.presence = target.Presence.PRESENT
    found = outcome(applier_of(machines), number=2)
    assert (found.result, found.detail) == (settle.Result.UNKNOWN, "attempt 1 still runs on a")
    assert not machines.applied


def test_an_attempt_follows_one_that_the_ledger_gave_up_on_a_silent_host() -> None:
    machines = Machines()
    machines.presence = target.Presence.UNKNOWN
    assert outcome(applier_of(machines), number=2).result is settle.Result.CREATED


def test_what_fails_is_repeated_after_a_back_off_of_its_own() -> None:
    machines = Machines()

    def failing() -> settle.Outcome:
        raise errors.Unavailable("the engine does not answer")

    machines.answer = failing
    applier = applier_of(machines)
    assert outcome(applier).result is settle.Result.UNKNOWN
    assert outcome(applier, now=9.0).result is settle.Result.SKIPPED
    machines.answer = lambda: settle.Outcome(result=settle.Result.UNCHANGED)
    assert outcome(applier, now=10.0).result is settle.Result.UNCHANGED
    assert outcome(applier, now=10.1).result is settle.Result.UNCHANGED


def test_a_clock_that_jumped_back_holds_nothing_up() -> None:
    machines = Machines()
    machines.answer = lambda: settle.Outcome(result=settle.Result.UNKNOWN)
    applier = applier_of(machines)
    outcome(applier, now=10_000.0)
    assert outcome(applier, now=0.0).result is settle.Result.UNKNOWN


def test_an_undeclared_target_or_store_is_left_alone() -> None:
    machines = Machines()
    prune = dataclasses.replace(start(1), verb=action.Verb.PRUNE, store="gone", assignment=None)
    lost = dataclasses.replace(start(1), target="gone")
    plan = action.Plan(revision="r", actions=(prune, lost))
    results = [found.result for _, found in applier_of(machines).carry_out(plan, {}, DESIRED, 0.0)]
    assert results == [settle.Result.SKIPPED, settle.Result.SKIPPED]


def test_a_pin_between_tombstone_and_deletion_gives_another_hour(tmp_path: Path) -> None:
    declared = images.config(str(tmp_path))
    depot = path.PathStore(declared, store.Keys())
    old, new = (images.put(depot, {"state": bytes([step])}, images.meta(at=float(step))) for step in (1, 2))
    saved = (record.Saved(taken=old, pinned_by=("before-upgrade",)), record.Saved(taken=new))
    policy = model.CheckpointPolicy(keep=1)
    run = dataclasses.replace(begun(1), run=images.RUN, applied=dataclasses.replace(JOB, checkpoint=policy), checkpoints=saved)
    applier = apply.Applier(registry.Registry(lambda _: Machines(), lambda _: depot), situation.Budgets())
    desired = dataclasses.replace(DESIRED, stores={"main": declared})

    def passed(run: record.Record, now: float, *pins: str) -> record.Record:
        act = retention.prune(run, declared, pins, now)
        plan = action.Plan(revision="r", actions=(act,) if act else ())
        settled = settle.settle({run.run: run}, applier.carry_out(plan, {run.run: run}, desired, now), now)
        return settled.records.get(run.run, run)

    run = passed(run, 0.0)
    run = passed(run, 100.0, "before-upgrade")
    for now in (4000.0, 7500.0):
        run = passed(run, now)
        assert depot.list(images.RUN) == tuple(each.taken for each in run.checkpoints) == (old, new)
    run = passed(run, 7600.0)
    assert depot.list(images.RUN) == tuple(each.taken for each in run.checkpoints) == (new,)


def test_one_that_always_fails_keeps_nobody_else_waiting_and_is_tried_again_ever_more_seldom() -> None:
    machines = Machines()

    def refusing() -> settle.Outcome:
        if machines.applied[-1].spec.run == "bad":
            raise errors.Unavailable("the engine does not answer")
        return settle.Outcome(result=settle.Result.CREATED)

    machines.answer = refusing
    applier = applier_of(machines)
    assigned = start(1).assignment
    assert assigned is not None
    bad = dataclasses.replace(assigned, spec=dataclasses.replace(assigned.spec, run="bad"))
    plan = action.Plan(revision="r", actions=(dataclasses.replace(start(1), run="bad", assignment=bad), start(1)))
    records = {"run": begun(1), "bad": dataclasses.replace(begun(1), run="bad")}
    tried = []
    for now in range(0, 400, 10):
        (_, first), (_, second) = applier.carry_out(plan, records, DESIRED, float(now))
        assert second.result is settle.Result.CREATED
        assert first.result in (settle.Result.UNKNOWN, settle.Result.SKIPPED)
        if first.result is settle.Result.UNKNOWN:
            tried.append(now)
            assert "does not answer" in first.detail
    pauses = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]


def test_an_object_that_failed_long_ago_waits_as_after_its_first_failure() -> None:
    """So that what an applier remembers does not grow with every attempt that ever failed."""
    machines = Machines()
    machines.answer = lambda: settle.Outcome(result=settle.Result.UNKNOWN)
    applier, cap = applier_of(machines), situation.Budgets().backoff_cap
    for now in (0.0, 10.0, 30.0):
        outcome(applier, now=now)
    late = 70.0 + cap
    for now, asked in ((late, 4), (late + 9.0, 4), (late + 11.0, 5)):
        outcome(applier, now=now)
        assert len(machines.applied) == asked
