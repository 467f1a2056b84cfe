"""How an attempt's state is captured and put back. An engine never chooses which checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import observed, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A live container of an attempt. What its runtime has written down or the kernel can be asked is not repeated here."""

    id: str
    state_file: Path
    """The `state.json` that runc keeps of it (`<runc's root>/<id>/state.json`): process, mounts, namespaces, cgroups."""
    bundle: Path
    """Its OCI bundle, with the `config.json` that it was created from."""
    volumes: tuple[str, ...] = ()
    """Names of the volumes that its engine made for it alone (an image's VOLUME): what lies in them is part of its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where an attempt lives on its host: the folders of the application contract, or its container."""

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
    hold: Callable[[bool], None] = lambda still: None
    """Hold the attempt's processes still (True), or let them go on: what is done after the last save would be lost."""
    aside: Path
    """Folder that only the agent can enter, on the file system of `checkpoints`: what the program has saved waits here."""
    owner: tuple[int, int] | None = None
    """User and group of the program where they are not the agent's own: whose files to take, and who may read the request."""
    alive: Callable[[], bool] = lambda: True
    """Whether the program still runs."""
    given_up: Callable[[], bool] = lambda: False
    """Whether the agent wants the engine to stop waiting for the program."""
    step: Callable[[], int | None] = lambda: None
    """The newest step that the program has told, asked while it stands still; None: it tells none, or does so with its save."""
    container: Container | None = None
    """The live container, for engines that capture one; None for a process of the host, and while only restoring."""
    max_frozen: float | None = None
    """Most seconds that the program may stand still for a checkpoint (`checkpoint.maxFrozen`); None: no limit of its own."""


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


class Unfit(errors.Damaged):
    """What a sink builds upon is damaged. The next one that is opened for the attempt builds upon nothing."""


class Engine(Protocol):
    """Takes and restores checkpoints of attempts on this host."""

    def preflight(self, site: Site) -> Can | Cannot:
        """Say whether a checkpoint of this attempt can be taken, before anything is touched."""
        ...

    def needs(self) -> str:
        """Return what a checkpoint taken here needs of a processor (`core.processor`); empty: nothing."""
        ...

    def saved(self, site: Site) -> bool:
        """Whether there is something to take that nobody asked for: the program saved on its own, or a take was cut short."""
        ...

    def take(self, site: Site, open_sink: Callable[[int | None], store.Sink], request: spec.Request) -> Captured | Failed:
        """Take one checkpoint and commit it to the sink. Failing leaves the attempt unharmed.

        The request's deadline is the time the program has; storing what it has given in time takes as long as it takes.
        `open_sink` is given the step that the program says it has saved, None when it says none. With `Purpose.SAVED`
        nothing is asked of the program: what `saved` saw is taken. Where a sink raises `Unfit`, all is given to another one.
        """
        ...

    def prepare_restore(self, image: store.Image, site: Site) -> None:
        """Lay the image's files where the attempt will look for them. Raises `errors.Damaged` and leaves nothing behind."""
        ...
