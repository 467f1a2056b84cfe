"""Looking again and again: for commands that follow or wait."""

from __future__ import annotations

import time
from collections.abc import Iterator

from reconciler.cli import looking, output, view

EVERY = 1.0
"""Seconds between two looks where only this machine is asked."""

REMOTE = 5.0
"""Seconds between two looks at a repository elsewhere."""


def views(looker: looking.Looker, *, once: bool = False, until: float | None = None) -> Iterator[view.View]:
    """Yield what is seen now, and again until nobody asks any more; `until` is a monotonic time after which it ends.

    The first look raises what goes wrong; later ones say it once and go on.
    """
    yield looker.look()
    said = ""
    while not once:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return
        pause = EVERY if looker.local else REMOTE
        time.sleep(pause if left is None else min(pause, left))
        seen = looker.look()
        if seen.notice and seen.notice != said:
            output.note(seen.notice)
        said = seen.notice
        yield seen
