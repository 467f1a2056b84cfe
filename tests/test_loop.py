"""Between two passes: who wrote first, and how long a loop waits that always loses."""

from __future__ import annotations

import threading

from reconciler import apply, loop, observe, registry
from reconciler.contracts import clock
from reconciler.core import model, situation
from reconciler.ledger.fake import FakeLedger
from reconciler.source.fake import FakeSource
from reconciler.storage.fake import FakeStore
from reconciler.targets.fake import FakeTarget


class Impatient:
    """A clock on which waiting takes no time; it notes for how long."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def now(self) -> float:
        return 1000.0 + sum(self.waited)

    def monotonic(self) -> float:
        return sum(self.waited)

    def wait(self, seconds: float, until: clock.Event | None = None) -> bool:
        self.waited.append(seconds)
        return until is not None and until.is_set()


def of(ledger: FakeLedger, time: Impatient) -> loop.Loop:
    source = FakeSource()
    source.commit({})
    adapters = registry.Registry(lambda declared: FakeTarget("hosts", time), lambda declared: FakeStore())
    budgets = situation.Budgets()
    return loop.Loop(
        loop.Parts(
            instance="i",
            clock=time,
            source=source,
            load=lambda tree, revision, before: model.Desired(revision=revision.id),
            ledger=ledger,
            observer=observe.Observer(adapters, lambda calls: {name: observe.answer(call) for name, call in calls.items()}),
            applier=apply.Applier(adapters, budgets),
            budgets=budgets,
            jitter=lambda: 1.0,
        )
    )


def test_a_server_that_declines_every_push_for_hours_is_asked_now_and_then() -> None:
    ledger, time, stop = FakeLedger(), Impatient(), threading.Event()
    ledger.reject(1500)
    of(ledger, time).run(stop, lambda done: stop.set())
    assert len(time.waited) == 1500
    assert time.waited[0] < 0.2
    assert max(time.waited) == 15.0
    assert time.waited == sorted(time.waited)
    assert len(ledger.changes) == 1
