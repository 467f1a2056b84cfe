"""How long checkpoints are kept is asked of the Store as it is declared now, also for runs that were over before."""

from __future__ import annotations

import dataclasses

from reconciler.core import action, facts, model, plan
from tests.core import scene
from tests.core.test_plans import PLANS


def over(began_with: float | None) -> facts.Facts:
    """A run that is over, whose Store keeps the checkpoints of such for 100 s now and said something else when it began."""
    given = scene.read(PLANS / "retention-of-an-ended-run").facts
    records = {}
    for name, run in given.records.items():
        assert run.store is not None
        records[name] = dataclasses.replace(run, store=dataclasses.replace(run.store, retention=began_with))
    return dataclasses.replace(given, records=records)


def pruned(given: facts.Facts) -> list[int]:
    return [len(act.digests) for act in plan.compute(given).actions if act.verb is action.Verb.PRUNE]


def test_a_retention_that_was_declared_later_holds_for_runs_that_are_over() -> None:
    assert pruned(over(None)) == pruned(over(100.0)) == [2]


def test_one_that_was_made_longer_or_taken_out_holds_too() -> None:
    for now in (1000.0, None):
        given = over(100.0)
        stores = {name: dataclasses.replace(each, retention=now) for name, each in given.desired.stores.items()}
        assert pruned(dataclasses.replace(given, desired=dataclasses.replace(given.desired, stores=stores))) == []


def test_a_pass_is_due_when_it_has_passed() -> None:
    given = dataclasses.replace(over(None), now=850.0)
    assert plan.compute(given).wake_at == 900.0


def test_a_tombstone_is_taken_back_also_where_nothing_is_to_go_any_more() -> None:
    given = scene.read(PLANS / "retention-deletes-after-the-grace").facts
    policy = model.CheckpointPolicy(keep=3)
    records = {
        name: dataclasses.replace(run, applied=dataclasses.replace(run.applied, checkpoint=policy))
        for name, run in given.records.items()
    }
    jobs = {key: dataclasses.replace(job, checkpoint=policy) for key, job in given.desired.jobs.items()}
    given = dataclasses.replace(given, records=records, desired=dataclasses.replace(given.desired, jobs=jobs))
    (act,) = (act for act in plan.compute(given).actions if act.verb is action.Verb.PRUNE)
    assert (act.digests, act.keep) == ((), (scene.digest("train", 10), scene.digest("train", 20)))
    assert act.sentence == "2 of 3 checkpoints are kept after all"
