"""Who may say what about an attempt of the ledger."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from reconciler.core import hearsay, model, observed, record, situation, spec
from reconciler.targets import views
from tests.core import runs

REF = spec.AttemptRef(run="r1", attempt=1)
ATTEMPT = record.Attempt(number=1, target="hosts", host="a", agent="data-of-a", boot="boot", intended_at=0.0, started_at=1.0)
RUNNING, ENDED = observed.ItemState.RUNNING, observed.ItemState.ENDED


def item(host: str, state: observed.ItemState) -> observed.Item:
    """What a host says of the attempt, and that it was made for it: that is its own word, too."""
    exit = observed.Exit(kind=observed.ExitKind.EXITED, code=0) if state is ENDED else None
    made = spec.AttemptSpec(
        instance="i", run="r1", attempt=1, tenant="t", job="j", replica=0, revision="", workload=model.Workload(), host=host
    )
    return observed.Item(ref=REF, state=state, host=host, spec=made, exit=exit)


def world(said: Mapping[str, observed.Item | None], agents: Mapping[str, str], silent: str = "") -> observed.World:
    hosts = {
        name: observed.HostView(
            state=observed.HostState(host=name, agent=agents[name], boot="boot", items=(one,) if one else (), generation=9),
            seen_at=2.0,
            silent_since=2.0 if name == silent else None,
        )
        for name, one in said.items()
    }
    target = observed.TargetView(name="hosts", hosts=hosts, items=views.items(hosts, lambda state: state.items))
    return observed.World(at=3.0, targets={"hosts": target})


def found(seen: observed.World, attempt: record.Attempt = ATTEMPT) -> situation.Sighting:
    records = {"r1": runs.of(runs.JOB, attempt, run="r1")}
    heard = {name: hearsay.without(view, records) for name, view in seen.targets.items()}
    return situation.locate("r1", attempt, dataclasses.replace(seen, targets=heard))


@pytest.mark.parametrize("liar", ["Z", "z"])
@pytest.mark.parametrize("agent", ["data-of-z", ""])
def test_a_host_that_lies_does_not_end_the_runs_of_others(liar: str, agent: str) -> None:
    seen = found(world({"a": item("a", RUNNING), liar: item(liar, ENDED)}, {"a": "data-of-a", liar: agent}))
    assert isinstance(seen, situation.Here)
    assert (seen.item.host, seen.item.state) == ("a", RUNNING)
    lost = found(world({"a": None, liar: item(liar, ENDED)}, {"a": "data-of-a", liar: agent}))
    assert isinstance(lost, situation.Absent)
    silent = found(world({"a": None, liar: item(liar, ENDED)}, {"a": "data-of-a", liar: agent}, silent="a"))
    assert isinstance(silent, situation.Unknown)
    assert silent.last is None


def test_nor_by_the_data_of_the_other_while_that_one_is_heard() -> None:
    seen = found(world({"a": item("a", RUNNING), "z": item("z", ENDED)}, {"a": "data-of-a", "z": "data-of-a"}))
    assert isinstance(seen, situation.Here)
    assert (seen.item.host, seen.item.state) == ("a", RUNNING)


def test_a_machine_under_another_name_has_the_word_on_what_it_has() -> None:
    seen = found(world({"a": item("a", RUNNING), "z": item("z", ENDED)}, {"a": "data-of-a", "z": "data-of-a"}, silent="a"))
    assert isinstance(seen, situation.Here)
    assert (seen.item.host, seen.item.state) == ("z", ENDED)


def test_what_no_host_was_chosen_for_is_said_by_whoever_has_it() -> None:
    seen = found(world({"z": item("z", RUNNING)}, {"z": ""}), dataclasses.replace(ATTEMPT, host=""))
    assert isinstance(seen, situation.Here)
