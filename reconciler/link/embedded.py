"""The door of the agent that runs inside the reconciler's process: the same rules, no wire."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from reconciler.core import observed, spec
from reconciler.link import switchboard


class EmbeddedDoor:
    """What an embedded agent is given to talk to the reconciler. Its host is whoever the process says it is."""

    def __init__(self, board: switchboard.Switchboard, host: str, pool: str = "") -> None:
        self._line = board.connect(host, self._changed)
        self._pool = pool
        self._wakes: list[Callable[[], None]] = []

    def deliver(self, state: observed.HostState) -> None:
        """Take the host's state. Raises `errors.Refused` as the server would."""
        self._line.hear(dataclasses.replace(state, pool=self._pool))

    def assignments(self) -> spec.Assignments | None:
        """Return the newest set for the host; None before the first, and before the host's first state."""
        return self._line.newest()

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from any thread, whenever there is a newer set."""
        self._wakes.append(wake)

    def close(self) -> None:
        """End the connection: the host is silent from now on."""
        self._line.close()

    def _changed(self) -> None:
        for wake in self._wakes:
            wake()
