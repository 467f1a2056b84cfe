"""The tables of the agent, row by row: what is next, what is due, what follows, what may change."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from agent import accept, due, interval, journal, process, steps
from agent.process import Presence
from agent.steps import Step
from reconciler.contracts import engine, store
from reconciler.core import model, observed, spec

Stage = journal.Stage
Purpose = spec.Purpose

WHAT = spec.AttemptSpec(
    instance="i",
    run="1" * 32,
    attempt=1,
    tenant="t",
    job="j",
    replica=0,
    revision="r",
    workload=model.Workload(command=("true",)),
    checkpoint=model.CheckpointPolicy(deadline=5.0, store="main"),
)


def entry(stage: Stage = Stage.STARTED, want: spec.Want = spec.Want.RUN, **changed: Any) -> journal.Entry:
    asked = changed.pop("asked", None)
    what = dataclasses.replace(WHAT, checkpoint=dataclasses.replace(WHAT.checkpoint, **changed.pop("policy", {})))
    return journal.Entry(assignment=spec.Assignment(spec=what, want=want, request=asked), stage=stage, **changed)


def request(purpose: spec.Purpose = Purpose.DEMAND, then_stop: bool = False) -> spec.Request:
    return spec.Request(id="r1", purpose=purpose, then_stop=then_stop)


REMOVE, STOP = spec.Want.REMOVE, spec.Want.STOP


@pytest.mark.parametrize(
    ("step", "what", "presence", "more"),
    [
        (Step.PREPARE, entry(Stage.ACCEPTED), Presence.ABSENT, {}),
        (Step.REST, entry(Stage.ACCEPTED), Presence.ABSENT, {"busy": True}),
        (Step.RESTORE, entry(Stage.PREPARED), Presence.ABSENT, {}),
        (Step.START, entry(Stage.RESTORED), Presence.ABSENT, {}),
        (Step.START, entry(Stage.STARTED), Presence.ABSENT, {}),
        (Step.REFUSE, entry(Stage.STARTED), Presence.ABSENT, {"hopeless": "it fails"}),
        (Step.START, entry(Stage.STARTED), Presence.ORPHANED, {}),
        (Step.START, entry(Stage.STARTED, STOP), Presence.ORPHANED, {}),
        (Step.REST, entry(Stage.STARTED), Presence.STARTING, {}),
        (Step.REST, entry(Stage.STARTED), Presence.LIVE, {}),
        (Step.CHECKPOINT, entry(Stage.STARTED), Presence.LIVE, {"wanted": True}),
        (Step.REST, entry(Stage.STARTED), Presence.LIVE, {"wanted": True, "saving": True}),
        (Step.STOP, entry(Stage.STARTED, STOP), Presence.LIVE, {"wanted": True}),
        (Step.STOP, entry(Stage.STARTED, STOP), Presence.LIVE, {"saving": True}),
        (Step.STOP, entry(Stage.STARTED, REMOVE), Presence.LIVE, {}),
        (Step.STOP, entry(Stage.STARTED, stopping="saved"), Presence.LIVE, {}),
        (Step.WAIT, entry(Stage.STARTED), Presence.ENDED, {}),
        (Step.WAIT, entry(Stage.STARTED, STOP), Presence.ENDED, {}),
        (Step.REST, entry(Stage.STARTED), Presence.ENDED, {"saving": True}),
        (Step.CHECKPOINT, entry(Stage.STARTED), Presence.ENDED, {"wanted": True}),
        (Step.REST, entry(Stage.STARTED), Presence.ENDED, {"holding": True}),
        (Step.REST, entry(Stage.ENDED), Presence.ENDED, {}),
        (Step.REST, entry(Stage.ENDED), Presence.ABSENT, {}),
        (Step.STOP, entry(Stage.ENDED), Presence.LIVE, {}),
        (Step.STOP, entry(Stage.ENDED, REMOVE), Presence.LIVE, {}),
        (Step.REMOVE, entry(Stage.ENDED, REMOVE), Presence.ENDED, {}),
        (Step.REMOVE, entry(Stage.ACCEPTED, REMOVE), Presence.ABSENT, {}),
        (Step.REST, entry(Stage.ENDED, REMOVE), Presence.ENDED, {"saving": True}),
        (Step.REST, entry(Stage.ENDED, REMOVE), Presence.ENDED, {"rushed": True}),
        (Step.WAIT, entry(Stage.STARTED), Presence.ENDED, {"rushed": True}),
        (Step.STOP, entry(Stage.STARTED, REMOVE), Presence.LIVE, {"rushed": True}),
        (Step.REFUSE, entry(Stage.ACCEPTED, STOP), Presence.ABSENT, {}),
        (Step.REFUSE, entry(Stage.PREPARED), Presence.ABSENT, {"leaving": True}),
        (Step.REST, entry(Stage.STARTED), Presence.LIVE, {"leaving": True}),
        (Step.REFUSE, entry(Stage.PREPARED, asked=request(Purpose.SUSPEND, True)), Presence.ABSENT, {}),
        (Step.RESTORE, entry(Stage.PREPARED, asked=request(Purpose.DEMAND)), Presence.ABSENT, {}),
    ],
)
def test_the_next_step(step: Step, what: journal.Entry, presence: process.Presence, more: dict[str, Any]) -> None:
    row = steps.decide(steps.Situation(entry=what, presence=presence, **more))
    assert (row.step, bool(row.why)) == (step, True), row.why


def test_every_situation_has_a_step() -> None:
    for stage in Stage:
        for presence in Presence:
            for want in spec.Want:
                for flags in range(32):
                    found = steps.decide(
                        steps.Situation(
                            entry=entry(stage, want),
                            presence=presence,
                            busy=bool(flags & 1),
                            saving=bool(flags & 2),
                            wanted=bool(flags & 4),
                            holding=bool(flags & 8),
                            leaving=bool(flags & 16),
                        )
                    )
                    started = stage in (Stage.STARTED, Stage.ENDED)
                    assert not (found.step is Step.PREPARE and started), "prepared again what may have run"
                    assert not (found.step is Step.REMOVE and presence is Presence.LIVE), "removed what runs"
                    assert not (found.step is Step.START and stage is Stage.ENDED), "started what has ended"


HOST = journal.Host(agent="a")
NOTICED = dataclasses.replace(HOST, notice=observed.Notice(deadline=1030.0))
DRAINED = dataclasses.replace(HOST, draining=True)
MOMENT = due.Moment(now=100.0, posix=1000.0, interval=None, safe_at=50.0)


def at(**changed: Any) -> due.Moment:
    return dataclasses.replace(MOMENT, **changed)


@pytest.mark.parametrize(
    ("purpose", "what", "host", "moment"),
    [
        (None, entry(), HOST, at()),
        (Purpose.SAVED, entry(asked=request()), HOST, at(saved=True)),
        (Purpose.DEMAND, entry(asked=request()), HOST, at(saved=True, retry_at=101.0)),
        (Purpose.DEMAND, entry(asked=request()), HOST, at()),
        (None, entry(asked=request(), served=("r1",)), HOST, at()),
        (None, entry(asked=request()), HOST, at(over=True)),
        (Purpose.SAVED, entry(), HOST, at(over=True, saved=True)),
        (Purpose.NOTICE, entry(), NOTICED, at()),
        (Purpose.DEMAND, entry(asked=request()), NOTICED, at()),
        (None, entry(policy={"on": ()}), NOTICED, at()),
        (None, entry(), NOTICED, at(posix=1031.0)),
        (None, entry(stopping="saved"), NOTICED, at()),
        (None, entry(), NOTICED, at(retry_at=101.0)),
        (Purpose.NOTICE, entry(), DRAINED, at()),
        (Purpose.TIMER, entry(), HOST, at(interval=50.0)),
        (None, entry(), HOST, at(interval=50.1)),
        (None, entry(policy={"engine": model.EngineName.NONE}, asked=request()), HOST, at(saved=True, interval=1.0)),
    ],
)
def test_what_is_due(purpose: spec.Purpose | None, what: journal.Entry, host: journal.Host, moment: due.Moment) -> None:
    found = due.request(what, host, moment)
    assert (found.purpose if found else None) is purpose
    if purpose is Purpose.NOTICE:
        assert found is not None
        assert found.then_stop


def test_a_notice_gives_all_the_time_there_is() -> None:
    found = due.request(entry(), NOTICED, at())
    assert found is not None
    assert found.deadline == 30.0


TAKEN = observed.Taken(digest="sha256:1", attempt=1, taken_at=1.0)
CAPTURED = engine.Captured(taken=TAKEN, usage=store.Usage(logical_bytes=1, stored_bytes=1))
FAILED = engine.Failed(reason="it is deaf")


@pytest.mark.parametrize(
    ("purpose", "then_stop", "outcome", "stops"),
    [
        (Purpose.DEMAND, False, CAPTURED, False),
        (Purpose.DEMAND, True, CAPTURED, True),
        (Purpose.DEMAND, True, FAILED, False),
        (Purpose.SUSPEND, True, CAPTURED, True),
        (Purpose.SUSPEND, True, FAILED, False),
        (Purpose.UPDATE, True, FAILED, False),
        (Purpose.MOVE, True, FAILED, False),
        (Purpose.STOP, True, FAILED, True),
        (Purpose.STOP, True, CAPTURED, True),
    ],
)
def test_what_follows(purpose: spec.Purpose, then_stop: bool, outcome: engine.Captured | engine.Failed, stops: bool) -> None:
    asked = request(purpose, then_stop)
    found = due.after(entry(asked=asked), asked, outcome, 7.0)
    assert bool(found.stopping) == stops
    assert bool(found.conditions) == (outcome is FAILED)
    assert found.request is not None
    assert (found.request.done, bool(found.request.digest)) == (True, outcome is CAPTURED)
    assert "r1" in found.served
    assert found.checkpoints == ((TAKEN,) if outcome is CAPTURED else ())


@pytest.mark.parametrize("purpose", [Purpose.TIMER, Purpose.NOTICE, Purpose.SAVED])
def test_our_own_failures_are_conditions_and_are_tried_again(purpose: spec.Purpose) -> None:
    asked = spec.Request(id="own", purpose=purpose, then_stop=purpose is Purpose.NOTICE)
    found = due.after(entry(), asked, FAILED, 7.0)
    assert (found.stopping, found.request, found.served) == ("", None, ())
    assert found.conditions["checkpoint"] == f"the {purpose.value} checkpoint failed: it is deaf"
    assert due.after(found, asked, CAPTURED, 8.0).conditions == {}


def test_checkpoints_are_kept_once_in_order_and_bounded() -> None:
    many = tuple(observed.Taken(digest=f"sha256:{n}", attempt=1, taken_at=float(n)) for n in range(60))
    found = due.with_taken(due.with_taken(entry(), many[30:]), many[:40])
    assert [one.taken_at for one in found.checkpoints] == [float(n) for n in range(10, 60)]


def test_what_a_checkpoint_is_worth() -> None:
    """Where the time cannot hold all of them, the most work for each second comes first."""

    def measured(seconds: float) -> journal.Entry:
        return entry(checkpoints=(observed.Taken(digest="sha256:1", attempt=1, taken_at=1.0, seconds=seconds),))

    asked = request()
    assert due.worth(measured(2.0), 100.0, asked) > due.worth(measured(20.0), 300.0, asked)
    assert due.worth(measured(2.0), 100.0, asked) < due.worth(measured(2.0), 101.0, asked)
    assert due.worth(entry(), 10.0, asked) == 10.0 / due.PRIOR
    notice, drain = (due.request(entry(), host, at()) for host in (NOTICED, DRAINED))
    assert notice is not None
    assert drain is not None
    assert (due.noticed(notice), due.noticed(drain), due.noticed(asked)) == (True, False, False)
    fits, longer, longest = (due.worth(measured(seconds), 1000.0, notice) for seconds in (29.0, 31.0, 300.0))
    assert fits > due.worth(measured(29.0), 1.0, notice) > longer > longest, "who needs more time than there is comes last"
    assert due.worth(measured(300.0), 0.0, notice) < longest
    assert due.worth(measured(300.0), 1000.0, drain) > 0, "a drain has no end"
    assert due.worth(entry(), 1.0, dataclasses.replace(notice, deadline=0.5)) > 0, "nobody knows yet how long it takes"


@pytest.mark.parametrize(("hours", "minutes"), [(24, 116.69), (6, 56.71), (0.25, 9.14)])
def test_daly_gives_the_figures_of_his_paper(hours: float, minutes: float) -> None:
    assert interval.daly(5 * 60, hours * 3600) / 60 == pytest.approx(minutes, abs=0.01)


def test_the_interval_is_clamped_and_explained() -> None:
    assert interval.choose(None, [1.0]) == (None, "")
    assert interval.choose(90.0, [1.0]) == (90.0, "")
    chosen, why = interval.choose("auto", [])
    assert (chosen, "to learn what it takes" in why) == (interval.FIRST, True)
    assert interval.choose("auto", [0.00001])[0] == interval.SHORTEST
    assert interval.choose("auto", [5000.0], spec.Hazard(between=86400.0))[0] == interval.LONGEST
    assert "median of the last 5" in interval.choose("auto", [99.0, 1.0, 2.0, 3.0, 4.0, 5.0])[1]
    seen = spec.Hazard(market="aws/-/eu-1", between=3600.0, losses=5, seconds=15 * 3600.0)
    chosen, why = interval.choose("auto", [8.0], seen)
    assert chosen == pytest.approx(interval.daly(8.0, 3600.0))
    assert "1 h between losses are expected (5 unannounced in 15 h on aws/-/eu-1" in why


def taking_over(known: journal.Entry | None, item: spec.Assignment, started: bool = False) -> tuple[journal.Entry, ...]:
    entries = {} if known is None else {known.ref: known}
    return accept.accept(entries, spec.Assignments(host="h", generation=1, items=(item,)), lambda ref: started)


def test_what_may_change_in_place() -> None:
    known = entry(Stage.STARTED)
    changed = dataclasses.replace(
        WHAT,
        timeout=9.0,
        labels={"a": "b"},
        checkpoint=model.CheckpointPolicy(interval=3.0, engine=model.EngineName.CRIU),
        workload=model.Workload(command=("false",)),
        restore="sha256:other",
    )
    (found,) = taking_over(known, spec.Assignment(spec=changed, grace=3.0, request=request()))
    assert (found.spec.timeout, found.spec.labels, found.spec.checkpoint.interval) == (9.0, {"a": "b"}, 3.0)
    assert (found.spec.workload, found.spec.restore) == (WHAT.workload, "")
    assert found.spec.checkpoint.engine is model.EngineName.APPLICATION
    assert (found.assignment.grace, found.assignment.request) == (3.0, request())


def test_what_is_wanted_never_goes_back() -> None:
    (known,) = taking_over(entry(Stage.STARTED), spec.Assignment(spec=WHAT, want=STOP))
    assert taking_over(known, spec.Assignment(spec=WHAT, want=spec.Want.RUN)) == ()


def test_new_attempts() -> None:
    assert taking_over(None, spec.Assignment(spec=WHAT, want=REMOVE)) == ()
    assert taking_over(None, spec.Assignment(spec=WHAT))[0].stage is Stage.ACCEPTED
    assert taking_over(None, spec.Assignment(spec=WHAT), started=True)[0].stage is Stage.STARTED
