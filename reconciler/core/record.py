"""The ledger's values: what has been decided and what became of it, one record a run."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core import model, observed, spec


class Phase(enum.Enum):
    """Where a run stands. FINISHED and FAILED are ends; a run there is never executed again."""

    PENDING = "pending"
    """Wants an attempt: the first, or another one."""
    RUNNING = "running"
    """Its newest attempt may be alive."""
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"


TERMINAL = (Phase.FINISHED, Phase.FAILED)


class Ending(enum.Enum):
    """How an attempt ended, as the ledger words it."""

    FINISHED = "finished"
    FAILED = "failed"
    CHECKPOINTED = "checkpointed"
    """Ended by us after its checkpoint was safe."""
    STOPPED = "stopped"
    """Ended by us without a checkpoint."""
    LOST = "lost"
    """Its host was given up; it may still run, and nothing it writes later counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of a run. Recorded before anything is started; numbers are never reused."""

    number: int
    target: str
    host: str
    intended_at: float
    restored_from: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    ending: Ending | None = None
    failure: str = ""
    """Name of a row of `failures.TABLE` where the ending is FAILED or LOST."""
    detail: str = ""
    exit: observed.Exit | None = None
    first_step: int | None = None
    last_step: int | None = None
    of: int | None = None
    seen: tuple[int, int] = (0, 0)
    """Agent session and generation in which it was first seen started: an older state cannot prove it absent."""
    agent: str = ""
    """The data of the agent that it was given to (`observed.HostState.agent`), and its machine's boot; empty: not told."""
    boot: str = ""
    created_by: spec.Creator = spec.Creator.AGENT
    hazard: spec.Hazard | None = None
    """What `checkpoint.interval: auto` was told of its machine; None where the Job does not ask for it."""

    @property
    def live(self) -> bool:
        """Whether the ledger has not seen it end."""
        return self.ending is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint in the run's lineage."""

    taken: observed.Taken
    pinned_by: tuple[str, ...] = ()
    """Names of Checkpoint manifests that hold it."""
    tombstoned_at: float | None = None
    """POSIX time of the first phase of its deletion."""
    damaged: bool = False
    """A restore found bytes that are not what was written: it is not chosen again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A request on its way to the attempt; kept so that it is neither forgotten nor repeated too soon."""

    request: spec.Request
    base: str
    """What asked: a purpose's name or a Checkpoint manifest's id. The request's own id adds attempt and try."""
    asked_at: float
    tries: int = 1
    failed_at: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything the ledger knows about one run."""

    v: int = 1
    instance: str
    run: str
    tenant: str
    job: str
    replica: int
    identity: int
    """Version of the identity rule that named this run."""
    revision: str
    """Commit at which the run was first planned."""
    code: str = ""
    """Git object id of the run's code; linked from the ledger's tree while the run is unfinished."""
    created_at: float
    ledger: str = ""
    """Name of the ledger that planned it (`identity.ledger`); empty: planned before ledgers had names."""
    phase: Phase = Phase.PENDING
    applied: model.Job
    """The manifest the newest attempt was (or will be) started with; what `diff` compares against."""
    store: model.StoreSpec | None = None
    attempts: tuple[Attempt, ...] = ()
    checkpoints: tuple[Saved, ...] = ()
    """Newest last."""
    failures: int = 0
    """Ends by the program's own fault so far."""
    preemptions: int = 0
    """Ends that were not the program's fault so far."""
    not_before: float | None = None
    """POSIX time before which no further attempt is made."""
    pending: Pending | None = None
    ended_at: float | None = None
    reason: str = ""
    """Why it stands where it stands: name of a row of `reasons.TABLE`."""
    condition: str = ""
    served: tuple[str, ...] = ()
    """Ids of Checkpoint manifests already taken."""

    @property
    def key(self) -> tuple[str, str, int]:
        """Tenant, job name and replica: what a person calls this run."""
        return (self.tenant, self.job, self.replica)

    @property
    def newest(self) -> Attempt | None:
        """The attempt with the highest number, or None before the first."""
        return self.attempts[-1] if self.attempts else None

    @property
    def live(self) -> Attempt | None:
        """The newest attempt if the ledger has not seen it end."""
        attempts = self.attempts
        return attempts[-1] if attempts and attempts[-1].ending is None else None

    @property
    def unbegun(self) -> bool:
        """Whether no program of it has ever been started: there is nothing to lose."""
        ends = (attempt.exit.kind if attempt.exit else None for attempt in self.attempts)
        return not self.checkpoints and all(kind is observed.ExitKind.NOT_STARTED for kind in ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A token that lets one host join once. Only the token's SHA-256 is stored."""

    token: str
    """Hex SHA-256 of the secret."""
    host: str
    pool: str
    expires_at: float
    used_at: float | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a note: a transition, told as a sentence. Encoded with `say` first (see `reconciler.annotate`)."""

    say: str
    what: str
    """planned, started, suspended, resumed, lost, restored, failed, retried, finished, stopped (or a state of the instance)."""
    at: float
    instance: str = ""
    tenant: str = ""
    job: str = ""
    replica: int = 0
    run: str = ""
    attempt: int | None = None
    revision: str = ""
    """The run's own revision."""
    data: Mapping[str, str | int | float | None] = field(default_factory=dict)
    v: int = 1
