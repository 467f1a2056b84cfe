"""What an agent keeps of attempts it has removed, and in which order it tells of checkpoints."""

from __future__ import annotations

import dataclasses

import pytest

from agent import accept, due, journal
from reconciler.contracts import engine, store
from reconciler.core import model, observed, spec

WHAT = spec.AttemptSpec(
    instance="i", run="1" * 32, attempt=1, tenant="t", job="j", replica=0, revision="r", workload=model.Workload()
)
ASSIGNMENT = spec.Assignment(spec=WHAT)


def taken(name: str, at: float, parent: str = "") -> observed.Taken:
    return observed.Taken(digest=f"sha256:{name}", attempt=1, taken_at=at, parent=f"sha256:{parent}" if parent else "")


def told(entry: journal.Entry) -> str:
    return "".join(one.digest[-1] for one in entry.checkpoints)


def test_what_was_removed_is_not_begun_again() -> None:
    host = journal.forgetting(journal.Host(agent="a"), WHAT.ref)
    again = spec.Assignments(host="h", generation=9, items=(ASSIGNMENT,))
    [told] = accept.accept({}, again, lambda ref: False, host.forgotten)
    assert (told.stage, told.exit) == (journal.Stage.ENDED, accept.HAD), "whoever asks would ask for ever"
    [fresh] = accept.accept({}, again, lambda ref: False, ())
    assert (fresh.stage, fresh.exit) == (journal.Stage.ACCEPTED, None)


@pytest.mark.parametrize("want", [spec.Want.STOP, spec.Want.REMOVE])
def test_of_what_was_removed_nothing_is_told_where_nobody_wants_it(want: spec.Want) -> None:
    host = journal.forgetting(journal.Host(agent="a"), WHAT.ref)
    again = spec.Assignments(host="h", generation=9, items=(dataclasses.replace(ASSIGNMENT, want=want),))
    assert accept.accept({}, again, lambda ref: False, host.forgotten) == ()


def test_only_the_newest_are_remembered() -> None:
    host = journal.Host(agent="a")
    for number in range(journal.MOST_FORGOTTEN + 1):
        host = journal.forgetting(host, spec.AttemptRef(run="r", attempt=number))
    assert len(host.forgotten) == journal.MOST_FORGOTTEN
    assert host.forgotten[-1].attempt == journal.MOST_FORGOTTEN


def test_a_clock_set_back_does_not_make_an_old_checkpoint_the_newest() -> None:
    entry = journal.Entry(assignment=ASSIGNMENT, checkpoints=(taken("a", 100.0), taken("b", 110.0, "a")))
    assert told(due.with_taken(entry, (taken("c", 5.0, "b"),))) == "abc"


def test_what_only_the_store_knew_comes_before_what_was_taken_since() -> None:
    entry = journal.Entry(assignment=ASSIGNMENT, checkpoints=(taken("a", 1.0), taken("c", 3.0, "a")))
    assert told(due.with_taken(entry, (taken("b", 2.0, "a"),))) == "abc"


def test_what_is_taken_now_is_the_newest() -> None:
    entry = journal.Entry(assignment=ASSIGNMENT, checkpoints=(taken("a", 100.0), taken("b", 110.0, "a")))
    usage = store.Usage(logical_bytes=0, stored_bytes=0)
    captured = engine.Captured(taken=taken("c", 5.0, "a"), usage=usage)
    asked = spec.Request(id="timer-1", purpose=spec.Purpose.TIMER)
    assert told(due.after(entry, asked, captured, 5.0)) == "abc"
