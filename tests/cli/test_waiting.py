"""When waiting is over, and when it never can be."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler import errors
from reconciler.cli import options, selection, standing, waiting
from reconciler.core import model, observed, record, spec
from tests.cli.test_selection import job, run


def at(phase: record.Phase, reason: str = "Running", declared: bool = True, **job_fields: object) -> standing.Standing:
    of = dataclasses.replace(job("train"), **job_fields)  # type: ignore[arg-type]
    recorded = run(of, phase)
    return standing.Standing(
        subject=selection.Subject(key=recorded.key, job=of if declared else None, run=recorded.run, recorded=recorded),
        phase=phase,
        reason=reason,
        sentence="evidence",
        attempt=record.Attempt(number=1, target="machines", host="here", intended_at=0.0, started_at=1.0),
        checkpoint=observed.Taken(digest="sha256:0", attempt=1, taken_at=100.0),
    )


def test_goals() -> None:
    running, finished = at(record.Phase.RUNNING), at(record.Phase.FINISHED)
    assert waiting.reached(finished, "finished", ())
    assert not waiting.reached(running, "finished", ())
    assert waiting.reached(running, "running", ())
    assert waiting.reached(running, "checkpointed", ())


def test_a_checkpoint_is_new_when_nobody_knew_it_before_whatever_the_clocks_say() -> None:
    running = at(record.Phase.RUNNING)
    assert running.checkpoint is not None
    assert running.subject.recorded is not None
    recorded = dataclasses.replace(running.subject.recorded, checkpoints=(record.Saved(taken=running.checkpoint),))
    now = dataclasses.replace(running, subject=dataclasses.replace(running.subject, recorded=recorded))
    item = observed.Item(
        ref=spec.AttemptRef(run="r", attempt=1), state=observed.ItemState.RUNNING, checkpoints=(running.checkpoint,)
    )
    for known in (waiting.saved([now]), waiting.saved([dataclasses.replace(running, item=item)])):
        assert not waiting.reached(now, "checkpointed", known)
    later = dataclasses.replace(now, checkpoint=dataclasses.replace(running.checkpoint, digest="sha256:1", taken_at=1.0))
    assert waiting.reached(later, "checkpointed", waiting.saved([now]))
    other = dataclasses.replace(running.checkpoint, digest="sha256:2", attempt=0)
    assert not waiting.reached(dataclasses.replace(now, checkpoint=other), "checkpointed", ()), "another run's"


@pytest.mark.parametrize(
    ("one", "goal", "text"),
    [
        (at(record.Phase.FAILED), "finished", "train has failed: evidence"),
        (at(record.Phase.FINISHED), "checkpointed", "train has finished"),
        (at(record.Phase.STOPPED, declared=False), "finished", "train is not declared any more"),
        (at(record.Phase.STOPPED, state=model.JobState.STOPPED), "finished", "train is stopped"),
        (at(record.Phase.PENDING, "DependencyFailed"), "finished", "train waits for a job that failed: evidence"),
        (
            at(record.Phase.RUNNING, checkpoint=model.CheckpointPolicy(engine=model.EngineName.NONE)),
            "checkpointed",
            "train takes no checkpoints (`checkpoint.engine` is none)",
        ),
        (at(record.Phase.RUNNING), "finished", ""),
        (at(record.Phase.SUSPENDED), "finished", ""),
    ],
)
def test_what_can_never_be_reached_is_said_at_once(one: standing.Standing, goal: str, text: str) -> None:
    assert waiting.hopeless(one, goal, {"sha256:0"}) == text


@pytest.mark.parametrize("text", ["soon", "5", "5 minutes", "", "5s3d", "0s", "1h1h"])
def test_a_timeout_is_written_as_in_manifests(text: str) -> None:
    with pytest.raises(errors.UsageError, match="not a duration") as caught:
        options.duration(text, "--timeout")
    assert caught.value.where == "--timeout"
    assert options.duration("1h30m", "--timeout") == 5400.0
