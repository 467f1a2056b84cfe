"""Which assignments each host is to have: one book a host, shared by all targets whose hosts use the same link.

Nothing is kept on disk. An agent leaves alone what a set does not list, so a set needs to hold only what this process has asked
for: what the host does already, it reports itself. That is also safer than repeating a report, which may be old. Nothing is
booked for a host that has not been heard; the loop asks again when it is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler import errors
from reconciler.contracts import clock, link, target
from reconciler.core import model, observed, settle, spec

GAP = 1000
"""The first generation this process sends lies so far above what the host has accepted: sets of an earlier process may still
be on their way to the host's journal, and no two sets may share a number."""

Result = settle.Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A host as the link knows it now."""

    state: observed.HostState
    age: float
    """Seconds since it was last heard."""
    silent: bool


@dataclass(slots=True, kw_only=True)
class _Entry:
    assignment: spec.Assignment
    generation: int = 0
    """Of the first set that carried it as it is now."""
    listed: bool = False
    """The host has reported it."""
    boot: str = ""
    """The host's boot when it was booked or last listed."""

    @property
    def starts(self) -> bool:
        """Whether a host that does not have the attempt would begin it."""
        return self.assignment.want is spec.Want.RUN


@dataclass(slots=True, kw_only=True)
class _Book:
    entries: dict[spec.AttemptRef, _Entry] = field(default_factory=dict)
    first: int = 0
    """Generation of the first set sent by this process; what was sent before it is refused once it is accepted."""
    newest: int = 0
    sent_at: float = 0.0
    accepted: int = 0


class Books:
    """The books of all hosts of one link. May be called from any thread."""

    def __init__(self, agents: link.AgentLink, time: clock.Clock, silence: float = 15.0) -> None:
        """A host is silent when it is not connected, or was not heard for `silence` seconds."""
        self._link = agents
        self._clock = time
        self._silence = silence
        self._lock = threading.Lock()
        self._books: dict[str, _Book] = {}

    def look(self) -> Mapping[str, Sight]:
        """Return every host ever heard, and take back what a silent one has not begun.

        A host that returns after its attempts were given up must not begin them then. If they are still wanted, the loop asks
        again as soon as it sees that the host does not list them.
        """
        with self._lock:
            sights = self._sights()
            for host, sight in sights.items():
                book = self._read(host, sight.state)
                unbegun = [ref for ref, entry in book.entries.items() if not entry.listed and entry.starts]
                if sight.silent and unbegun:
                    for ref in unbegun:
                        del book.entries[ref]
                    self._refresh(host, book, sight.state)
            return sights

    def assign(self, assignment: spec.Assignment) -> settle.Outcome:
        """Book one attempt for its host and send the host's set."""
        ref, host = assignment.spec.ref, assignment.spec.host
        with self._lock:
            sight = self._sights().get(host)
            if sight is None:
                return _unheard(host)
            book = self._read(host, sight.state)
            now = _assigned(book, sight.state, ref)
            if now is None and sight.silent:
                return settle.Outcome(
                    result=Result.UNKNOWN, detail=f"host {host} is silent; it is asked again when it is heard"
                )
            if now is not None and now.want is spec.Want.REMOVE is not assignment.want:
                return settle.Outcome(result=Result.REFUSED, detail=f"attempt {ref} is being removed from host {host}")
            if now == assignment:
                self._insist(host, book, sight.state)
                return _told(Result.UNCHANGED, host, sight)
            return self._book(host, book, sight, assignment, Result.CREATED if now is None else Result.CHANGED)

    def remove(self, ref: spec.AttemptRef, host: str) -> settle.Outcome:
        """Have the host forget an attempt: DELETED as soon as it is told, UNCHANGED when it has nothing of it."""
        with self._lock:
            sight = self._sights().get(host)
            if sight is None:
                return _unheard(host)
            book = self._read(host, sight.state)
            now = _assigned(book, sight.state, ref)
            if now is None:
                return settle.Outcome(result=Result.UNCHANGED, detail=f"host {host} does not have it")
            if now.want is spec.Want.REMOVE:
                self._insist(host, book, sight.state)
                return _told(Result.DELETED, host, sight)
            return self._book(host, book, sight, spec.Assignment(spec=now.spec, want=spec.Want.REMOVE), Result.DELETED)

    def presence(self, ref: spec.AttemptRef, host: str) -> target.Presence:
        """Say whether an attempt certainly does not run on a host any more."""
        with self._lock:
            sight = self._sights().get(host)
            if sight is None or sight.silent:
                return target.Presence.UNKNOWN
            state = sight.state
            book = self._read(host, state)
            entry, item = book.entries.get(ref), _find(state, ref)
            if item is not None:
                return target.Presence.GONE if item.state is observed.ItemState.ENDED else target.Presence.PRESENT
            if entry is not None:
                rebooted = state.boot != entry.boot and "" not in (state.boot, entry.boot)
                return target.Presence.GONE if rebooted and not entry.starts else target.Presence.UNKNOWN
            if not book.first:
                self._refresh(host, book, state)
            fenced = book.first and state.accepted >= book.first
            return target.Presence.GONE if fenced else target.Presence.UNKNOWN

    def _sights(self) -> dict[str, Sight]:
        now = self._clock.monotonic()
        return {
            host: Sight(
                state=heard.state, age=(age := max(now - heard.at, 0.0)), silent=not heard.connected or age > self._silence
            )
            for host, heard in self._link.hosts().items()
        }

    def _read(self, host: str, state: observed.HostState) -> _Book:
        """Bring a host's book up to its newest report."""
        book = self._books.setdefault(host, _Book())
        listed = {item.ref: item for item in state.items}
        for ref in book.entries.keys() & listed:
            entry = book.entries[ref]
            entry.listed, entry.boot = True, state.boot
            if state.accepted >= entry.generation and listed[ref].want is not entry.assignment.want:
                del book.entries[ref]  # another process has sent a higher set: the report counts, and the loop asks again
        forgetful = state.accepted < book.accepted
        book.accepted = state.accepted
        gone = {
            ref: entry
            for ref, entry in book.entries.items()
            if ref not in listed and (forgetful or entry.listed or state.accepted >= entry.generation)
        }
        book.entries = {ref: entry for ref, entry in book.entries.items() if ref not in gone}
        if any(entry.starts for entry in gone.values()):
            self._refresh(host, book, state)  # the set that the link keeps for this host must not begin it again
        return book

    def _book(self, host: str, book: _Book, sight: Sight, assignment: spec.Assignment, result: settle.Result) -> settle.Outcome:
        ref = assignment.spec.ref
        before = book.entries.get(ref)
        listed, boot = (before.listed, before.boot) if before else (False, sight.state.boot)
        book.entries[ref] = _Entry(assignment=assignment, listed=listed, boot=boot)
        try:
            book.entries[ref].generation = self._send(host, book, sight.state)
        except errors.Refused as error:
            if before is not None:
                book.entries[ref] = before
            else:
                del book.entries[ref]
            return settle.Outcome(result=Result.REFUSED, detail=str(error))
        return _told(result, host, sight)

    def _insist(self, host: str, book: _Book, state: observed.HostState) -> None:
        """Send again what a host that is heard has not accepted for as long as it takes to be called silent."""
        if state.accepted < book.newest and self._clock.monotonic() - book.sent_at > self._silence:
            self._refresh(host, book, state)

    def _refresh(self, host: str, book: _Book, state: observed.HostState) -> None:
        """Send what the book holds now. It has only become shorter; if it is too long even so, the host keeps the last."""
        with contextlib.suppress(errors.Refused):
            self._send(host, book, state)

    def _send(self, host: str, book: _Book, state: observed.HostState) -> int:
        """Send a host's whole set under a new generation and return that."""
        generation = max(book.newest, state.accepted) + (1 if book.first else GAP)
        items = tuple(entry.assignment for _, entry in sorted(book.entries.items()))
        self._link.send(spec.Assignments(host=host, generation=generation, items=items))
        book.newest = generation
        book.sent_at = self._clock.monotonic()
        book.first = book.first or generation
        return generation


def _find(state: observed.HostState, ref: spec.AttemptRef) -> observed.Item | None:
    return next((item for item in state.items if item.ref == ref), None)


def _assigned(book: _Book, state: observed.HostState, ref: spec.AttemptRef) -> spec.Assignment | None:
    """Return what a host is to make of an attempt: by its book, else by its own report; None when it does not have it."""
    entry, item = book.entries.get(ref), _find(state, ref)
    if entry is not None:
        return entry.assignment
    return spec.Assignment(spec=item.spec or _nameless(ref, state.host), want=item.want) if item else None


def _told(result: settle.Result, host: str, sight: Sight) -> settle.Outcome:
    if sight.silent:
        return settle.Outcome(result=Result.UNKNOWN, detail=f"host {host} is silent; it is told when it is heard again")
    return settle.Outcome(result=result)


def _unheard(host: str) -> settle.Outcome:
    return settle.Outcome(result=Result.UNKNOWN, detail=f"host {host} has not been heard since this start")


def _nameless(ref: spec.AttemptRef, host: str) -> spec.AttemptSpec:
    """Return what is enough to remove an attempt of which its host reports no specification."""
    return spec.AttemptSpec(
        instance="",
        run=ref.run,
        attempt=ref.attempt,
        tenant="",
        job="",
        replica=0,
        revision="",
        workload=model.Workload(),
        host=host,
    )
