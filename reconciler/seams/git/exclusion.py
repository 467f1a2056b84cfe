"""One writer at a time in a directory of ours, among threads and processes.

The lock is held by a descriptor that the writer's git processes inherit: it is free only when none of them lives, even after a
SIGKILL of ours. Whoever gets it knows that lock files of git which are still there are left-overs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler import errors

LEFT_OVER = ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "fast_import_crash_*")
"""What a killed git leaves in a repository."""


class Exclusion:
    """Keeps other writers out of `directory`. May be nested."""

    def __init__(self, directory: Path, timeout: float) -> None:
        self._directory = directory
        self._timeout = timeout
        self._thread = threading.RLock()
        self._descriptor: int | None = None

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors that processes started now must hold too."""
        return () if self._descriptor is None else (self._descriptor,)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lock and hold it. Raises `errors.Busy` when another process writes for too long."""
        with self._thread:
            if self._descriptor is not None:
                yield
                return
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            path = self._directory.with_name(f"{self._directory.name}.lock")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                self._wait(descriptor)
                self._descriptor = descriptor
                self._sweep()
                yield
            finally:
                self._descriptor = None
                os.close(descriptor)

    def _wait(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise errors.Busy(
                        "another process has been writing for too long", where=str(self._directory), remedy="Try again later."
                    ) from error
                time.sleep(0.01)

    def _sweep(self) -> None:
        for pattern in LEFT_OVER:
            for left in self._directory.glob(pattern):
                left.unlink(missing_ok=True)
        for unfinished in self._directory.parent.glob(f"{self._directory.name}.*.partial"):
            shutil.rmtree(unfinished, ignore_errors=True)
