"""What a job computes: a chain of steps in which each state follows from the one before, so that a wrong restore is seen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from reconciler.contracts import store
from reconciler.core import observed

FILLER = 2 * store.UNIT + 100
"""Bytes of a checkpoint besides its step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The behaviour of one run, whoever executes it."""

    steps: int
    pace: float
    """Seconds a step."""
    saves_every: int = 0
    """Steps after which it saves on its own; 0: only when it is asked."""
    fails: int = 0
    """How many of its executions end badly before one ends well."""
    fails_at: int = 1
    """The step at which they do."""
    failure: observed.Exit = field(default_factory=lambda: observed.Exit(kind=observed.ExitKind.EXITED, code=3))


def content(run: str, step: int) -> bytes:
    """Return what a checkpoint of this run at this step must hold, to the byte."""
    head = json.dumps({"run": run, "step": step}).encode()
    seed = hashlib.blake2b(head).digest()
    return (head + b"\n" + seed * (FILLER // len(seed) + 1))[:FILLER]


def step_of(data: bytes) -> int:
    """Return the step that a checkpoint's content says it is from. Raises ValueError for anything else."""
    return int(json.loads(data.partition(b"\n")[0])["step"])
