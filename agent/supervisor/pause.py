"""Hold the tree still between a program's last save and its end, so that no work is done which would be lost.

The hold ends by itself: an agent that dies meanwhile leaves no program standing still.
"""

from __future__ import annotations

import signal
import time

from agent.supervisor import tree


class Pause:
    """A hold of limited time on one tree."""

    def __init__(self, held: tree.Tree) -> None:
        self._tree = held
        self._until: float | None = None

    def begin(self, seconds: float) -> None:
        """Hold the program still, then what it has started; after `seconds` it goes on by itself."""
        if self._tree.freeze():
            self._until = time.monotonic() + seconds
            self._tree.signal(signal.SIGSTOP)

    def end(self) -> None:
        """Let it go on."""
        if self._until is not None:
            self._until = None
            self._tree.signal(signal.SIGCONT)

    def left(self) -> float | None:
        """Return the seconds until it goes on by itself; None when nothing is held."""
        return None if self._until is None else self._until - time.monotonic()

    def look(self) -> None:
        """End the hold when its time is over."""
        if (left := self.left()) is not None and left <= 0:
            self.end()
