"""The verbs of an attempt. Each is one idempotent operation, so that a step cut short by a crash is simply done again."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent import (
    cgroups,
    checkpointing,
    codetree,
    environments,
    journal,
    kept,
    logs,
    places,
    process,
    progress,
    refusal,
    secretfiles,
    setup,
    workspace,
)
from reconciler import errors
from reconciler.contracts import engine
from reconciler.core import observed, spec
from reconciler.engines import folder as folders

START_SECONDS = 10.0
"""Longest wait for a supervisor to take its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What a host has for attempts, beside room."""

    engines: tuple[str, ...] = ()
    """As in `observed.HostState.engines`."""
    conditions: tuple[str, ...] = ()
    """Sentences about what it could have and has not."""
    facts: Mapping[str, str] = field(default_factory=dict)


class Controller(Protocol):
    """What the agent's loop can do to an attempt. `look`, `saved`, `tell` and `stop` return at once; the rest takes its time.

    Raises `errors.PerdureError`: `refusal.exit_of` says whether that ends the attempt or the step is tried again.
    """

    def offers(self) -> Offers:
        """Return what this host has for attempts now."""
        ...

    def known(self, ref: spec.AttemptRef) -> bool:
        """Whether an attempt without an entry may ever have run here."""
        ...

    def progress(self, entry: journal.Entry) -> progress.Source:
        """Return where its program counts its steps."""
        ...

    def remarks(self, entry: journal.Entry) -> dict[str, str]:
        """Return sentences by subject about what is asked for it and cannot be had here."""
        ...

    def look(self, entry: journal.Entry) -> process.Look:
        """Return what there is of its process."""
        ...

    def saved(self, entry: journal.Entry) -> bool:
        """Whether the program has saved something that was not taken yet."""
        ...

    def prepare(self, entry: journal.Entry, owner: str) -> None:
        """Claim its number for `owner`, then make its folders, code, environment and volumes."""
        ...

    def restore(self, entry: journal.Entry) -> None:
        """Lay its checkpoint, if it has one, where the program will look for it."""
        ...

    def start(self, entry: journal.Entry) -> None:
        """Have a supervisor stand by it: one that starts the program, or adopts the process of a killed one."""
        ...

    def tell(self, entry: journal.Entry) -> None:
        """Pass on bounds that have changed while it runs."""
        ...

    def stop(self, entry: journal.Entry) -> None:
        """Begin to end its whole tree: SIGTERM, after the grace SIGKILL. May be repeated."""
        ...

    def checkpoint(
        self,
        entry: journal.Entry,
        asked: spec.Request,
        step: Callable[[], int | None],
        given_up: Callable[[], bool],
    ) -> engine.Captured | engine.Failed:
        """Take one checkpoint."""
        ...

    def wait(self, entry: journal.Entry) -> observed.Exit:
        """Collect the outcome of what has ended, once the last of its output is in the store, or cannot get there soon."""
        ...

    def unknown(self, entry: journal.Entry) -> tuple[observed.Taken, ...]:
        """Return checkpoints that the store has and the entry lacks."""
        ...

    def ship(self, entry: journal.Entry) -> None:
        """Send output that has come to the store."""
        ...

    def remove(self, entry: journal.Entry, *, unshipped: bool) -> None:
        """Free everything it left, except its entry in the journal and output without a store.

        With `unshipped` also where the store does not take its output, which stays here then.
        """
        ...


class HostController:
    """`Controller` on this host's processes."""

    def __init__(self, about: setup.Setup, trees: codetree.CodeTrees) -> None:
        self._setup = about
        self._stores = checkpointing.Stores(about)
        self._checkpoints = checkpointing.Checkpointing(about, self._stores)
        pythons = environments.Environments(about.places.environments, about.account)
        self._workspace = workspace.Workspace(about, trees, pythons)
        self._supervisors: dict[spec.AttemptRef, process.Child] = {}
        self._shippers: dict[spec.AttemptRef, tuple[logs.Shipper, threading.Lock]] = {}

    def offers(self) -> Offers:
        """Any host has the application engine."""
        return Offers(engines=("application",))

    def known(self, ref: spec.AttemptRef) -> bool:
        """Ask the supervisor's files."""
        return process.look(self._setup.places.attempt(ref).supervisor).presence is not process.Presence.ABSENT

    def progress(self, entry: journal.Entry) -> progress.Source:
        """Return the file in its folders."""
        return progress.File(self._place(entry).progress)

    def remarks(self, entry: journal.Entry) -> dict[str, str]:
        """Return which limits nobody enforces, and whether volumes can be written that should not be."""
        found = {}
        if said := cgroups.unenforced(self._setup.groups, entry.spec.resources):
            found["limits"] = said
        if any(volume.read_only for volume in entry.spec.workload.volumes) and not self._setup.closes:
            found["volumes"] = "readOnly of volumes is not enforced: the agent is not root here, or may not mount"
        return found

    def look(self, entry: journal.Entry) -> process.Look:
        """Read the supervisor's files; a supervisor of ours that has ended is buried on the way."""
        child = self._supervisors.get(entry.ref)
        if child is not None:
            child.poll()
        folder = self._place(entry).supervisor
        found = process.look(folder)
        if found.presence is process.Presence.ABSENT and entry.started_at is not None and entry.exit is None:
            return dataclasses.replace(found, presence=process.Presence.ORPHANED)  # its record is gone, but it was started
        if found.presence is process.Presence.ORPHANED and entry.exit is not None and process.over(folder):
            return process.Look(presence=process.Presence.ENDED, exit=entry.exit)  # what we have noted of its end stands
        return found

    def saved(self, entry: journal.Entry) -> bool:
        """Ask the engine."""
        return self._checkpoints.saved(entry)

    def prepare(self, entry: journal.Entry, owner: str) -> None:
        """Claim first: whoever holds the number may run it, nobody else. A number that is another's may have run already."""
        what = entry.spec
        secretfiles.read(self._setup.secrets, what.tenant, what.workload.secrets)
        to = self._stores.get(what)
        if to is not None and not to.claim(entry.ref, owner, what.ledger):
            raise refusal.Superseded
        self._workspace.prepare(what)

    def restore(self, entry: journal.Entry) -> None:
        """Lay it out aside, then hand it over whole."""
        place = self._place(entry)
        if not entry.spec.restore or place.restore.is_dir():
            return
        try:
            self._checkpoints.restore(entry)
        except errors.Damaged as error:
            raise refusal.CannotStart(str(error), fatal=True, damaged=entry.spec.restore) from error
        self._workspace.hand_over(entry.ref)

    def start(self, entry: journal.Entry) -> None:
        """Start a supervisor unless one stands by; return once it does, or has ended."""
        place = self._place(entry)
        before = self.look(entry).presence
        child = self._supervisors.get(entry.ref)
        if before in (process.Presence.LIVE, process.Presence.ENDED) or (child is not None and child.poll() is None):
            return
        runs = before is process.Presence.ORPHANED
        secrets = dict.fromkeys(entry.spec.workload.secrets, "")
        with contextlib.suppress(errors.Refused) if runs else contextlib.nullcontext():
            # Who adopts needs them too, to keep them out of the output; those that are gone it needs by name.
            secrets = secretfiles.read(self._setup.secrets, entry.spec.tenant, entry.spec.workload.secrets)
        if before is process.Presence.ABSENT or (runs and not process.equipped(place.supervisor)):
            groups = self._setup.groups.create(str(entry.ref), entry.spec.resources) if self._setup.groups else {}
            told = self._workspace.bounds if runs else self._workspace.launch
            launch = told(entry.spec, entry.assignment.grace, groups)
            process.prepare(place.supervisor, launch, self._setup.account.pair if self._setup.account else None)
        if runs:
            process.note_started(place.supervisor)
        child = self._supervisors[entry.ref] = process.start(place.supervisor, secrets)
        end = self._setup.clock.monotonic() + START_SECONDS
        while self._setup.clock.monotonic() < end:
            now = process.look(place.supervisor).presence
            if now in (process.Presence.LIVE, process.Presence.ENDED):
                return
            if child.poll() is not None:
                raise errors.Unavailable(f"the supervisor ended with {child.status}: {process.trace(place.supervisor)}")
            self._setup.clock.wait(0.01)

    def tell(self, entry: journal.Entry) -> None:
        """Change the timeout of what runs, also for a supervisor that will adopt it."""
        place = self._place(entry)
        process.adjust(place.supervisor, timeout=entry.spec.timeout, grace=entry.assignment.grace)

    def stop(self, entry: journal.Entry) -> None:
        """Tell the supervisor. Without one there is nothing to do: the next step is to have one."""
        process.tell(self._place(entry).supervisor, {"stop": entry.assignment.grace})

    def checkpoint(
        self,
        entry: journal.Entry,
        asked: spec.Request,
        step: Callable[[], int | None],
        given_up: Callable[[], bool],
    ) -> engine.Captured | engine.Failed:
        """Ask the engine to."""
        return self._checkpoints.take(entry, asked, step, given_up)

    def wait(self, entry: journal.Entry) -> observed.Exit:
        """Read how it ended; what it had printed last is shipped first."""
        found = process.look(self._place(entry).supervisor).exit
        if found is None:
            raise errors.Unavailable("its end is not recorded yet", where=str(entry.ref))
        with contextlib.suppress(errors.PerdureError):  # the shipper goes on trying
            self.ship(entry)
        return found

    def unknown(self, entry: journal.Entry) -> tuple[observed.Taken, ...]:
        """Ask the store."""
        return self._checkpoints.unknown(entry)

    def ship(self, entry: journal.Entry) -> None:
        """Append to the store's log. One thread at a time for one attempt."""
        to = self._stores.get(entry.spec)
        if to is None:
            return
        known = self._shippers.get(entry.ref) or (logs.Shipper(self._place(entry), entry.ref), threading.Lock())
        shipper, lock = self._shippers.setdefault(entry.ref, known)  # its removal may have let go of it in between
        with lock:
            shipper.ship(to)

    def remove(self, entry: journal.Entry, *, unshipped: bool) -> None:
        """Ship the last output, or keep it here, then free folders and groups.

        Raises `errors.Unavailable` while the store takes no output.
        """
        stays = entry.spec.store is None
        try:
            self.ship(entry)
        except errors.PerdureError:
            if not unshipped:
                raise
            stays = True
        if stays:
            kept.keep(self._place(entry))
            kept.trim(self._setup.places.kept, self._setup.clock.now())
        self._shippers.pop(entry.ref, None)
        child = self._supervisors.pop(entry.ref, None)
        if child is not None:
            child.wait()
        if self._setup.groups is not None:
            self._setup.groups.remove(str(entry.ref))
        self._workspace.remove(entry.ref)

    def _place(self, entry: journal.Entry) -> places.Attempt:
        return self._setup.places.attempt(entry.ref)


def sweep(about: setup.Setup, trees: codetree.CodeTrees, book: journal.Journal, older: float) -> None:
    """Remove what crashes left and what nothing has used since POSIX time `older`. Only before the loop begins."""
    keep = {str(ref) for ref in [*book.entries, *book.damaged]}
    for folder in (about.places.jobs / "attempts").iterdir():
        if folder.name not in keep:
            folders.discard(folder)
    codes = {entry.spec.workload.code.tree for entry in book.entries.values() if entry.spec.workload.code}
    trees.sweep(codes, older)
    environments.Environments(about.places.environments, about.account).sweep(older)
    kept.trim(about.places.kept, about.clock.now())
    if about.groups is not None:
        about.groups.sweep(keep, older)
