"""An `AgentLink` whose hosts do what a test says, and a `JoinBook` in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from reconciler import errors
from reconciler.contracts import clock, link
from reconciler.core import observed, record, spec
from reconciler.link import switchboard
from reconciler.wire import token


class FakeLink:
    """`contracts.link.AgentLink` whose agents are the test: a host speaks by `hear` and finds its set in `newest`."""

    def __init__(self, time: clock.Clock) -> None:
        self._board = switchboard.Switchboard(time)
        self._lines: dict[str, switchboard.Line] = {}
        self.sent: list[spec.Assignments] = []
        """Every set given to `send`, in order."""
        self.too_long: set[str] = set()
        """Hosts whose sets are refused as too long."""

    def hosts(self) -> Mapping[str, link.Heard]:
        """Return the newest accepted state of each host."""
        return self._board.hosts()

    def send(self, assignments: spec.Assignments) -> None:
        """Keep the set for its host."""
        if assignments.host in self.too_long:
            raise errors.Refused("the assignments are too long", where=f"host {assignments.host}")
        self.sent.append(assignments)
        self._board.send(assignments)

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a host's state has changed."""
        self._board.listen(wake)

    def hear(self, state: observed.HostState) -> None:
        """Receive a host's state, connecting it when it is not. Raises `errors.Refused` when it is older than the last."""
        if state.host not in self._lines:
            self._lines[state.host] = self._board.connect(state.host)
        self._lines[state.host].hear(state)

    def disconnect(self, host: str) -> None:
        """End a host's connection."""
        self._lines.pop(host).close()

    def newest(self, host: str) -> spec.Assignments | None:
        """Return the set that a host's agent finds when it is connected."""
        return self._lines[host].newest() if host in self._lines else None


class FakeJoinBook:
    """`contracts.link.JoinBook` in memory, by the rules of the ledger's."""

    def __init__(self, time: clock.Clock) -> None:
        self._clock = time
        self.joins: dict[str, record.Join] = {}
        self.revoked_hosts: set[str] = set()
        self.unavailable = False
        """Whether the ledger cannot be reached."""

    def create(self, host: str, pool: str = "", seconds: float = 900.0) -> str:
        """Return the secret of a new token for `host`."""
        secret = token.secret()
        digest = token.digest(secret)
        self.joins[digest] = record.Join(token=digest, host=host, pool=pool, expires_at=self._clock.now() + seconds)
        return secret

    def redeem(self, token_secret: str, host: str) -> link.Admitted | link.Denied:
        """Use up a secret."""
        self._reach()
        if host in self.revoked_hosts:
            return link.Denied(reason="this host is revoked")
        join = self.joins.get(token.digest(token_secret))
        if join is None:
            return link.Denied(reason="the token is not known")
        if join.host != host:
            return link.Denied(reason="the token is for another host")
        if join.used_at is not None:
            return link.Denied(reason="the token has been used")
        if self._clock.now() >= join.expires_at:
            return link.Denied(reason="the token has expired")
        self.joins[join.token] = dataclasses.replace(join, used_at=self._clock.now())
        return link.Admitted(host=join.host, pool=join.pool)

    def revoked(self, host: str) -> bool:
        """Return whether the host's certificates are refused."""
        self._reach()
        return host in self.revoked_hosts

    def _reach(self) -> None:
        if self.unavailable:
            raise errors.Unavailable("the ledger cannot be reached")


class FakeCodeServer:
    """`contracts.link.CodeServer` over archives given by tree."""

    def __init__(self, archives: Mapping[str, bytes] | None = None) -> None:
        self.archives = dict(archives or {})

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield the archive of a tree."""
        if tree not in self.archives:
            raise errors.Unavailable(f"there is no tree {tree}")
        yield self.archives[tree]
