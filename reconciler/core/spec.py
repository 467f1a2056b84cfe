"""What a target is asked to do for one attempt: values that travel to a host and are journalled there as they came."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core import codec, model


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class AttemptRef:
    """Names one attempt everywhere: objects, journals, store."""

    run: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.run}-{self.attempt}"


class Creator(enum.Enum):
    """Who makes an attempt's process or container once its host is ready for it."""

    AGENT = "agent"
    ENGINE = "engine"
    """A cluster's own engine, told by the reconciler (Swarm): the host's agent prepares, says that it is ready, and waits."""


BETWEEN_LOSSES = 3600.0
"""Seconds between losses that nobody announces, assumed at first: rather careful, as a few quiet hours outweigh it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """How often an attempt's machine is expected to go away unannounced: what weighs against the price of a checkpoint."""

    market: str = ""
    """What the machine was taken from: provider/type/zone."""
    between: float = BETWEEN_LOSSES
    """Seconds between losses."""
    losses: int = 0
    """Seen in that market so far, in `seconds` of running."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpec:
    """All an agent needs to run one attempt. Contains names of secrets and keys, never their values."""

    instance: str
    run: str
    attempt: int
    tenant: str
    job: str
    replica: int
    revision: str
    """Commit at which the run was first planned; its code is taken from there."""
    workload: model.Workload
    resources: model.Resources = field(default_factory=model.Resources)
    timeout: float | None = None
    checkpoint: model.CheckpointPolicy = field(default_factory=model.CheckpointPolicy)
    store: model.StoreSpec | None = None
    restore: str = ""
    """Digest of the checkpoint to continue from; empty: from the beginning."""
    host: str = ""
    """Host chosen by the plan, where the target consists of hosts."""
    created_by: Creator = Creator.AGENT
    hazard: Hazard | None = None
    """As measured when the attempt was planned, for `checkpoint.interval: auto`; None: not measured."""
    costs: tuple[float, ...] = ()
    """Seconds that the latest checkpoints of attempts before this one took from the program, oldest first, for the same."""
    labels: Mapping[str, str] = field(default_factory=dict)
    ledger: str = ""
    """Name of the ledger that planned the run: a store keeps a run for one of them. Empty: planned before ledgers had names."""

    @property
    def ref(self) -> AttemptRef:
        """This attempt's name."""
        return AttemptRef(run=self.run, attempt=self.attempt)

    def digest(self) -> str:
        """Return the digest of the whole spec, by which two versions of an assignment are told apart."""
        return codec.digest(self)


class Purpose(enum.Enum):
    """Why a checkpoint is wanted. STOP, SUSPEND, UPDATE and MOVE end the attempt once the checkpoint is safe."""

    TIMER = "timer"
    DEMAND = "demand"
    NOTICE = "notice"
    SUSPEND = "suspend"
    UPDATE = "update"
    MOVE = "move"
    STOP = "stop"
    SAVED = "saved"
    """Nobody asked: the program saved on its own."""


ENDING = frozenset({Purpose.SUSPEND, Purpose.UPDATE, Purpose.MOVE, Purpose.STOP, Purpose.NOTICE})
"""Purposes after whose safe checkpoint the attempt ends. (A notice's source host is going away.)"""


BY_ITS_ENGINE = "engine-"
"""How the id of a request begins that came from a container engine: it was told to end the container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One wanted checkpoint. The same id is never taken twice."""

    id: str
    purpose: Purpose
    reason: str = ""
    deadline: float = 60.0
    """Seconds from the moment the agent sees the request."""
    then_stop: bool = False
    """End the attempt once the checkpoint is durable and verified. One that has not begun ends without being begun."""


class Want(enum.Enum):
    """What a host is to make of an attempt."""

    RUN = "run"
    STOP = "stop"
    """End it: SIGTERM, after a grace SIGKILL, whether or not a checkpoint exists."""
    REMOVE = "remove"
    """Its outcome is in the ledger: forget it and free what it left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt on one host, as the reconciler wants it now."""

    spec: AttemptSpec
    want: Want = Want.RUN
    request: Request | None = None
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignments:
    """The whole set for one host. An attempt that is not listed is left as it is: silence never ends a job."""

    host: str
    generation: int
    """Grows with every change; a lower one than the last accepted is refused."""
    items: tuple[Assignment, ...] = ()
