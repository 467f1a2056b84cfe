"""What a process believes the time to be: it may be off, run at another speed, and jump."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.contracts import clock
from tests.simulation import schedule

EPOCH = 1_700_000_000.0
"""POSIX time at which every simulation begins."""


class Clock:
    """`contracts.clock.Clock` on virtual time. `wait` is left to the process that owns the clock."""

    def __init__(self, events: schedule.Schedule, wait: Callable[[float], None]) -> None:
        self._events = events
        self._wait = wait
        self._since = events.now
        self._passed = 0.0
        self._rate = 1.0
        self.offset = 0.0
        """Seconds by which the wall clock is ahead; the monotonic one never jumps."""

    def now(self) -> float:
        """Return POSIX time in seconds, as this process sees it."""
        return EPOCH + self.offset + self.monotonic()

    def monotonic(self) -> float:
        """Return seconds since the beginning, as this process counts them."""
        return self._passed + (self._events.now - self._since) * self._rate

    def wait(self, seconds: float, until: clock.Event | None = None) -> bool:
        """Wait `seconds`."""
        self._wait(max(seconds, 0.0) / self._rate)
        return until is not None and until.is_set()

    def run_at(self, rate: float) -> None:
        """Run at another speed from now on."""
        self._passed, self._since, self._rate = self.monotonic(), self._events.now, rate
