"""Time as an outside thing, so that the loop and the agent run under a virtual clock."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that people read, one that never goes back."""

    def now(self) -> float:
        """Return POSIX time in seconds. May jump in either direction: never subtract two of these to decide."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment of this process; never goes back."""
        ...

    def wait(self, seconds: float, until: Event | None = None) -> bool:
        """Wait `seconds`, or until `until` is set; return whether it was set."""
        ...


class Event(Protocol):
    """What `threading.Event` promises, as far as waiting needs it."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until set or the timeout passes; return whether it is set."""
        ...

    def is_set(self) -> bool:
        """Return whether it is set."""
        ...
