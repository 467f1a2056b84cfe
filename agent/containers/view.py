"""What the engine lists now, looked at from one thread, so that an engine that hangs hangs nobody else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.containers import seam
from reconciler import errors
from reconciler.contracts import clock as clocks
from reconciler.core import container, spec

PAUSE = 0.5
"""Seconds between lists while somebody reads them."""
IDLE = 10.0
"""Seconds after the last reading in which nobody is listed for."""
ASKING = 16
"""Most questions about single containers at once."""
STALE = 15.0
"""Seconds after which a list says nothing about now."""
ABOUT = 15.0
"""Seconds between questions what the engine is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One list."""

    at: float
    """Monotonic seconds before which it was asked for."""
    attempts: Mapping[spec.AttemptRef, seam.Listed] = field(default_factory=dict)
    """The container of each attempt; of two, the one that runs, else one that has run, else the newer."""
    containers: Mapping[str, seam.Listed] = field(default_factory=dict)
    """By id."""

    def of(self, ref: spec.AttemptRef, identity: str = "") -> seam.Listed | None:
        """Return an attempt's container: the one of this id, where that is known, whatever others carry the same labels."""
        return self.containers.get(identity) if identity else self.attempts.get(ref)


class View:
    """The newest list, and what the engine says of itself. `close` ends its thread."""

    def __init__(self, docker: seam.Docker, clock: clocks.Clock) -> None:
        self._docker = docker
        self._clock = clock
        self._listing = threading.Lock()
        self._sight: Sight | None = None
        self._trouble = ""
        self._about: seam.About | None = None
        self._read_at = clock.monotonic()
        self._closed = threading.Event()
        self._details: dict[tuple[str, bool], seam.Detail] = {}
        self._asking: set[tuple[str, bool]] = set()
        self._thread = threading.Thread(target=self._run, name="containers", daemon=True)

    def open(self) -> None:
        """Look for the first time, and go on looking."""
        self.look()
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    @property
    def about(self) -> seam.About | None:
        """What the engine says of itself; None while it does not answer."""
        return self._about

    @property
    def trouble(self) -> str:
        """Why the engine cannot be used now; empty while it answers."""
        return self._trouble

    @property
    def newest(self) -> Sight | None:
        """The newest list, however old it is; nothing is asked for it."""
        return self._sight

    def now(self) -> Sight:
        """Ask the engine. Raises `errors.Unavailable`. One question at a time: who waits gets the answer to a later one."""
        began = self._clock.monotonic()
        with self._listing:
            if self._sight is None or self._sight.at < began:
                at = self._clock.monotonic()
                self._sight = seen(at, self._docker.list(container.ATTEMPT))
                self._trim(self._sight)
            return self._sight

    def recent(self) -> Sight:
        """Return the newest list without waiting for another. Raises `errors.Unavailable` while it is old."""
        self._read_at = self._clock.monotonic()
        sight = self._sight
        if sight is None or sight.at < self._read_at - STALE:
            raise errors.Unavailable(self._trouble or "the containers of this host have not been listed yet")
        return sight

    def detail(self, found: seam.Listed) -> seam.Detail | None:
        """Return more of a container that runs or has ended; None until the engine has answered, which nobody waits for."""
        key = (found.id, found.state in seam.OVER)
        if key not in self._details and key not in self._asking and len(self._asking) < ASKING:
            self._asking.add(key)
            threading.Thread(target=self._inspect, args=(key,), name="inspect", daemon=True).start()
        return self._details.get(key)

    def _trim(self, sight: Sight) -> None:
        """Let go of containers that were removed, whoever has done it."""
        for key in [key for key in list(self._details) if key[0] not in sight.containers]:
            self._details.pop(key, None)

    def _inspect(self, key: tuple[str, bool]) -> None:
        try:
            with contextlib.suppress(errors.PerdureError):  # asked again at the next look
                found = self._docker.inspect(key[0])
                if found.running != key[1]:
                    self._details[key] = found
        finally:
            self._asking.discard(key)

    def _run(self) -> None:
        asked = self._clock.monotonic()
        while not self._clock.wait(PAUSE, self._closed):
            now = self._clock.monotonic()
            due = now >= asked + ABOUT or (self._trouble and now >= asked + PAUSE * 4)
            silent = not due and now < self._read_at + IDLE and not self._answers()
            # Where one has gone away is nobody's choice for what is resumed in the same moment.
            if due or (silent and not self._trouble):
                asked = now
                self.look()

    def _answers(self) -> bool:
        try:
            self.now()
        except errors.PerdureError:
            return False
        return True

    def look(self) -> None:
        """Ask the engine what it is and what it has. One that does not answer is trouble, not an error."""
        try:
            self._about = self._docker.about()
            self.now()
            self._trouble = ""
        except errors.PerdureError as error:
            self._about, self._trouble = None, error.line


def seen(at: float, listed: tuple[seam.Listed, ...]) -> Sight:
    """Return a list as it is read."""
    attempts: dict[spec.AttemptRef, seam.Listed] = {}
    for each in sorted(listed, key=lambda one: (_rank(one.state), one.created, one.id)):
        owner = container.owner(each.labels)
        if owner is not None:
            attempts[owner.ref] = each
    return Sight(at=at, attempts=attempts, containers={each.id: each for each in listed})


def _rank(state: seam.State) -> int:
    return 0 if state is seam.State.CREATED else 1 if state in seam.OVER else 2
