"""How the end of an attempt is classed, and whose fault it was: an ordered table, first match wins."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.core import observed


class Fault(enum.Enum):
    """Which budget an end draws on."""

    PROGRAM = "program"
    """`retries.failure`."""
    MACHINE = "machine"
    """`retries.preemption`."""
    STORE = "store"
    """None: nothing was run, and the one before the checkpoint follows at once; that comes to an end by itself."""
    FINAL = "final"
    """None: trying again cannot help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One row: `matches` looks at the exit; `tell` completes "attempt 2 …"."""

    name: str
    fault: Fault
    matches: Callable[[observed.Exit], bool]
    tell: Callable[[observed.Exit], str]


def _detail(exit: observed.Exit) -> str:
    return f": {exit.detail}" if exit.detail else ""


def _is(kind: observed.ExitKind) -> Callable[[observed.Exit], bool]:
    return lambda exit: exit.kind is kind


TABLE = (
    Failure(
        name="CheckpointDamaged",
        fault=Fault.STORE,
        matches=lambda exit: bool(exit.damaged),
        tell=lambda exit: f"could not be restored from {exit.damaged[:19]}{_detail(exit)}",
    ),
    Failure(
        name="StartRefused",
        fault=Fault.FINAL,
        matches=lambda exit: exit.kind is observed.ExitKind.NOT_STARTED and exit.fatal,
        tell=lambda exit: f"could not be started{_detail(exit)}",
    ),
    Failure(
        name="StartFailed",
        fault=Fault.MACHINE,
        matches=_is(observed.ExitKind.NOT_STARTED),
        tell=lambda exit: f"could not be started{_detail(exit)}",
    ),
    Failure(
        name="TimedOut",
        fault=Fault.PROGRAM,
        matches=_is(observed.ExitKind.TIMEOUT),
        tell=lambda exit: f"ran longer than `timeout` allows{_detail(exit)}",
    ),
    Failure(
        name="OutOfMemory",
        fault=Fault.PROGRAM,
        matches=_is(observed.ExitKind.OUT_OF_MEMORY),
        tell=lambda exit: f"used more memory than `resources.memory` allows{_detail(exit)}",
    ),
    Failure(
        name="Signalled",
        fault=Fault.PROGRAM,
        matches=_is(observed.ExitKind.SIGNALED),
        tell=lambda exit: f"was ended by signal {exit.signal}{_detail(exit)}",
    ),
    Failure(
        name="ExitStatus",
        fault=Fault.PROGRAM,
        matches=_is(observed.ExitKind.EXITED),
        tell=lambda exit: f"exited with status {exit.code}{_detail(exit)}",
    ),
    Failure(
        name="OutcomeUnknown",
        fault=Fault.MACHINE,
        matches=_is(observed.ExitKind.UNKNOWN),
        tell=lambda exit: f"ended without a record of how{_detail(exit)}",
    ),
)

LOST = "HostLost"
"""Its host was given up after both budgets."""
VANISHED = "Vanished"
"""Its host is well and does not know it any more."""
UNKNOWN = TABLE[-1].name
"""It ended, and nobody was there to see how."""
MACHINE = frozenset({*(row.name for row in TABLE if row.fault is Fault.MACHINE), LOST, VANISHED})
"""Ends that are not the program's fault."""


def classify(exit: observed.Exit) -> Failure:
    """Return the row for an exit that is not a success."""
    return next(row for row in TABLE if row.matches(exit))
