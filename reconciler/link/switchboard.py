"""Whole states both ways, newest wins: the `AgentLink` itself, whatever carries the messages.

Each direction is a mailbox of size one: a slow receiver finds the newest state and never the ones between, so memory is bounded
by the number of hosts. Nothing is kept on disk: after a restart the agents tell again.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler import errors
from reconciler.contracts import clock, link
from reconciler.core import codec, observed, spec
from reconciler.wire import protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The newest set for one host, and its bytes."""

    assignments: spec.Assignments
    data: bytes


@dataclass(slots=True, kw_only=True)
class _Host:
    heard: link.Heard | None = None
    kept: Kept | None = None
    line: Line | None = None


class Switchboard:
    """`contracts.link.AgentLink`. Hosts come in through `connect`; may be called from any thread."""

    def __init__(self, time: clock.Clock) -> None:
        self._clock = time
        self._changed = threading.Condition()
        self._hosts: dict[str, _Host] = {}
        self._wakes: list[Callable[[], None]] = []

    def hosts(self) -> Mapping[str, link.Heard]:
        """Return the newest accepted state of each host ever heard by this process."""
        with self._changed:
            return {name: host.heard for name, host in self._hosts.items() if host.heard}

    def send(self, assignments: spec.Assignments) -> None:
        """Replace the set kept for one host and pass it on as soon as its agent is connected.

        A set older than the kept one changes nothing. Raises `errors.Refused` when the set is longer than a message may be.
        """
        data = codec.encode(assignments)
        if len(data) > protocol.STATE_BYTES:
            raise errors.Refused(
                f"the assignments are {len(data) / 2**20:.1f} MiB, and a message holds {protocol.MESSAGE_BYTES // 2**20} MiB",
                where=f"host {assignments.host}",
                remedy="Place fewer attempts on this host, or make their specifications shorter.",
            )
        with self._changed:
            host = self._hosts.setdefault(assignments.host, _Host())
            if host.kept is None or assignments.generation >= host.kept.assignments.generation:
                host.kept = Kept(assignments=assignments, data=data)
                self._changed.notify_all()
            wake = host.line.wake if host.line else None
        if wake:
            wake()

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a host's state has changed in more than its generation and the progress of its jobs."""
        with self._changed:
            self._wakes.append(wake)

    def connect(self, host: str, wake: Callable[[], None] | None = None) -> Line:
        """Open a line of one host, whose name has been proven. It takes over from the one it still had with its first state.

        Not before: of two agents with one identity the older one dials again and again, and is not to break in on the other.
        `wake`, if given, is called when there is a newer set; else `Line.take` waits for one.
        """
        with self._changed:
            self._hosts.setdefault(host, _Host())
        return Line(self, host, wake)

    def _accept(self, line: Line, state: observed.HostState) -> None:
        with self._changed:
            host = self._open(line)
            before = host.heard.state if host.heard else None
            if before and state.session < before.session:
                raise errors.Refused(
                    f"this state of host {line.host} is older than that of another agent with its identity, begun later: "
                    "end one of the two; if the other has gone, start this one anew"
                )
            if before and (state.session, state.generation) < (before.session, before.generation):
                raise errors.Refused(
                    f"state {state.session}.{state.generation} of host {line.host} is older than "
                    f"{before.session}.{before.generation}, which was accepted before"
                )
            if before and state.accepted < before.accepted:
                host.kept = None  # its journal is gone: what it had begun must not be begun again under the same number
            if host.line is not None and host.line is not line:
                host.line.close(f"another connection of host {line.host} has taken over")
            host.heard = link.Heard(state=state, at=self._clock.monotonic(), connected=True)
            host.line = line
            line.heard = True
            self._changed.notify_all()
            wakes = self._wakes if before is None or before.quiet() != state.quiet() else ()
        for wake in wakes:
            wake()

    def _alive(self, line: Line, session: int, generation: int) -> None:
        with self._changed:
            host = self._open(line)
            if not line.heard or host.heard is None:
                raise errors.Refused("a session begins with a state")
            before = host.heard.state
            if session != before.session or generation < before.generation:
                raise errors.Refused(f"no state of host {line.host} came before {session}.{generation}")
            state = dataclasses.replace(before, generation=generation)
            host.heard = link.Heard(state=state, at=self._clock.monotonic(), connected=True)

    def _open(self, line: Line) -> _Host:
        host = self._hosts[line.host]
        if line.closed is not None or (line.heard and host.line is not line):
            raise errors.Refused(line.closed or "the session is closed")
        return host

    def _newest(self, line: Line) -> Kept | None:
        with self._changed:
            return self._hosts[line.host].kept if line.heard and line.closed is None else None

    def _take(self, line: Line, seconds: float | None) -> Kept | None:
        def ready() -> bool:
            kept = host.kept
            newer = line.heard and kept is not None and kept.assignments.generation > line.sent
            return line.closed is not None or newer

        with self._changed:
            host = self._hosts[line.host]
            if not self._changed.wait_for(ready, seconds) or line.closed is not None or host.kept is None:
                return None
            line.sent = host.kept.assignments.generation
            return host.kept

    def _close(self, line: Line, reason: str) -> None:
        with self._changed:
            if line.closed is not None:
                return
            line.closed = reason
            host = self._hosts[line.host]
            if host.line is line:
                host.line = None
                if host.heard:
                    host.heard = dataclasses.replace(host.heard, connected=False)
            self._changed.notify_all()


class Line:
    """One connection of one host's agent, from `connect` until `close`."""

    def __init__(self, board: Switchboard, host: str, wake: Callable[[], None] | None) -> None:
        self.host = host
        self.wake = wake
        self.closed: str | None = None
        """Why it was closed ("": it ended); None while it is open."""
        self.heard = False
        """Whether a state has come over this line: before, nothing is sent, for it may have lost its journal."""
        self.sent = -1
        """Generation of the newest set taken from this line."""
        self._board = board

    def hear(self, state: observed.HostState) -> None:
        """Take the host's state. Its items are the host's own, whatever they say. Raises `errors.Refused` with the reason."""
        if state.host != self.host:
            raise errors.Refused(f"host {self.host} may not speak for host {state.host}")
        items = tuple(each if each.host == self.host else dataclasses.replace(each, host=self.host) for each in state.items)
        self._board._accept(self, dataclasses.replace(state, items=items))

    def alive(self, session: int, generation: int) -> None:
        """Note that the last state still holds, by now under this number. Raises `errors.Refused` as `hear` does."""
        self._board._alive(self, session, generation)

    def take(self, seconds: float | None = None) -> Kept | None:
        """Return the newest set when it is newer than the last one taken, waiting `seconds` for it (None: until closed)."""
        return self._board._take(self, seconds)

    def newest(self) -> spec.Assignments | None:
        """Return the set kept for the host, whether or not it was taken."""
        kept = self._board._newest(self)
        return kept.assignments if kept else None

    def open(self) -> bool:
        """Return whether the connection stands."""
        return self.closed is None

    def close(self, reason: str = "") -> None:
        """End the connection. The first reason counts."""
        self._board._close(self, reason)
