"""What the outside reports now. Every item is present, absent or unknown; unknown never means absent."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from reconciler.core import spec


def is_count(value: object) -> TypeGuard[int]:
    """Whether a program's word of its steps is one; programs that read JSON differ about larger numbers than 2**53."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


class ItemState(enum.Enum):
    """Where an attempt stands on its host. Ordered: an attempt never goes back."""

    PREPARING = "preparing"
    RUNNING = "running"
    ENDED = "ended"


class ExitKind(enum.Enum):
    """How an attempt's process tree came to its end."""

    EXITED = "exited"
    SIGNALED = "signaled"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out-of-memory"
    NOT_STARTED = "not-started"
    """The attempt could not be started (code, environment, secret, claim, restore); `detail` says why."""
    UNKNOWN = "unknown"
    """Supervisor and process are gone and neither left a record: it may have finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The durable end of an attempt."""

    kind: ExitKind
    code: int | None = None
    """Exit status where `kind` is EXITED."""
    signal: int | None = None
    detail: str = ""
    stopped: bool = False
    """We had delivered a stop signal before it ended: whatever its status, it was stopped and did not finish."""
    fatal: bool = False
    """Trying again cannot help (a missing secret, a refused restore)."""
    damaged: str = ""
    """Digest of the checkpoint that could not be restored because its bytes are not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The program's own count of its work."""

    step: int
    of: int | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A complete, verified checkpoint that the store offers."""

    digest: str
    attempt: int
    number: int = 0
    """Which of its attempt's it is, from 1; 0: nobody knows."""
    taken_at: float
    purpose: spec.Purpose = spec.Purpose.TIMER
    request: str = ""
    step: int | None = None
    logical_bytes: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0
    """From request to durable and verified."""
    frozen: float = 0.0
    """Seconds of these that the program stood still; 0 where its engine does not hold it, or where nobody wrote it down."""
    parent: str = ""
    processor: str = ""
    """What it needs of the processor that it is restored on (see `core.processor`); empty: nothing, or nobody knows."""

    @property
    def cost(self) -> float:
        """Seconds that it took from the program: those in which it stood still, else all."""
        return self.frozen or self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReport:
    """What became of a requested checkpoint."""

    id: str
    done: bool
    digest: str = ""
    """The checkpoint taken; empty with `done`: it failed, `detail` says why."""
    detail: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One attempt as its host (or engine) reports it."""

    ref: spec.AttemptRef
    state: ItemState
    want: spec.Want = spec.Want.RUN
    """What the host believes it is to do with it: lets a new reconciler rebuild the assignments."""
    host: str = ""
    spec: spec.AttemptSpec | None = None
    ready: bool = False
    """Its host has claimed it and laid everything out, and it waits for the engine to be told to create its container
    (`spec.Creator.ENGINE`)."""
    image: str = ""
    """With `ready`: what the engine is to be told to make it of, so that it is what was prepared, whatever its name means by
    then: NAME@sha256:…, or the id of an image that no registry knows. Empty: its host does not say."""
    started_at: float | None = None
    ended_at: float | None = None
    exit: Exit | None = None
    progress: Progress | None = None
    first_step: int | None = None
    """The first step this attempt reported."""
    checkpoints: tuple[Taken, ...] = ()
    request: RequestReport | None = None
    condition: str = ""
    """A sentence about something that does not stop the attempt (a late checkpoint, an unenforced limit)."""
    cadence: str = ""
    """A sentence with the timer's interval and the numbers behind it, where the host has computed it (`interval: auto`)."""
    damaged: bool = False
    """Its host cannot read what it had noted about it: until it is told again it can neither end it nor tell of its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A warning that a host goes away."""

    deadline: float
    """POSIX time in seconds."""
    reason: str = ""


ASSIGNMENTS = "assignments"
"""Subject of what a host says where it cannot take over what was assigned to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """The whole state of one host, as its agent sends it. `generation` grows with every message of one agent process."""

    host: str
    pool: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cpu: int = 0
    """Thousandths of a core offered."""
    memory: int = 0
    """Bytes offered."""
    engines: tuple[str, ...] = ()
    """What this host has for attempts: engines of checkpoints (`application`, `criu`) and of containers (`docker`)."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the agent has found out about its machine, by name; `swarm.node` is its node id in a Docker Swarm, `processor` what
    a checkpoint that is restored here may need of it."""
    agent: str = ""
    """Names the data that the agent has of its attempts: one with other data cannot tell what became of them."""
    boot: str = ""
    """Id of the machine's boot: after another one no process of before can live."""
    session: int = 0
    """Grows with every start of the agent, also after its data was lost: the larger of the last one plus 1 and POSIX seconds.
    (session, generation) orders its messages."""
    generation: int = 0
    accepted: int = 0
    """Generation of the newest assignments the agent has journalled."""
    items: tuple[Item, ...] = ()
    notice: Notice | None = None
    draining: bool = False
    conditions: tuple[str, ...] = ()
    """What is wrong there, each as `SUBJECT: TEXT`, with what mends it."""

    def quiet(self) -> HostState:
        """Return the state without what changes all the time: two that are equal then differ by number and progress alone."""
        items = tuple(replace(each, progress=None) for each in self.items)
        return replace(self, items=items, generation=0)

    def says_of(self, subject: str) -> str:
        """Return what the host itself says is wrong with something; empty when it says nothing."""
        told = (text.partition(": ") for text in self.conditions)
        return next((said.rstrip(".") for about, _, said in told if about == subject), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """One host as the reconciler knows it. With `silent_since` set, `state` is old and says nothing about now."""

    state: HostState
    seen_at: float
    silent_since: float | None = None
    silent_tries: int = 0
    """Observations in a row that heard nothing."""
    closed: str = ""
    """Why the engine takes nothing new here, though the host is heard; completes "1 of 3 hosts …". Empty: it does."""
    held_cpu: int = 0
    """Thousandths of a core of what it offers that others than attempts of ours hold now: other services of a Swarm."""
    held_memory: int = 0
    """Bytes, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView:
    """One target. When `known` is false the listing failed: no item of it may be taken for absent."""

    name: str
    known: bool = True
    error: str = ""
    hosts: Mapping[str, HostView] = field(default_factory=dict)
    items: Mapping[spec.AttemptRef, Item] = field(default_factory=dict)
    objects: Mapping[spec.AttemptRef, str] = field(default_factory=dict)
    """What the engine keeps for attempts (a Swarm's services), each with the engine's own words. No evidence that one runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreView:
    """One store: whether it can be written, and the verified checkpoints of the runs that were asked about."""

    name: str
    known: bool = True
    error: str = ""
    checkpoints: Mapping[str, tuple[Taken, ...]] = field(default_factory=dict)
    """By run; a run that was not asked about is missing, one without checkpoints has an empty tuple."""
    named: Mapping[str, Mapping[str, Taken]] = field(default_factory=dict)
    """By tenant and digest: checkpoints that its manifests' `restore.from` name, where the store has them for that tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Since when (POSIX seconds) and in how many observations in a row a host was not heard."""

    since: float
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything observed in one pass."""

    at: float
    """POSIX time in seconds of the observation."""
    targets: Mapping[str, TargetView] = field(default_factory=dict)
    stores: Mapping[str, StoreView] = field(default_factory=dict)
    unheard: Mapping[tuple[str, str], Silence] = field(default_factory=dict)
    """By (target, host): hosts of live attempts that this process has never heard."""

    def running(self, host: str) -> int:
        """Return how many attempts have not ended on a host, whatever their target."""
        items = {ref: item for target in self.targets.values() for ref, item in target.items.items()}
        return sum(item.host == host and item.state is not ItemState.ENDED for item in items.values())
