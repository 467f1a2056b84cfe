"""What a pass sees: a look that fails is unknown, and a host that never spoke is awaited by the clock that never jumps."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from reconciler import errors, observe, registry
from reconciler.contracts import store, target
from reconciler.core import model, observed, record
from reconciler.storage import fake as stores
from reconciler.targets import fake as targets
from tests.simulation import clocks, schedule

STORE = model.StoreSpec(name="main", root="/store")
DESIRED = model.Desired(revision="r", targets={"hosts": model.TargetSpec(name="hosts")}, stores={"main": STORE})


def run(**changed: object) -> record.Record:
    job = model.Job(name="train", target="hosts", workload=model.Workload(command=("true",)))
    attempt = record.Attempt(number=1, target="hosts", host="alpha", intended_at=0.0)
    values: dict[str, object] = {
        "instance": "i",
        "run": "1" * 32,
        "tenant": "default",
        "job": "train",
        "replica": 0,
        "identity": 1,
        "revision": "r",
        "created_at": 0.0,
        "phase": record.Phase.RUNNING,
        "applied": job,
        "store": STORE,
        "attempts": (attempt,),
    }
    return record.Record(**{**values, **changed})  # type: ignore[arg-type]


def look(observer: observe.Observer, now: float, monotonic: float, runs: Mapping[str, record.Record]) -> observed.World:
    return observer.observe(observe.Subject(desired=DESIRED, records=runs, now=now, monotonic=monotonic))


def observer(of: target.Target, holding: store.Store) -> observe.Observer:
    adapters = registry.Registry(lambda declared: of, lambda declared: holding)
    return observe.Observer(adapters, observe.Parallel(deadline=10.0))


def nobody() -> targets.FakeTarget:
    return targets.FakeTarget("hosts", clocks.Clock(schedule.Schedule(), lambda seconds: None))


def test_an_hour_set_forward_is_not_an_hour_of_silence() -> None:
    watching, runs = observer(nobody(), stores.FakeStore()), {"1" * 32: run()}
    look(watching, 1000.0, 10.0, runs)
    seen = look(watching, 4605.0, 15.0, runs).unheard["hosts", "alpha"]
    assert (seen.since, seen.tries) == (4600.0, 2)


def test_an_hour_set_back_leaves_the_silence_as_long_as_it_was() -> None:
    watching, runs = observer(nobody(), stores.FakeStore()), {"1" * 32: run()}
    look(watching, 5000.0, 10.0, runs)
    assert look(watching, 1480.0, 90.0, runs).unheard["hosts", "alpha"].since == 1400.0


def test_a_target_that_cannot_be_listed_is_unknown_and_counts_no_silence() -> None:
    broken = nobody()
    broken.unlisted = "it is down"
    seen = look(observer(broken, stores.FakeStore()), 1.0, 1.0, {"1" * 32: run()})
    assert not seen.targets["hosts"].known
    assert seen.unheard == {}


def test_a_store_that_cannot_be_asked_is_unknown() -> None:
    away = stores.FakeStore()
    away.broken = "it is away"
    ended = run(phase=record.Phase.PENDING)
    seen = look(observer(nobody(), away), 1.0, 1.0, {"1" * 32: ended})
    assert (seen.stores["main"].known, "it is away" in seen.stores["main"].error) == (False, True)


def test_what_was_borrowed_from_another_run_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(digest: str) -> stores.FakeImage:
        asked.append(digest)
        raise errors.Refused("not here")

    place = stores.FakeStore()
    monkeypatch.setattr(place, "open", refuse)
    lender = observed.Taken(digest="sha256:lent", attempt=0, taken_at=0.0)
    seen = look(observer(nobody(), place), 1.0, 1.0, {"1" * 32: run(checkpoints=(record.Saved(taken=lender),))})
    assert asked == ["sha256:lent"]
    assert seen.stores["main"].named == {}
