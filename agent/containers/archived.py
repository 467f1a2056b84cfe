"""Containers that have an image by ARCH's variables: told apart by how they end, also while no agent ran.

Nothing is asked of the engine on a host that has none.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from agent import archives
from agent.containers import seam
from reconciler import errors
from reconciler.contracts import clock as clocks

NAMESPACE = "moby"
"""Docker's, among those that the interposer tells apart."""
PAUSE = 2.0
"""Seconds between two looks."""
OVERLAP = 5.0
"""Seconds by which one look reaches back behind the one before: an event may come late."""
LONG_AGO = 1.0

log = logging.getLogger(__name__)


class Keeper:
    """Removes the images of what has ended with 0. `close` ends its thread."""

    def __init__(self, docker: seam.Docker, clock: clocks.Clock, folder: Path = archives.FOLDER) -> None:
        self._docker = docker
        self._clock = clock
        self._folder = folder
        self._since = LONG_AGO
        self._missing: dict[str, float] = {}
        """Since when the engine does not know a container, in monotonic seconds."""
        self._troubles: dict[str, str] = {}
        """What was said last of a container whose image cannot be removed: each look tries again."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="archived", daemon=True)

    def open(self) -> None:
        """Look from now on."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def look(self) -> None:
        """Look once. Raises `errors.PerdureError` while the engine does not answer: nothing is forgotten then."""
        mine = {one.container: one for one in archives.remembered(self._folder) if one.namespace == NAMESPACE}
        if not mine:
            return
        now = self._clock.now()
        for end in self._docker.ends(self._since, now):
            if end.id in mine and end.at >= mine[end.id].at:
                self._end(mine[end.id], end.code)
        moment, missing = self._clock.monotonic(), {}
        for container, one in mine.items():
            try:
                found = self._docker.inspect(container)
            except seam.Gone:
                missing[container] = self._missing.get(container, moment)
                if moment - missing[container] >= PAUSE:  # its end would have been among the events by now
                    self._end(one, None)
                continue
            if not found.running and found.code == 0 and (found.ended_at or 0.0) >= one.at:
                self._end(one, 0)
        self._missing = missing
        self._troubles = {container: said for container, said in self._troubles.items() if container in mine}
        self._since = now - OVERLAP

    def _end(self, one: archives.Remembered, code: int | None) -> None:
        trouble = archives.ended(one, code, self._folder)
        if trouble and trouble != self._troubles.get(one.container):
            log.warning("%s", trouble)
        self._troubles[one.container] = trouble

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self.look()
            except errors.PerdureError as error:
                log.debug("containers with an image of their own are not looked at: %s", error)
            self._clock.wait(PAUSE, self._closed)
