"""How an attempt's state is captured and put back. An engine never chooses which checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reconciler.contracts import store
from reconciler.core import observed, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where an attempt lives on its host: the folders of the application contract."""

    ref: spec.AttemptRef
    checkpoints: Path
    """PERDURE_CHECKPOINT_DIR: the program writes here, then creates the file COMPLETE in it."""
    restore: Path
    """PERDURE_RESTORE_DIR when there is something to restore."""
    request_file: Path
    """PERDURE_REQUEST_FILE."""
    progress_file: Path
    """PERDURE_PROGRESS_FILE."""
    signal: str = ""
    send_signal: Callable[[str], bool] = lambda name: False
    """Deliver a signal to the attempt's main process; False when it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Can:
    """The engine can take checkpoints of this attempt here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cannot:
    """It cannot: why, and the command or change that mends it."""

    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """The checkpoint is durable and verified in the store."""

    taken: observed.Taken
    usage: store.Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No checkpoint; the attempt is as it was."""

    reason: str


class Engine(Protocol):
    """Takes and restores checkpoints of attempts on this host."""

    def preflight(self, site: Site) -> Can | Cannot:
        """Say whether a checkpoint of this attempt can be taken, before anything is touched."""
        ...

    def take(self, site: Site, open_sink: Callable[[], store.Sink], request: spec.Request) -> Captured | Failed:
        """Take one checkpoint within the request's deadline and commit it to the sink. Failing leaves the attempt unharmed."""
        ...

    def prepare_restore(self, image: store.Image, site: Site) -> None:
        """Lay the image's files where the attempt will look for them. Raises `errors.Damaged` and leaves nothing behind."""
        ...
