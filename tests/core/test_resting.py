"""What is taken over from the pass before: exactly what nothing has moved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from reconciler.core import decide, facts, model, observed, plan, record
from tests.core import scene
from tests.core.test_plans import PLANS

Move = Callable[[facts.Facts], facts.Facts]


def still() -> facts.Facts:
    return scene.read(PLANS / "nothing-to-do").facts


def in_host(**change: object) -> Move:
    """A change of the host's view, with the attempts on it the same objects."""

    def move(known: facts.Facts) -> facts.Facts:
        view = known.world.targets[scene.TARGET].hosts["alpha"]
        kept = {name: value for name, value in change.items() if name in ("silent_since", "silent_tries")}
        state = dataclasses.replace(view.state, **{name: value for name, value in change.items() if name not in kept})  # type: ignore[arg-type]
        return in_target(hosts={"alpha": dataclasses.replace(view, state=state, **kept)})(known)  # type: ignore[arg-type]

    return move


def in_target(**change: object) -> Move:
    def move(known: facts.Facts) -> facts.Facts:
        target = dataclasses.replace(known.world.targets[scene.TARGET], **change)  # type: ignore[arg-type]
        return dataclasses.replace(known, world=dataclasses.replace(known.world, targets={scene.TARGET: target}))

    return move


def in_desired(**change: object) -> Move:
    return lambda known: dataclasses.replace(known, desired=dataclasses.replace(known.desired, **change))  # type: ignore[arg-type]


def in_job(**change: object) -> Move:
    def move(known: facts.Facts) -> facts.Facts:
        jobs = {ref: dataclasses.replace(job, **change) for ref, job in known.desired.jobs.items()}  # type: ignore[arg-type]
        return in_desired(jobs=jobs)(known)

    return move


def in_items(**change: object) -> Move:
    def move(known: facts.Facts) -> facts.Facts:
        items = known.world.targets[scene.TARGET].items
        changed = {ref: dataclasses.replace(item, **change) for ref, item in items.items()}  # type: ignore[arg-type]
        return in_target(items=changed)(known)

    return move


further = in_items(progress=observed.Progress(step=99), first_step=1, cadence="every 5 min")


def failed_again(known: facts.Facts) -> facts.Facts:
    changed = {name: dataclasses.replace(run, condition="late") for name, run in known.records.items()}
    return dataclasses.replace(known, records=changed)


MOVES: dict[str, Move] = {
    "nothing": lambda known: known,
    "time": lambda known: dataclasses.replace(known, now=known.now + 1e6),
    "host_drains": in_host(draining=True),
    "host_gets_a_notice": in_host(notice=observed.Notice(deadline=2000.0)),
    "host_is_heard_again": in_host(generation=1000),
    "host_falls_silent": in_host(silent_since=990.0, silent_tries=1),
    "host_is_gone": in_target(hosts={}),
    "attempt_is_gone": in_target(items={}),
    "attempt_goes_on": further,
    "attempt_is_told_anew": in_items(),
    "attempt_has_a_condition": in_items(condition="its checkpoint is late"),
    "attempt_has_ended": in_items(
        state=observed.ItemState.ENDED, exit=observed.Exit(kind=observed.ExitKind.EXITED, code=7), ended_at=999.0
    ),
    "target_is_unknown": in_target(known=False, error="refused"),
    "job_is_stopped": in_job(state=model.JobState.STOPPED),
    "job_is_removed": in_desired(jobs={}),
    "job_is_frozen": in_desired(frozen={model.ObjectRef(kind="Job", tenant="default", name="train"): "t.yaml:1:1: bad"}),
    "file_is_unread": in_desired(unread=("t.yaml",)),
    "checkpoint_is_demanded": in_desired(
        checkpoints={
            model.ObjectRef(kind="Checkpoint", tenant="default", name="c"): model.CheckpointRequest(name="c", job="train")
        }
    ),
    "record_changes": failed_again,
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_the_plan_is_the_one_that_would_be_made_anew(move: Move) -> None:
    known = still()
    _, resting = plan.follow(known, {})
    assert {each.run.phase for each in resting.values()} == {record.Phase.RUNNING, *record.TERMINAL}
    moved = move(known)
    assert plan.follow(moved, resting)[0] == plan.compute(moved)


def test_what_is_at_rest_is_not_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = still()
    first, resting = plan.follow(known, {})
    monkeypatch.setattr(decide, "decide", lambda case: pytest.fail(f"decided {case.run.job}"))
    assert plan.follow(known, resting) == (first, resting)


def test_nothing_is_decided_by_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    known = still()
    _, resting = plan.follow(known, {})
    monkeypatch.setattr(decide, "decide", lambda case: pytest.fail(f"decided {case.run.job}"))
    later, _ = plan.follow(in_host(generation=1000)(further(known)), resting)
    assert [act.sentence for act in later.actions if act.reason == "Running"] == ["attempt 1 on alpha at step 99"]
