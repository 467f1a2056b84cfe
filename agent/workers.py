"""Threads for what takes its time. They are daemons: a store that hangs must not keep the agent from ending."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from reconciler import errors

_log = logging.getLogger("perdure.agent")

T = TypeVar("T")


class Task(Generic[T]):
    """Work that was handed out."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._over = threading.Event()
        self._value: T
        self._error: errors.PerdureError | None = None

    @property
    def over(self) -> bool:
        """Whether it is done or has failed."""
        return self._over.is_set()

    def result(self) -> T:
        """Return its value. Raises the error with which it failed."""
        if self._error is not None:
            raise self._error
        return self._value

    def run(self) -> None:
        """Do it. This is the one place where any exception of a step becomes a value: the agent goes on with its other jobs."""
        try:
            self._value = self._work()
        except errors.PerdureError as error:
            self._error = error
        except OSError as error:
            said = error.strerror or str(error)
            named = isinstance(error.filename, (str, bytes))
            self._error = errors.Unavailable(
                f"cannot be used: {said}" if named else said,
                where=os.fsdecode(error.filename) if named else "",
                remedy="Check what lies there, its permissions, and free space.",
            )
        except Exception as error:  # noqa: BLE001
            _log.exception("a step failed in a way nobody foresaw")
            self._error = errors.Unavailable(f"unforeseen: {type(error).__name__}: {error}")
        finally:
            self._over.set()


class Workers(Protocol):
    """Something that does tasks."""

    def do(self, work: Callable[[], T]) -> Task[T]:
        """Begin `work` now or soon."""
        ...


class Threads:
    """`Workers` on daemon threads, at most so many at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads: list[threading.Thread] = []
        self._waiting: queue.SimpleQueue[Task[object]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)

    def do(self, work: Callable[[], T]) -> Task[T]:
        """Queue `work`, with a new thread where none is idle."""
        task = Task(work)
        self._waiting.put(task)  # type: ignore[arg-type]
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
            thread = threading.Thread(target=self._serve, name=f"worker-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return task

    def _serve(self) -> None:
        while True:
            self._waiting.get().run()
            self._idle.release()
