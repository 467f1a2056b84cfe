"""What crashes left in the stores is removed: when the loop starts, and once a day."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from reconciler import errors, registry
from reconciler.contracts import clock
from reconciler.core import model

EVERY = 86400.0
"""Seconds between two sweeps of a store: each looks at all its runs."""

_log = logging.getLogger("perdure.sweep")


class Sweeper:
    """Sweeps stores one after the other on a thread of its own: a pass never waits for it."""

    def __init__(self, adapters: registry.Registry, time: clock.Clock) -> None:
        self._registry = adapters
        self._clock = time
        self._begun: dict[model.StoreSpec, float] = {}
        self._thread: threading.Thread | None = None

    def look(self, declared: Iterable[model.StoreSpec]) -> None:
        """Begin to sweep those of the declared stores whose turn it is, unless a sweep is under way."""
        if self._thread is not None and self._thread.is_alive():
            return
        now = self._clock.monotonic()
        due = [each for each in declared if each not in self._begun or now >= self._begun[each] + EVERY]
        if due:
            self._begun |= dict.fromkeys(due, now)
            self._thread = threading.Thread(target=self._sweep, args=(due,), name="sweep", daemon=True)
            self._thread.start()

    def end(self, seconds: float) -> None:
        """Wait at most so long for a sweep under way; one that is cut off harms nothing."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _sweep(self, due: list[model.StoreSpec]) -> None:
        for declared in due:
            try:
                self._registry.store(declared).sweep(self._clock.now())
            except errors.PerdureError as error:
                _log.warning("what crashes may have left in store %s stays for now: %s", declared.name, error)
