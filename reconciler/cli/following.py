"""Looking again and again: for commands that follow or wait."""

from __future__ import annotations

import time
from collections.abc import Iterator

from reconciler import errors
from reconciler.cli import looking, output, view

EVERY = 1.0
"""Seconds between two looks where only this machine is asked."""

REMOTE = 5.0
"""Seconds between two looks at a repository elsewhere."""


def views(looker: looking.Looker, *, once: bool = False, until: float | None = None) -> Iterator[view.View]:
    """Yield what is seen now, and again until nobody asks any more; `until` is a monotonic time after which it ends.

    The first look raises what goes wrong; a later one says it once and goes on where trying again may help.
    """
    yield looker.look()
    said = ""
    while not once:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return
        pause = EVERY if looker.local else REMOTE
        time.sleep(pause if left is None else min(pause, left))
        seen, notice = _again(looker)
        if notice and notice != said:
            output.note(notice)
        said = notice
        if seen is not None:
            yield seen


def _again(looker: looking.Looker) -> tuple[view.View | None, str]:
    """Return what is seen and what limits it; nothing where the server does not answer now."""
    try:
        seen = looker.look()
    except errors.Unavailable as error:
        return None, error.line
    return seen, seen.notice
