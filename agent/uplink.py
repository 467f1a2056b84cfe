"""The agent's end of its connection to the reconciler, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from reconciler.core import observed, spec


class Uplink(Protocol):
    """Whole states both ways; the newest one wins, and losing all but the newest loses nothing.

    No call blocks on the reconciler except `archive`. A connection that breaks is mended by the uplink itself: it then sends
    the newest state again and offers the newest assignments it receives.
    """

    @property
    def trouble(self) -> str:
        """Why nothing passes now; empty while all is well."""
        ...

    def send(self, state: observed.HostState) -> None:
        """Keep `state` as the newest and pass it on as soon as the connection stands."""
        ...

    def newest(self) -> spec.Assignments | None:
        """Return the newest assignments received by this process; None before the first."""
        ...

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` (from any thread, it returns at once) whenever newer assignments have come."""
        ...

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield a tar archive of the Git object `tree`. Raises `errors.Unavailable`; may be called from any thread."""
        ...
