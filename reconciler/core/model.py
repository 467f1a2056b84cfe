"""Manifests as values: what one Git revision desires.

The loader builds these from validated documents; units are fixed here (seconds, bytes, thousandths of a core) so that nothing
further in knows how people write them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

API_VERSION = "perdure.dev/v1alpha1"


class JobState(enum.Enum):
    """What a person wants of a Job's runs."""

    RUNNING = "Running"
    SUSPENDED = "Suspended"
    STOPPED = "Stopped"


class EngineName(enum.Enum):
    """How an attempt's state is captured; NONE means that a new attempt starts from the beginning."""

    APPLICATION = "application"
    CRIU = "criu"
    KUBELET = "kubelet"
    NONE = "none"


class Occasion(enum.Enum):
    """Events on which a checkpoint is taken besides the timer (`checkpoint.on`)."""

    NOTICE = "notice"
    SUSPEND = "suspend"
    UPDATE = "update"


class OnChange(enum.Enum):
    """What a change that means a new run does while the old run is unfinished."""

    REFUSE = "refuse"
    RESTART = "restart"


class OnLost(enum.Enum):
    """What happens once both budgets of a silent host are spent."""

    WAIT = "wait"
    REPLACE = "replace"


class Drift(enum.Enum):
    """Whether a live object that differs from its manifest is only reported or also corrected."""

    OBSERVE = "observe"
    CORRECT = "correct"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObjectRef:
    """Names one manifest. Only Jobs have a tenant; for the other kinds it is empty."""

    kind: str
    name: str
    tenant: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.tenant}/{self.name}" if self.tenant else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a manifest begins: path in the repository, 1-based line and column. One that only moved says the same."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an attempt may run."""

    node: str = ""
    zone: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """Why a Job is suspended. `until` is a POSIX time in seconds; when it passes the Job runs again without a commit."""

    reason: str = ""
    owner: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Program files from the repository."""

    path: str
    """Folder (or file) relative to the repository's root."""
    entrypoint: str = ""
    """Python file below `path`, run when `command` is empty."""
    requirements: str = ""
    """Requirements file below `path`, installed into an environment cached by the file's digest; empty: none."""
    tree: str = ""
    """Git object id of `path` at the revision: part of the run's identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A folder of the host (or a shared file system) that the attempt sees at `target`."""

    source: str
    target: str
    read_only: bool = False
    shared: bool = False
    """The same content is reachable on every host that may run the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A file that a Swarm keeps under a name and shows to a container at `target`."""

    name: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What an attempt executes."""

    image: str = ""
    code: Code | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of secrets; each reaches the attempt as an environment variable of the same name, never through Git."""
    configs: tuple[Config, ...] = ()
    """Configs of the Swarm, on targets that are one."""
    workdir: str = ""
    volumes: tuple[Volume, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Requests, which are also limits: `cpu` in thousandths of a core, `memory` in bytes; None means not requested."""

    cpu: int | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a run is started again: after its own failures, and after losses that are not its fault (None: always)."""

    failure: int = 0
    preemption: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """When and how checkpoints are taken."""

    engine: EngineName = EngineName.APPLICATION
    interval: float | Literal["auto"] | None = None
    """Seconds between timer checkpoints; None: no timer."""
    on: tuple[Occasion, ...] = (Occasion.NOTICE, Occasion.SUSPEND, Occasion.UPDATE)
    signal: str = ""
    """Signal sent with a request, e.g. "SIGUSR1"; empty: the request file only."""
    deadline: float = 60.0
    """Seconds a requested checkpoint may take."""
    max_frozen: float | None = None
    store: str = ""
    """Name of a Store; empty only where the repository declares none (then `engine` is NONE)."""
    keep: int = 3
    """Newest checkpoints kept per run, pinned ones not counted."""
    max_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A batch job to run once to completion (`replicas` runs of it)."""

    name: str
    tenant: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str
    pool: str = ""
    placement: Placement = field(default_factory=Placement)
    state: JobState = JobState.RUNNING
    suspend: Suspension = field(default_factory=Suspension)
    replicas: int = 1
    workload: Workload
    resources: Resources = field(default_factory=Resources)
    timeout: float | None = None
    """Seconds one attempt may run; None: no limit."""
    retries: Retries = field(default_factory=Retries)
    priority: int = 0
    """Orders waiting runs, higher first; never preempts."""
    checkpoint: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    restore_from: str = "latest"
    """Where the next attempt begins. "latest": the run's newest checkpoint; "none": always the beginning; "sha256:…": that
    checkpoint, once; what follows continues from there."""
    depends_on: tuple[str, ...] = ()
    """Names of Jobs of the same tenant that must have finished."""
    drift: Drift = Drift.OBSERVE
    on_change: OnChange = OnChange.REFUSE
    on_lost: OnLost = OnLost.WAIT
    rerun: str = ""
    """Any text; a new text is a new run of an otherwise unchanged Job."""
    written: str = "{}"
    """Canonical JSON of the identity's fields as written, before defaulting (see `identity`)."""
    origin: Origin = field(default_factory=lambda: Origin(file=""), compare=False)

    @property
    def ref(self) -> ObjectRef:
        """This Job's name as an object."""
        return ObjectRef(kind="Job", tenant=self.tenant, name=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRequest:
    """A Checkpoint manifest: take one checkpoint of `job` and pin it."""

    name: str
    job: str
    tenant: str = "default"
    reason: str = ""
    stop: bool = False
    """End the attempt once its checkpoint is safe; the run is then stopped until the manifest is removed."""
    keep: bool = True
    """Pin the checkpoint for as long as this manifest exists."""
    origin: Origin = field(default_factory=lambda: Origin(file=""), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSpec:
    """Where checkpoints live: a folder that every host of the target reaches."""

    name: str
    root: str
    """Absolute path."""
    must_be_mounted: bool = False
    """Refuse to write when `root` is not on a mount of its own."""
    encryption: str = ""
    """Name of the key that wraps each pack's key; empty: not encrypted."""
    signing: str = ""
    """Name of the Ed25519 key that signs manifests; empty: not signed, and none is required."""
    max_size: int | None = None
    """Bytes all checkpoints of this store may take."""
    retention: float | None = None
    """Seconds that the checkpoints of an ended run are kept; None: for ever."""
    origin: Origin = field(default_factory=lambda: Origin(file=""), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmSpec:
    """How the managers of a Docker Swarm are reached."""

    host: str
    """Address of a manager's API: unix:///path or tcp://name:port."""
    others: tuple[str, ...] = ()
    """Further managers, asked in this order while the ones before do not answer."""
    tls: str = ""
    """Name of the folder of keys for tcp (`tls/NAME` with ca.pem, cert.pem and key.pem); empty only for unix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """A Target: the plain hosts whose labels contain `selector`, or the nodes of a Swarm that have an agent."""

    name: str
    selector: Mapping[str, str] = field(default_factory=dict)
    swarm: SwarmSpec | None = None
    by_pool: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels that hosts have by the Pool that they joined for: what the Pools of the same revision declare."""
    origin: Origin = field(default_factory=lambda: Origin(file=""), compare=False)

    @property
    def kind(self) -> Literal["hosts", "swarm"]:
        """Which kind of target it is."""
        return "swarm" if self.swarm is not None else "hosts"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """A Pool of `static` machines: named hosts that join by token."""

    name: str
    hosts: tuple[str, ...] = ()
    """Names that may join; empty: any host with a token for this pool."""
    labels: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = field(default_factory=lambda: Origin(file=""), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with one manifest: what, where, and what to write instead."""

    file: str
    line: int
    column: int
    message: str
    kind: str = ""
    name: str = ""
    tenant: str = ""
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{text} ({self.fix})" if self.fix else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """All that one revision declares. With problems, the objects named in `frozen` stand at their last valid version."""

    revision: str
    """Commit id; in a working folder the id of the commit made of its tree."""
    jobs: Mapping[ObjectRef, Job] = field(default_factory=dict)
    checkpoints: Mapping[ObjectRef, CheckpointRequest] = field(default_factory=dict)
    stores: Mapping[str, StoreSpec] = field(default_factory=dict)
    targets: Mapping[str, TargetSpec] = field(default_factory=dict)
    pools: Mapping[str, PoolSpec] = field(default_factory=dict)
    frozen: Mapping[ObjectRef, str] = field(default_factory=dict)
    """Objects that are invalid at this revision, each with the first problem's text. Never pruned."""
    problems: tuple[Problem, ...] = ()
    unread: tuple[str, ...] = ()
    """Files that could not be read, so that nobody knows all they declare. While there is one, an object that is missing here
    is unknown, not absent: nothing is pruned."""
    refused: str = ""
    """Why this revision is not applied at all (an invalid Target, Store or perdure.yaml): the objects are those of the last
    good revision. Empty: it is applied."""
    allow_empty: bool = False
    """The commit carries the trailer `Perdure-Allow-Empty: true`."""
