"""What ends a pause: a bell that any thread and any signal handler may ring, and the wish to end.

A pipe carries it, because a signal handler may not take the lock that `threading.Event` takes: the thread it has interrupted
may be holding it.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Bell:
    """Rings once for any number of rings. Also `contracts.clock.Event`: set when the process is asked to end."""

    def __init__(self) -> None:
        self._heard, self._struck = os.pipe()
        os.set_blocking(self._heard, False)
        os.set_blocking(self._struck, False)
        self._waits = select.poll()
        self._waits.register(self._heard, select.POLLIN)
        self._ended = 0
        self._failure: Exception | None = None

    @property
    def ended_by(self) -> int:
        """The signal that asked this process to end; 0: none."""
        return self._ended

    def ring(self) -> None:
        """End the present pause, or the next one if there is none. From any thread; returns at once."""
        with suppress(BlockingIOError):  # a full pipe rings anyway
            os.write(self._struck, b"\a")

    def pause(self, seconds: float) -> bool:
        """Wait for a ring, but no longer than `seconds`; return whether it rang."""
        ready = self._waits.poll(max(0.0, seconds) * 1000)
        if ready:
            with suppress(BlockingIOError):
                os.read(self._heard, 4096)
        return bool(ready)

    def is_set(self) -> bool:
        """Return whether the process is asked to end."""
        return self._ended != 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the process is asked to end; a mere ring is put back for the next pause."""
        deadline = time.monotonic() + timeout if timeout is not None else None
        rang = False
        while not self.is_set():
            left = 3600.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                break
            rang = self.pause(left) or rang
        if rang:
            self.ring()
        return self.is_set()

    @contextmanager
    def obeying(self) -> Iterator[None]:
        """Within the block, SIGINT and SIGTERM ask this process to end in good order; a second SIGINT ends it at once."""

        def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what `signal` wants
            if self._ended and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._ended = number
            self.ring()

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def fail(self, error: Exception) -> None:
        """End because a part of this process has failed. From any thread."""
        self._failure = error
        self._ended = signal.SIGTERM
        self.ring()

    def check(self) -> None:
        """Raise what `fail` was given."""
        if self._failure is not None:
            raise self._failure

    def follow(self, wakeups: Iterable[None]) -> None:
        """Ring for each item of `wakeups`, on a thread that ends with the process."""

        def listen() -> None:
            for _ in wakeups:
                self.ring()

        threading.Thread(target=listen, name="wakeups", daemon=True).start()
