"""The reconciler's end of the agents' connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from reconciler.core import observed, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The newest state of one host and when it was received (monotonic seconds of the reconciler's clock)."""

    state: observed.HostState
    at: float
    connected: bool
    """Whether its connection stands. A closed one is not evidence of anything."""


class AgentLink(Protocol):
    """Whole states both ways, newest wins. Sending never blocks; a reconnecting agent is sent the newest set at once.

    Only a host whose certificate names it, and which is not revoked, is ever heard.
    """

    def hosts(self) -> Mapping[str, Heard]:
        """Return the newest accepted state of each host ever heard by this process."""
        ...

    def send(self, assignments: spec.Assignments) -> None:
        """Replace the set kept for one host and pass it on as soon as its agent is connected."""
        ...

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` (from any thread, it must return at once) whenever a host's state has changed."""
        ...


class CodeServer(Protocol):
    """Gives agents the code of runs."""

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield a tar archive of the Git object `tree`. Raises `errors.Unavailable` when it is not to be had."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The token is good and is now used up."""

    host: str
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The token is not good: used, expired, unknown or for another host.

    The agent is told no more than that it was denied and why.
    """

    reason: str


class JoinBook(Protocol):
    """Which tokens may join which host, once. Kept in the ledger: the push that marks a token used is the lock."""

    def redeem(self, token: str, host: str) -> Admitted | Denied:
        """Use up the secret `token` for `host`. Denied as well: the name of a revoked host. Raises `errors.Unavailable`."""
        ...

    def revoked(self, host: str) -> bool:
        """Return whether the host's certificates are refused, for good. Raises `errors.Unavailable` while nobody knows."""
        ...
