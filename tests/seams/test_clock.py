"""The system's clock keeps the contract's promises."""

from __future__ import annotations

import threading

from reconciler.contracts.clock import Clock
from reconciler.seams import clock

SYSTEM: Clock = clock.System()


def test_the_monotonic_clock_never_goes_back() -> None:
    first = SYSTEM.monotonic()
    assert SYSTEM.monotonic() >= first


def test_waiting_ends_when_the_event_is_set() -> None:
    event = threading.Event()
    event.set()
    assert SYSTEM.wait(3600.0, until=event)


def test_waiting_without_an_event_only_waits() -> None:
    assert not SYSTEM.wait(-1.0)
    assert not SYSTEM.wait(0.0, until=threading.Event())
