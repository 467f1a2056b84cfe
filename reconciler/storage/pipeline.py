"""Stages that work side by side: hashing, compressing and syncing all release the interpreter's lock.

With no threads a stage does its work where it is given, so that a test sees every effect in one order.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Failure:
    """The first thing that went wrong in any stage of one pipeline."""

    def __init__(self) -> None:
        self._error: BaseException | None = None

    def set(self, error: BaseException) -> None:
        """Remember the first."""
        if self._error is None:
            self._error = error

    def check(self) -> None:
        """Raise it."""
        if self._error is not None:
            raise self._error


class Stage(Generic[Item]):
    """Does `work` on each item, in `threads` threads, holding at most `depth` items that wait."""

    def __init__(self, work: Callable[[Item], None], *, threads: int, depth: int, failure: Failure) -> None:
        self._work = work
        self._failure = failure
        self._queue: queue.Queue[Item | None] = queue.Queue(depth)
        self._threads = [threading.Thread(target=self._loop, name="perdure-store", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def put(self, item: Item) -> None:
        """Hand over one item; waits while `depth` items wait. Raises what went wrong in any stage before."""
        self._failure.check()
        if self._threads:
            self._queue.put(item)
        else:
            self._work(item)

    def finish(self) -> None:
        """Wait until everything handed over is done. Raises what went wrong."""
        self.stop()
        self._failure.check()

    def stop(self) -> None:
        """End the threads once they have gone through what was handed over. May be called twice."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join()

    def _loop(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._work(item)
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the pipeline
                self._failure.set(error)


class Ordered(Generic[Item, Result]):
    """Does `work` on items side by side, and `then` on the results one at a time, in the order of the items."""

    def __init__(
        self, work: Callable[[Item], Result], then: Callable[[Result], None], *, threads: int, depth: int, failure: Failure
    ) -> None:
        self._work = work
        self._then = then
        self._failure = failure
        self._first = Stage(self._do, threads=threads, depth=depth, failure=failure)
        self._second = Stage(self._pass_on, threads=min(threads, 1), depth=depth, failure=failure)

    def put(self, item: Item) -> None:
        """Hand over one item. Raises what went wrong in any stage before."""
        slot: Future[Result] = Future()
        self._first.put((item, slot))
        self._second.put(slot)

    def finish(self) -> None:
        """Wait until everything handed over is done. Raises what went wrong."""
        self.stop()
        self._failure.check()

    def stop(self) -> None:
        """End the threads. May be called twice."""
        self._first.stop()
        self._second.stop()

    def _do(self, job: tuple[Item, Future[Result]]) -> None:
        item, slot = job
        try:
            self._failure.check()
            slot.set_result(self._work(item))
        except BaseException as error:
            slot.set_exception(error)  # whoever waits for this slot must not wait for ever
            raise

    def _pass_on(self, slot: Future[Result]) -> None:
        result = slot.result()
        self._failure.check()
        self._then(result)
