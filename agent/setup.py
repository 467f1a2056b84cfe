"""Everything an agent is told when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent import account, cgroups, places
from reconciler.contracts import clock, engine, store
from reconciler.core import model


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the agent looks and speaks; seconds."""

    look: float = 0.2
    """Between looks at the processes."""
    heartbeat: float = 2.0
    """Between states sent while nothing but progress changes."""
    ship: float = 1.0
    """Between shipments of output to the store."""
    retry: float = 1.0
    """Before a step that could not be done is tried again; doubles each time."""
    retry_cap: float = 30.0
    flush: float = 5.0
    """Most seconds that the report of an end waits for its last output to reach the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What this host says about itself."""

    host: str
    pool: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cpu: int = 0
    """Thousandths of a core."""
    memory: int = 0
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One agent's surroundings."""

    offer: Offer
    places: places.Places
    secrets: Path
    """Folder of job secrets."""
    account: account.Account | None
    """Who runs jobs; None: the agent's own user."""
    groups: cgroups.Groups | None
    """Where control groups can be made; None: nowhere."""
    clock: clock.Clock
    engines: Mapping[model.EngineName, engine.Engine]
    open_store: Callable[[model.StoreSpec], store.Store]
    """Return the store that a manifest describes; raises `errors.Unavailable` or `errors.Refused`."""
    closes: bool = False
    """Whether folders can be closed to a program: read-only volumes are enforced."""
    pace: Pace = field(default_factory=Pace)
    hurry: Callable[[bool], None] = lambda _: None
    """Told whether this host is about to go away: then what the agent does comes before all else on it."""
