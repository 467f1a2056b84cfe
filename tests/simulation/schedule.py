"""Virtual time: one thing happens at a time, in the order of its moment, and nothing waits."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Event:
    """Something that will happen, unless it is called off."""

    at: float
    what: Callable[[], None]
    off: bool = False


@dataclass(slots=True)
class Schedule:
    """The queue of events. `now` is the true time in seconds; what clocks show is another matter."""

    now: float = 0.0
    _queue: list[tuple[float, int, Event]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def after(self, seconds: float, what: Callable[[], None]) -> Event:
        """Let `what` happen `seconds` from now."""
        event = Event(self.now + seconds, what)
        heapq.heappush(self._queue, (event.at, next(self._order), event))
        return event

    def skip(self, seconds: float) -> bool:
        """Let `seconds` pass at once if nothing happens in them; return whether they have passed."""
        while self._queue and self._queue[0][2].off:
            heapq.heappop(self._queue)
        if self._queue and self._queue[0][0] <= self.now + seconds:
            return False
        self.now += seconds
        return True

    def step(self) -> bool:
        """Let the next event happen; return whether there was one."""
        while self._queue:
            at, _, event = heapq.heappop(self._queue)
            if event.off:
                continue
            self.now = max(self.now, at)
            event.what()
            return True
        return False
