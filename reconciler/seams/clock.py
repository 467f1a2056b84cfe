"""The system's own clock; tests and the simulation bring another one."""

from __future__ import annotations

import time

from reconciler.contracts import clock


class System:
    """`contracts.clock.Clock` on real time."""

    def now(self) -> float:
        """Return POSIX time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        return time.monotonic()

    def wait(self, seconds: float, until: clock.Event | None = None) -> bool:
        """Wait `seconds` (nothing when negative), or until `until` is set; return whether it was set."""
        seconds = max(0.0, seconds)
        if until is not None:
            return until.wait(seconds)
        time.sleep(seconds)
        return False
