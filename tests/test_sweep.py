"""Stores are swept when the loop starts and once a day, beside its passes; a run when something of it was deleted."""

from __future__ import annotations

import threading

from reconciler import apply, errors, registry, sweep
from reconciler.core import action, model, record, settle, situation
from reconciler.storage import fake
from tests import conditions
from tests.test_apply import DESIRED, begun

MAIN = model.StoreSpec(name="main", root="/main")
OTHER = model.StoreSpec(name="other", root="/other")


class Clock:
    """Time that the test sets."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def wait(self, seconds: float, event: object = None) -> bool:
        raise AssertionError("nobody waits here")


class Swept(fake.FakeStore):
    """A store that counts its sweeps, and may not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.swept: list[tuple[str, ...] | None] = []
        self.held = threading.Event()
        self.held.set()

    def sweep(self, now: float, runs: object = None) -> None:
        self.held.wait()
        self.swept.append(None if runs is None else tuple(runs))  # type: ignore[arg-type]
        if self.broken:
            raise errors.Unavailable(self.broken)


def of(stores: dict[str, Swept]) -> registry.Registry:
    return registry.Registry(lambda declared: None, lambda declared: stores[declared.name])  # type: ignore[arg-type, return-value]


def test_at_the_start_and_once_a_day() -> None:
    stores, clock = {"main": Swept(), "other": Swept()}, Clock()
    sweeper = sweep.Sweeper(of(stores), clock)
    for _ in range(3):
        sweeper.look([MAIN])
        sweeper.end(10.0)
    assert len(stores["main"].swept) == 1
    sweeper.look([MAIN, OTHER])
    sweeper.end(10.0)
    assert (len(stores["main"].swept), len(stores["other"].swept)) == (1, 1)
    clock.at += sweep.EVERY
    sweeper.look([MAIN, OTHER])
    sweeper.end(10.0)
    assert (len(stores["main"].swept), len(stores["other"].swept)) == (2, 2)


def test_a_store_that_does_not_answer_keeps_no_pass_waiting_and_no_other_store_from_its_turn() -> None:
    stores, clock = {"main": Swept(), "other": Swept()}, Clock()
    stores["main"].held.clear()
    stores["main"].broken = "it does not answer"
    sweeper = sweep.Sweeper(of(stores), clock)
    sweeper.look([MAIN, OTHER])
    sweeper.look([MAIN, OTHER])
    assert stores["other"].swept == []
    stores["main"].held.set()
    conditions.eventually(lambda: stores["other"].swept == [None])
    sweeper.end(10.0)
    assert stores["main"].swept == [None]


def test_a_run_of_which_something_was_deleted() -> None:
    """A deletion that was killed after the last manifest had gone is told again, and its packs go then."""
    depot = Swept()
    prune = action.Action(
        verb=action.Verb.PRUNE,
        tenant="default",
        job="train",
        run="run",
        reason="Retention",
        sentence="1 of 2 checkpoints can go",
        digests=("sha256:" + "0" * 64,),
        store="main",
    )
    applier = apply.Applier(of({"main": depot}), situation.Budgets())
    desired = model.Desired(revision=DESIRED.revision, stores={"main": MAIN})
    records: dict[str, record.Record] = {"run": begun(1)}
    [(_, outcome)] = applier.carry_out(action.Plan(revision="r", actions=(prune,)), records, desired, 0.0)
    assert outcome.result is settle.Result.DELETED
    assert depot.swept == [("run",)]
