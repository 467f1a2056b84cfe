"""How a standing is explained: each thing once."""

from __future__ import annotations

import dataclasses

from reconciler.cli import selection, standing, status, view
from reconciler.contracts import ledger
from reconciler.core import observed, record
from tests.cli.test_view import REF, RUN

LATE = "the timer checkpoint failed: the store is full"
SEEN = view.View(instance="i", desired=None, snapshot=ledger.Snapshot(), world=observed.World(at=1.0), now=2.0)


def explained(sentence: str, said: str, recorded: str) -> list[str]:
    run = dataclasses.replace(RUN, condition=recorded)
    item = observed.Item(ref=REF, state=observed.ItemState.RUNNING, host="a", condition=said)
    each = standing.Standing(
        subject=selection.Subject(key=run.key, job=None, run=run.run, recorded=run),
        phase=record.Phase.RUNNING,
        reason="Running",
        sentence=sentence,
        item=item,
    )
    return status.explanation(each, SEEN).splitlines()


def test_what_the_evidence_says_is_not_said_again() -> None:
    lines = explained(f"attempt 1 on a; {LATE}", LATE, "")
    assert sum(LATE in line for line in lines) == 1
    assert not any("Besides" in line for line in lines)


def test_what_it_does_not_say_is_said_besides() -> None:
    lines = explained(f"attempt 1 on a; {LATE}", "its cpu limit is not enforced", LATE)
    assert "  Besides:   its cpu limit is not enforced" in lines


def test_how_an_attempt_ended_is_not_said_again() -> None:
    failed = dataclasses.replace(RUN.attempts[-1], ending=record.Ending.FAILED, detail="exited with 7")
    each = standing.Standing(
        subject=selection.Subject(key=RUN.key, job=None, run=RUN.run, recorded=RUN),
        phase=record.Phase.FAILED,
        reason="Failed",
        sentence="attempt 1 exited with 7",
        attempt=failed,
    )
    assert _attempt(each).endswith(", failed")
    assert _attempt(dataclasses.replace(each, sentence="no retry is left")).endswith(", failed (exited with 7)")


def _attempt(each: standing.Standing) -> str:
    [line] = [line for line in status.explanation(each, SEEN).splitlines() if "Attempt:" in line]
    return line
