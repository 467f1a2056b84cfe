"""What a check of `perdure doctor` looks at, and what it finds."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler import config, errors
from reconciler.cli import looking, view


class State(enum.Enum):
    """How a thing stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about one thing."""

    subject: str = ""
    state: State
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything a check may look at."""

    settings: config.Settings
    data: Path
    target: str = ""
    host: str = ""
    looker: looking.Looker | None = None
    seen: view.View | None = None
    """None: the repository or the ledger cannot be read, and `broken` says why."""
    broken: errors.PerdureError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row."""

    subject: str
    look: Callable[[Surroundings], Iterator[Finding]]


def ok(text: str) -> Finding:
    """Return that something works."""
    return Finding(state=State.OK, text=text)


def warn(text: str, remedy: str = "") -> Finding:
    """Return that something should be looked at."""
    return Finding(state=State.WARN, text=text, remedy=remedy)


def fail(text: str, remedy: str = "") -> Finding:
    """Return that something does not work."""
    return Finding(state=State.FAIL, text=text, remedy=remedy)
