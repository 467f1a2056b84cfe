"""A process of the simulation: real, blocking code on a thread of its own that runs only while it holds the baton.

Exactly one thread runs at any time, so that nothing depends on the operating system's scheduler. Whenever the code waits, or
touches anything outside, it hands the baton back and is resumed by an event, or killed and never resumed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.simulation import schedule


class Killed(BaseException):
    """The process is gone. Not an `Exception`: nothing in the code under test may take it for an error to handle."""


_running: dict[threading.Thread, Process] = {}


def current() -> Process:
    """Return the process that the caller runs in."""
    return _running[threading.current_thread()]


class Process:
    """Runs `body` until it returns or is killed."""

    def __init__(self, events: schedule.Schedule, name: str, body: Callable[[], None]) -> None:
        self._events = events
        self._body = body
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        # Plain locks, taken from the start and released by the other side: the cheapest way to hand over.
        self._resumed, self._yielded = threading.Lock(), threading.Lock()
        self._resumed.acquire()
        self._yielded.acquire()
        self._failure: BaseException | None = None
        self._wake: schedule.Event | None = None
        self.alive = True
        self.asleep = False
        """It waits for the next reason to make a pass, and can be woken."""

    def start(self) -> None:
        """Run until it waits for the first time. One that was killed before never does."""
        if not self.alive:
            return
        _running[self._thread] = self
        self._thread.start()
        self._back()

    def kill(self) -> None:
        """End it where it waits. Called from outside; from inside, raise `Killed`."""
        if not self.alive:
            return
        self.alive = False
        if self._wake is not None:
            self._wake.off = True
        self._resume()

    def wait(self, seconds: float) -> None:
        """Give the others `seconds`. Called from inside. Raises `Killed` when there is no afterwards."""
        if self._events.skip(seconds):
            return
        self._wake = self._events.after(seconds, self._resume)
        self._yielded.release()
        self._resumed.acquire()
        self._wake = None
        if not self.alive:
            raise Killed

    def sleep(self, seconds: float) -> None:
        """Wait, unless `poke` ends the waiting."""
        self.asleep = True
        self.wait(seconds)
        self.asleep = False

    def poke(self) -> None:
        """Wake it if it sleeps. Called from outside."""
        if self.asleep and self._wake is not None:
            self.asleep = False
            self._wake.off = True
            self._wake = self._events.after(0.0, self._resume)

    def _resume(self) -> None:
        if not self._thread.is_alive():
            return
        self._resumed.release()
        self._back()

    def _back(self) -> None:
        self._yielded.acquire()
        if not self.alive:
            self._thread.join()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _run(self) -> None:
        try:
            self._body()
        except Killed:
            pass
        except BaseException as failure:  # noqa: BLE001 - carried over to whoever drives the simulation
            self._failure = failure
        self.alive = False
        del _running[self._thread]
        self._yielded.release()
