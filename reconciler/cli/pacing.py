"""When the next pass is due, and how often the server is asked: a pass is wanted often, a fetch is not."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from reconciler import config, loop
from reconciler.contracts import clock, source
from reconciler.core import settle

GAP = 0.25
"""Least seconds from the beginning of one pass to the next: wake-ups that come faster are served together."""

AGAIN = (settle.Result.UNKNOWN, settle.Result.REFUSED, settle.Result.SKIPPED)


class Paced:
    """`contracts.source.Source` that asks its server at most every `poll` seconds, or when it was nudged."""

    def __init__(self, inner: source.Source, poll: float, time: clock.Clock) -> None:
        self._inner = inner
        self._poll = poll
        self._clock = time
        self._last: source.Revision | source.Stale | None = None
        self._asked = 0.0
        self._nudged = False

    def fetch(self) -> source.Revision | source.Stale:
        """Return the last answer while it is good and young enough, else the server's."""
        if not isinstance(self._last, source.Revision) or self._expired():
            self._nudged = False
            self._last = self._inner.fetch()
            self._asked = self._clock.monotonic()
        return self._last

    def moved(self) -> bool:
        """Ask the server if it is time to; return whether the answer differs from the last one."""
        before = self._last
        return self._expired() and self.fetch() != before

    def _expired(self) -> bool:
        return self._nudged or self._clock.monotonic() >= self._asked + self._poll

    def tree(self, revision: str) -> source.Tree:
        """Return the files of a revision fetched before."""
        return self._inner.tree(revision)

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield a tar archive of a Git object."""
        return self._inner.archive(tree)

    def propose(self, edit: source.Edit, base: str) -> source.Pushed | source.Rejected | source.Protected:
        """Commit and push an edit."""
        return self._inner.propose(edit, base)

    def wakeups(self) -> Iterator[None]:
        """Yield whenever something may have changed; the next fetch then asks the server."""
        for _ in self._inner.wakeups():
            self._nudged = True
            yield


def seconds(done: loop.Pass, settings: config.LoopSettings, now: float, jitter: float) -> float:
    """Return the seconds until the next pass is due although nothing wakes the loop; `jitter` is a number in [0, 1).

    What was not answered is tried after the first back-off. When a silent host is looked at next, the plan's `wake_at` says.
    """
    due = [settings.drift * (0.9 + 0.2 * jitter)]
    if done.standing is loop.Standing.BLOCKED:
        due.append(settings.poll)
    if done.wake_at is not None:
        due.append(done.wake_at - now)
    if any(outcome.result in AGAIN for _, outcome in done.outcomes):
        due.append(settings.backoff)
    return max(min(due), GAP)


SELDOM = (10_000, 20, 50)
"""Thresholds of the collector of cycles. Our values have none, and with ten thousand jobs a full look at what hosts have said
takes a fifth of a second."""


def keep() -> None:
    """Tell the collector of cycles that what has been read so far stays, and to look seldom at what comes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SELDOM)
