"""Which runs a person means."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler import errors
from reconciler.cli import selection
from reconciler.core import identity, model, record
from tests.core import runs

WORKLOAD = model.Workload(command=("true",))


def job(name: str, tenant: str = "default", replicas: int = 1, rerun: str = "") -> model.Job:
    return model.Job(
        name=name, tenant=tenant, target="machines", workload=WORKLOAD, replicas=replicas, written=f'{{"rerun":"{rerun}"}}'
    )


def run(of: model.Job, phase: record.Phase = record.Phase.RUNNING, replica: int = 0, at: float = 0.0) -> record.Record:
    name = identity.run_id("default", of, replica)
    return runs.of(of, instance="default", run=name, replica=replica, created_at=at, phase=phase)


def subjects(declared: list[model.Job], recorded: list[record.Record]) -> tuple[selection.Subject, ...]:
    desired = model.Desired(revision="r", jobs={one.ref: one for one in declared})
    return selection.subjects("default", desired, {one.run: one for one in recorded})


EVERY = subjects([job("train"), job("train", "team-a"), job("sweep", replicas=3)], [run(job("train"))])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train", ["train", "team-a/train"]),
        ("team-a/train", ["team-a/train"]),
        ("default/train", ["train"]),
        ("sweep", ["sweep[0]", "sweep[1]", "sweep[2]"]),
        ("sweep[1]", ["sweep[1]"]),
    ],
)
def test_names(name: str, found: list[str]) -> None:
    assert [each.name for each in selection.pick([name], EVERY)] == found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trian", "Did you mean train?"),
        ("sweep[9]", "`perdure status sweep` lists them."),
        ("other", "`perdure status` lists every job."),
        ("a/b/c", "Write NAME, TENANT/NAME or NAME[replica]."),
    ],
)
def test_unknown_names_are_answered_with_what_is_near(name: str, said: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        selection.pick([name], EVERY)
    assert said in str(caught.value)


def test_one_job_of_several_tenants_must_be_named() -> None:
    with pytest.raises(errors.UsageError, match="several tenants: default/train, team-a/train"):
        selection.one("train", EVERY)


def test_the_run_that_counts_is_the_one_the_manifest_asks_for() -> None:
    old, new = job("train"), job("train", rerun="again")
    finished, fresh = run(old, record.Phase.FINISHED), run(new, at=1.0)
    [one] = subjects([new], [finished, fresh])
    assert (one.recorded, one.earlier) == (fresh, (finished,))
    [one] = subjects([new], [finished])
    assert (one.recorded, one.run, one.earlier) == (None, fresh.run, (finished,))


def test_an_unfinished_run_stands_until_another_may_begin() -> None:
    standing = run(job("train"))
    [one] = subjects([job("train", rerun="again")], [standing])
    assert one.recorded is standing


def test_what_is_over_and_not_declared_is_shown_only_when_asked_for() -> None:
    [one] = subjects([], [run(job("old"), record.Phase.FINISHED)])
    assert one.idle
    assert selection.pick([], (one,)) == ()
    assert selection.pick(["old"], (one,)) == (one,)
    [going] = subjects([], [dataclasses.replace(run(job("old")), phase=record.Phase.RUNNING)])
    assert selection.pick([], (going,)) == (going,)
