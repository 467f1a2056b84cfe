"""Join tokens in the ledger: each lets one host join once. The push that marks a token used is the lock."""

from __future__ import annotations

import hashlib
import hmac
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from reconciler import errors
from reconciler.contracts.clock import Clock
from reconciler.contracts.ledger import Change, Committed, Ledger, Snapshot
from reconciler.contracts.link import Admitted, Denied
from reconciler.core import record

TRIES = 10
"""How often a rejected push is repeated before the agent is told to come again."""

PAUSE = 0.2
"""Longest seconds before the first repetition; grows with each."""

FRESH = 5.0
"""Seconds for which an answer about revoked hosts may be old."""


Objection = Callable[[str, str], str]
"""Returns why a host, the second argument, may not join a Pool, the first; empty: it may. What was declared when the token was
made may not be any more. Raises `errors.Unavailable` while nobody knows: the token is not used up then."""


class LedgerJoinBook:
    """`contracts.link.JoinBook` over a ledger."""

    def __init__(self, ledger: Ledger, clock: Clock, objection: Objection = lambda pool, host: "") -> None:
        self._ledger = ledger
        self._clock = clock
        self._objection = objection
        self._lock = threading.Lock()
        self._seen: Snapshot | None = None
        self._seen_at = 0.0

    def redeem(self, token: str, host: str) -> Admitted | Denied:
        """Use up a token, or say why it is not good. Raises `errors.Unavailable` when the ledger cannot be read."""
        secret = hashlib.sha256(token.encode()).hexdigest()
        now = self._clock.now()
        for number in range(1, TRIES + 1):
            snapshot = self._ledger.read()
            join = _find(snapshot.joins.values(), secret)
            if join is None:
                return Denied(reason="this token is not known; create one with `perdure token create`")
            if join.used_at == now and join.host == host:
                return Admitted(host=join.host, pool=join.pool)  # our own push, whose answer was lost
            if problem := _problem(join, host, now) or (join.pool and self._objection(join.pool, host)):
                return Denied(reason=problem)
            if host in snapshot.revoked:  # certificates of before are still out there: they must not become good again
                return Denied(reason=f"host {host} is revoked; its machine may join under another name")
            used = Change(joins=(replace(join, used_at=now),), message=f"perdure: {host} joins")
            if isinstance(self._ledger.append(snapshot, used), Committed):
                return Admitted(host=join.host, pool=join.pool)
            self._clock.wait(random.uniform(0, PAUSE * number))
        return Denied(reason="the ledger is busy; try again")

    def revoked(self, host: str) -> bool:
        """Return whether the host is refused; what was read last stands while the ledger cannot be read.

        Raises `errors.Unavailable` when it was never read: unknown is not "no".
        """
        with self._lock:
            now = self._clock.monotonic()
            if self._seen is None or now - self._seen_at > FRESH:
                try:
                    self._seen = self._ledger.read()
                except errors.PerdureError:
                    if self._seen is None:
                        raise
                self._seen_at = now
            return host in self._seen.revoked


def _find(joins: Iterable[record.Join], secret: str) -> record.Join | None:
    """Return the entry of a token. Every entry is compared in constant time, so that time tells nothing about them."""
    found = None
    for join in joins:
        if hmac.compare_digest(join.token.encode(), secret.encode()):
            found = join
    return found


def _problem(join: record.Join, host: str, now: float) -> str:
    """Return why a token is not good for `host` at POSIX time `now`; empty: it is."""
    if join.revoked:
        return "this token was revoked"
    if join.used_at is not None:
        return "this token was used before; create another one"
    if now >= join.expires_at:
        return "this token has expired; create another one"
    if join.host != host:
        return f"this token is for another host than {host}"
    return ""
