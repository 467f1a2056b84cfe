"""What outcomes leave to record."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.core import action, plan, record, settle
from tests.core import scene
from tests.core.test_plans import PLANS

Result = settle.Result


def carried_out(case: str, verb: action.Verb, outcome: settle.Outcome) -> tuple[record.Record, settle.Settled]:
    """Settle one action of a golden plan; return the run as it was recorded before, and what is settled."""
    known = scene.read(PLANS / case).facts
    planned = plan.compute(known)
    act = next(act for act in planned.actions if act.verb is verb)
    records = {**known.records, **planned.records}
    return records[act.run], settle.settle(records, [(act, outcome)], known.now)


def test_a_refused_start_ends_the_run() -> None:
    refused = settle.Outcome(result=Result.REFUSED, detail="no host was chosen for it")
    before, settled = carried_out("first-run", action.Verb.START, refused)
    after = settled.records[before.run]
    assert (after.phase, after.attempts[-1].ending, after.attempts[-1].failure) == (
        record.Phase.FAILED,
        record.Ending.FAILED,
        "StartRefused",
    )
    assert [line.say for line in settled.lines] == ["Attempt 1 of train was refused by hosts: no host was chosen for it."]


def test_a_refusal_of_an_attempt_that_has_ended_meanwhile_changes_nothing() -> None:
    known = scene.read(PLANS / "first-run").facts
    planned = plan.compute(known)
    run = next(iter(planned.records.values()))
    over = dataclasses.replace(run, attempts=(dataclasses.replace(run.attempts[-1], ending=record.Ending.LOST),))
    settled = settle.settle({run.run: over}, [(planned.actions[0], settle.Outcome(result=Result.REFUSED))], known.now)
    assert settled.records == {}


def test_a_start_without_an_answer_is_left_to_the_next_observation() -> None:
    _, settled = carried_out("first-run", action.Verb.START, settle.Outcome(result=Result.UNKNOWN))
    assert (settled.records, settled.lines) == ({}, ())


@pytest.mark.parametrize("result", [Result.CHANGED, Result.UNCHANGED])
def test_a_prune_marks_what_it_names(result: settle.Result) -> None:
    before, settled = carried_out("retention-tombstones", action.Verb.PRUNE, settle.Outcome(result=result))
    marked = [saved.taken.step for saved in settled.records[before.run].checkpoints if saved.tombstoned_at is not None]
    assert marked == [10, 20]


@pytest.mark.parametrize("result", [Result.UNKNOWN, Result.SKIPPED, Result.REFUSED])
def test_a_prune_that_was_not_carried_out_marks_nothing(result: settle.Result) -> None:
    _, settled = carried_out("retention-tombstones", action.Verb.PRUNE, settle.Outcome(result=result))
    assert settled.records == {}


def test_what_is_deleted_leaves_the_ledger() -> None:
    gone = settle.Outcome(result=Result.DELETED, digests=(scene.digest("train", 10),))
    before, settled = carried_out("retention-deletes-after-the-grace", action.Verb.PRUNE, gone)
    assert [saved.taken.step for saved in settled.records[before.run].checkpoints] == [20, 30]


def test_a_deletion_that_the_store_puts_off_writes_nothing() -> None:
    """An image that is open somewhere stays for now: asking again on each pass must not push on each pass."""
    waiting = settle.Outcome(result=Result.CHANGED)
    _, settled = carried_out("retention-deletes-after-the-grace", action.Verb.PRUNE, waiting)
    assert settled.records == {}


def test_what_is_wanted_again_loses_its_tombstone() -> None:
    """Else it would be deleted at once, without a grace, when nothing holds it any more."""
    before, settled = carried_out("retention-takes-tombstones-back", action.Verb.PRUNE, settle.Outcome(result=Result.CHANGED))
    assert [saved.tombstoned_at for saved in before.checkpoints] == [100.0, 100.0, None, None]
    assert [saved.tombstoned_at for saved in settled.records[before.run].checkpoints] == [None, 100.0, None, None]
