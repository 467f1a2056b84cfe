"""What a running loop says: each thing once, and again when it has changed."""

from __future__ import annotations

import dataclasses
import json
import logging

import pytest

from reconciler import loop
from reconciler.cli import telling
from reconciler.core import action, model, record, settle
from tests.cli.outputs import conforms

DONE = loop.Pass(standing=loop.Standing.DONE, at=0.0)
LINE = record.Line(say="train is planned.", what="planned", at=0.0, job="train", tenant="default", run="r", revision="c")


@pytest.fixture
def teller() -> telling.Teller:
    return telling.Teller("text")


def test_transitions_are_lines_of_the_answer(teller: telling.Teller, capsys: pytest.CaptureFixture[str]) -> None:
    teller.tell(dataclasses.replace(DONE, lines=(LINE,)))
    assert capsys.readouterr().out.endswith("  train is planned.\n")
    telling.Teller("json").tell(dataclasses.replace(DONE, lines=(LINE,)))
    told = capsys.readouterr().out
    assert told.startswith('{"say": "train is planned."')
    conforms("reconcile", json.loads(told))


def test_a_warning_is_said_once_and_again_when_it_changes(teller: telling.Teller, capsys: pytest.CaptureFixture[str]) -> None:
    stale = dataclasses.replace(DONE, notice="SourceUnreachable: no answer")
    for each in (stale, stale, dataclasses.replace(DONE, notice="BranchMissing: gone"), DONE, DONE, stale):
        teller.tell(each)
    assert capsys.readouterr().err.splitlines() == [
        "perdure: SourceUnreachable: no answer",
        "perdure: BranchMissing: gone",
        "perdure: the repository is read again",
        "perdure: SourceUnreachable: no answer",
    ]


def test_problems_and_failures_are_said_once(teller: telling.Teller, capsys: pytest.CaptureFixture[str]) -> None:
    problem = model.Problem(file="a.yaml", line=1, column=2, message="no such field")
    act = action.Action(verb=action.Verb.START, tenant="default", job="train", reason="New", sentence="")
    troubled = dataclasses.replace(
        DONE,
        desired=model.Desired(revision="c", problems=(problem,)),
        outcomes=((act, settle.Outcome(result=settle.Result.UNKNOWN, detail="host a is silent")),),
    )
    teller.tell(troubled)
    teller.tell(troubled)
    assert capsys.readouterr().err.splitlines() == [
        "perdure: a.yaml:1:2: no such field",
        "perdure: start train: host a is silent",
    ]


def test_what_is_refused_is_said_with_the_remedy(teller: telling.Teller, capsys: pytest.CaptureFixture[str]) -> None:
    act = action.Action(
        verb=action.Verb.KEEP,
        effect=action.Effect.REFUSE,
        tenant="default",
        job="train",
        reason="EmptyDesired",
        sentence="the revision declares no Job at all",
    )
    teller.tell(dataclasses.replace(DONE, plan=action.Plan(revision="c", actions=(act,))))
    said = capsys.readouterr().err
    assert said.startswith(
        "perdure: train: the revision declares no Job at all (EmptyDesired: add the trailer `Perdure-Allow-E"
    )


def test_who_else_writes_is_said_once_and_so_is_a_declined_push(
    teller: telling.Teller, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = loop.Pass(standing=loop.Standing.SUPERSEDED, at=0.0, notice="moved on", rival="perdure/default other:7")
    declined = loop.Pass(standing=loop.Standing.SUPERSEDED, at=0.0, notice="declined by a hook: no")
    for each in (lost, lost, declined, declined):
        teller.lost(each)
    assert capsys.readouterr().err.splitlines() == [
        "perdure: perdure/default other:7 writes to the same ledger; whoever is first is followed",
        "perdure: declined by a hook: no",
    ]


def test_what_the_parts_log_is_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    telling.Teller("text")
    logging.getLogger("perdure.link").info("host %s has joined\nand more", "a")
    assert capsys.readouterr().err == "perdure: host a has joined and more\n"
