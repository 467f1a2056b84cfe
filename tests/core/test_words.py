"""Small pure things: names that must never change by accident, order, budgets, durations, heads of lineages."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.core import demands, facts, identity, lineage, model, observed, order, plan, record, situation, transition
from tests.core import scene

BUDGETS = situation.Budgets()


def test_the_name_of_a_run_is_for_ever() -> None:
    """Another release with another name would run everything again: this value never changes."""
    job = model.Job(
        name="train",
        target="hosts",
        workload=model.Workload(code=model.Code(path="code", entrypoint="main.py", tree="a" * 40)),
        written='{"args":["1"]}',
    )
    assert identity.run_id("prod", job, 0) == "6ccf5484ad613e5874b1776a0422fe25"
    assert identity.run_id("prod", dataclasses.replace(job, timeout=5.0, priority=3, target="other"), 0) == (
        "6ccf5484ad613e5874b1776a0422fe25"
    )


def test_the_name_of_a_request_is_for_ever() -> None:
    manifest = model.CheckpointRequest(name="before-upgrade", job="train")
    assert demands.request_id(manifest) == "before-upgrade-94ad1405eebe"
    assert demands.request_id(dataclasses.replace(manifest, keep=False)) == "before-upgrade-94ad1405eebe"
    assert demands.request_id(dataclasses.replace(manifest, stop=True)) != "before-upgrade-94ad1405eebe"


def test_the_worst_run_of_a_dependency_is_told() -> None:
    job = model.Job(name="b", target="t", workload=model.Workload(), depends_on=("a", "missing"))
    ref = model.ObjectRef(kind="Job", tenant="default", name="a")
    held = order.unfinished(job, {ref: (record.Phase.FINISHED, record.Phase.RUNNING, record.Phase.FAILED)})
    assert [str(each) for each in held] == ["a (failed)", "missing (not started)"]
    assert [str(each) for each in order.unfinished(job, {ref: (record.Phase.FINISHED,)})] == ["missing (not started)"]


def test_delays_double_up_to_a_cap() -> None:
    assert [BUDGETS.delay(times) for times in (0, 1, 2, 3, 8, 10_000)] == [10.0, 10.0, 20.0, 40.0, 900.0, 900.0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "an unknown time"),
        (-5.0, "0 s"),
        (0.0, "0 s"),
        (1.5, "1.5 s"),
        (59.0, "59 s"),
        (60.0, "1 min"),
        (200.0, "3 min 20 s"),
        (7500.0, "2 h 5 min"),
        (7200.0, "2 h"),
    ],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert transition.duration(seconds) == text


def taken(digest: str, at: float, parent: str = "") -> observed.Taken:
    return observed.Taken(digest=digest, attempt=1, taken_at=at, parent=parent)


def test_the_head_of_a_chain_is_no_others_parent_whatever_the_clock_said() -> None:
    chain = [taken("a", 100.0), taken("b", 50.0, "a"), taken("c", 75.0, "b")]
    head = lineage.head(chain)
    assert head is not None
    assert head.digest == "c"
    assert lineage.head([]) is None


def test_the_head_is_the_last_where_that_is_known_whatever_lay_between_is_gone() -> None:
    first, last = taken("a", 100.0), taken("c", 5.0, "b")
    assert lineage.head([first, last]) == first, "of an earlier version: the clock is all there is"
    first, last = dataclasses.replace(first, number=1), dataclasses.replace(last, number=3)
    assert lineage.head([first, last]) == last


@pytest.mark.parametrize(("tries", "pace"), [(1, 60.0), (3, 20.0)])
def test_following_the_wake_ups_spends_both_budgets_of_a_silent_host(tries: int, pace: float) -> None:
    desired = {"jobs": {"train": {"onLost": "replace"}}}
    ledger = {"train": {"attempts": [{"host": "alpha"}], "checkpoints": [10]}}
    now, looks = 1000.0, 1
    while True:
        hosts = {"alpha": {"silent": {"since": 1000, "tries": looks}}, "beta": {}}
        seen = {"now": now, "hosts": hosts, "items": {"train/1": {"step": 12}}, "budgets": {"lost_tries": tries}}
        planned = plan.compute(scene.build(desired, ledger, seen).facts)
        if planned.records:
            break
        assert planned.wake_at is not None
        assert planned.wake_at - now <= pace
        now, looks = planned.wake_at, looks + 1
    assert now == 1060.0
    assert looks >= tries


def test_runs_keep_their_manifests() -> None:
    jobs = [scene.job(f"job-{number}", {}) for number in range(100)]
    desired = model.Desired(revision="r", jobs={job.ref: job for job in jobs})
    first = facts.wanted("prod", desired)
    again = facts.wanted("prod", dataclasses.replace(desired, revision="s"), first)
    assert all(again.by_run[run][0] is job for run, (job, _) in first.by_run.items())
