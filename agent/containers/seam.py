"""What the agent needs of a container engine: one small Protocol, so that a fake and dockerd can stand for each other."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from reconciler import errors


class State(enum.Enum):
    """What an engine says of a container in its lists. Words of dockerd's API."""

    CREATED = "created"
    """It never ran: also after a start that failed."""
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


ALIVE = frozenset({State.RUNNING, State.PAUSED})
OVER = frozenset({State.EXITED, State.DEAD})
"""States of a container that has run and does not any more."""


class Gone(errors.Refused):
    """There is no such container (or image) any more."""


class Denied(errors.Refused):
    """A registry gives this image to somebody else, or to nobody without a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The engine itself."""

    version: str
    runtimes: Mapping[str, str] = field(default_factory=dict)
    """Path of each OCI runtime by its name."""
    default_runtime: str = ""
    rootless: bool = False
    userns: bool = False
    """User namespaces are remapped (`userns-remap`)."""
    root: str = ""
    """Folder in which it keeps its containers, as it sees it."""
    node: str = ""
    """Id of this engine's node in a Swarm; empty: it is in none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A container in a list: cheap, and never waiting for one that is being made."""

    id: str
    state: State
    labels: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    """Id of the image it was made of, whatever name that was asked for by."""
    created: float = 0.0
    """POSIX seconds."""
    volumes: tuple[str, ...] = ()
    """Names of its volumes that nobody has named: the engine has made them for it, because its image declares them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What `inspect` says of a container that has run."""

    running: bool
    pid: int = 0
    """Of its first process while it runs."""
    started_at: float | None = None
    ended_at: float | None = None
    code: int = 0
    """Exit status; 128 and the signal's number where a signal ended it."""
    out_of_memory: bool = False
    error: str = ""
    """What stood in the way of its start."""
    witnessed: bool = True
    """Whether the engine saw its end, and still knows it. One that was away then says 255 of whatever it does not find any
    more, and one that was told to start it again, and could not, says 128 (dockerd 26)."""
    variables: tuple[str, ...] = field(default=(), repr=False)
    """What its program was given to begin with (NAME=VALUE), secrets among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that this host has."""

    id: str
    digests: tuple[str, ...] = ()
    """NAME@sha256:… as registries know it; none for one that was made here."""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    """Paths that the image declares as volumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A container has ended."""

    id: str
    at: float
    """POSIX seconds."""
    code: int
    """Exit status, as in `Detail`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A piece of output as the engine keeps it: a line, or a part of a long one."""

    at: int
    """When it was written: nanoseconds since the epoch."""
    data: bytes


class Docker(Protocol):
    """A container engine with dockerd's API. May be used by many threads at once.

    Raises `errors.Unavailable` while the engine does not answer, `Gone` for what is not there, `errors.Refused` for a no.
    Only `inspect`, `start`, `stop`, `kill`, `pause`, `remove` wait for a container that is just being made or stopped: none
    of them is ever called while the engine waits for our own verdict on it.
    """

    def close(self) -> None:
        """Let go of connections. What is called later connects anew."""
        ...

    def about(self) -> About:
        """Return what the engine says of itself."""
        ...

    def list(self, label: str) -> tuple[Listed, ...]:
        """Return all containers that carry a label of this name, running or not."""
        ...

    def inspect(self, container: str) -> Detail:
        """Return more of a container."""
        ...

    def image(self, name: str) -> Image | None:
        """Return an image by name, digest or id; None when this host does not have it."""
        ...

    def pull(self, name: str, credentials: Mapping[str, str] | None) -> None:
        """Fetch an image. `credentials` are `username` and `password` for its registry.

        Raises `Denied`, `errors.Refused` where no registry has it, `errors.Unavailable` while its registry does not answer.
        """
        ...

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container that does not run yet, as the API's `/containers/create` takes it; return its id.

        Raises `errors.Busy` when the name is taken.
        """
        ...

    def start(self, container: str) -> None:
        """Start it; one that runs stays as it is. Returns once its first process runs."""
        ...

    def stop(self, container: str, grace: float) -> None:
        """Send its stop signal, after `grace` seconds SIGKILL. Returns once it has ended; one that has ended stays as it is."""
        ...

    def kill(self, container: str, signal: str) -> None:
        """Send a signal to its first process."""
        ...

    def pause(self, container: str, *, still: bool) -> None:
        """Hold all its processes still, or let them go on."""
        ...

    def remove(self, container: str) -> None:
        """Remove it with its anonymous volumes; one that is not there is removed."""
        ...

    def ends(self, since: float, until: float) -> tuple[End, ...]:
        """Return what has ended between two moments (POSIX seconds, of which whole ones count), as far as the engine remembers.

        A moment to come is waited for.
        """
        ...

    def output(self, container: str, since: int) -> Iterator[Line]:
        """Yield its output from `since` (nanoseconds, inclusive) on, as far as there is any now."""
        ...
