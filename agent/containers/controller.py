"""The verbs of an attempt that is a container. Each is idempotent, so that a step cut short by a crash is simply done again."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from agent import checkpointing, controller, journal, process, progress, refusal, secretfiles, setup
from agent.containers import body, books, counting, exits, interposed, provenance, room, seam, shipping, sites, view
from reconciler import errors
from reconciler.contracts import engine
from reconciler.core import container, model, observed, processor, spec
from reconciler.engines import folder as folders

_log = logging.getLogger("perdure.agent")


class ContainerController:
    """`agent.controller.Controller` on a container engine."""

    def __init__(
        self,
        about: setup.Setup,
        docker: seam.Docker,
        stores: checkpointing.Stores,
        trouble: Callable[[], str] = lambda: "",
        offered: Callable[[], str] = lambda: "",
    ) -> None:
        """`trouble` tells why containers cannot be checkpointed on this host, as far as it is not their engine's doing;
        `offered` what their checkpoints find of a processor here (`core.processor`)."""
        self._setup = about
        self._docker = docker
        self._stores = stores
        self._trouble = trouble
        self._offered = offered
        self.books = books.Books(about.places)
        self.view = view.View(docker, about.clock)
        self._provenance = provenance.Provenance(docker, self.books, about.places.data)
        self._sites = sites.Sites(about, docker, self.books, self.view)
        self._checkpoints = checkpointing.Checkpointing(about, stores, self._sites.site, self._provenance.of)
        self._seen: dict[spec.AttemptRef, process.Look] = {}
        self._moved: dict[spec.AttemptRef, float] = {}
        self._enders: dict[spec.AttemptRef, threading.Thread] = {}
        self._saving: dict[spec.AttemptRef, threading.Lock] = {}
        self._shipping = shipping.Shipping(about, docker, stores, self.view)

    def offers(self) -> controller.Offers:
        """Return whether there is an engine that answers, and whether its containers can be checkpointed."""
        about = self.view.about
        if about is None:
            return controller.Offers(conditions=(f"{container.NO_ENGINE}: {self.view.trouble}",))
        facts = {"docker.version": about.version} | ({"swarm.node": about.node} if about.node else {})
        strangers = self._strangers()
        if why := self.obstacle():
            told = (f"{container.NO_CHECKPOINTS}: {why}", *strangers)
            return controller.Offers(engines=("docker",), conditions=told, facts=facts)
        offered = self._offered()
        facts |= {processor.FACT: offered} if offered else {}
        return controller.Offers(engines=("criu", "docker"), conditions=strangers, facts=facts)

    def _strangers(self) -> tuple[str, ...]:
        """Say which attempts' containers run that nothing here knows of: an agent with other data has begun them."""
        sight = self.view.newest
        ours = sight.attempts.items() if sight is not None else ()
        found = [each.id[:12] for ref, each in ours if each.state in seam.ALIVE and not self._setup.places.has(ref)]
        if not found:
            return ()
        remedy = f"`docker rm --force {' '.join(sorted(found))}` ends them"
        return (f"unrecorded: containers run here of attempts that this agent knows nothing of; {remedy}",)

    def obstacle(self) -> str:
        """Return why containers cannot be checkpointed here; empty when they can."""
        about = self.view.about
        return (interposed.obstacle(about) if about else self.view.trouble) or self._trouble()

    def known(self, ref: spec.AttemptRef) -> bool:
        """Whether it may ever have run here."""
        with contextlib.suppress(errors.PerdureError):
            listed = self.view.recent().of(ref)
            if listed is not None and listed.state is not seam.State.CREATED:
                return True
        return self.books.get(ref).begun

    def progress(self, entry: journal.Entry) -> progress.Source:
        """Return where the program counts its steps."""
        return self._sites.counts(entry)

    def remarks(self, entry: journal.Entry) -> dict[str, str]:
        """The engine enforces all that is asked of it."""
        del entry
        return {}

    def restore_folder(self, ref: spec.AttemptRef) -> Path:
        """Return where an attempt's checkpoint is laid out."""
        return Path(self.books.get(ref).restore)

    def moves(self, ref: spec.AttemptRef) -> None:
        """Note that its container is about to be made: a list from before says nothing about it any more."""
        self._moved[ref] = self._setup.clock.monotonic()

    def look(self, entry: journal.Entry) -> process.Look:
        """Return what the newest list says; while the engine does not answer, what was seen last: containers outlive it.

        Except one that was ended by its own checkpoint, and one that we have not begun: they need not wait for an engine that
        was shut down to come back.
        Raises `errors.Unavailable` where nothing was seen yet.
        """
        try:
            sight = self.view.recent()
        except errors.Unavailable:
            if self._ended_unlisted(entry):
                exit, now = exits.decide(None, self.books.get(entry.ref), saved=True), self._setup.clock.now()
                return process.Look(presence=process.Presence.ENDED, started_at=entry.started_at, ended_at=now, exit=exit)
            if entry.ref in self._seen:
                return self._seen[entry.ref]
            if entry.spec.created_by is spec.Creator.AGENT and not self.books.get(entry.ref).begun:
                return process.Look(presence=process.Presence.ABSENT)
            raise
        found = self._seen[entry.ref] = self._look(entry, sight)
        return found

    def _look(self, entry: journal.Entry, sight: view.Sight) -> process.Look:
        record = self.books.get(entry.ref)
        if sight.at < self._moved.get(entry.ref, 0.0):
            return process.Look(presence=process.Presence.STARTING)  # the list is older than what we did
        listed = sight.of(entry.ref, record.container)
        if listed is not None and _past_us(entry, record, listed):
            self._end(entry, books.Ending.PAST_US, at_once=True)
            return process.Look(presence=process.Presence.STARTING)
        saved = _saved_at_end(entry, record)
        if listed is None and record.begun:
            exit, now = exits.decide(None, record, saved=saved), self._setup.clock.now()
            return process.Look(presence=process.Presence.ENDED, started_at=entry.started_at, ended_at=now, exit=exit)
        if listed is None or listed.state is seam.State.CREATED:
            return process.Look(presence=process.Presence.ABSENT, image=record.exactly)
        detail = self.view.detail(listed)
        if listed.state in seam.OVER and detail is not None:
            exit = exits.decide(detail, record, saved=saved)
            began = None if record.ending is books.Ending.PAST_US else detail.started_at
            return process.Look(presence=process.Presence.ENDED, started_at=began, ended_at=detail.ended_at, exit=exit)
        started = detail.started_at if detail is not None else entry.started_at
        self._mind(entry, record, started)
        held = (
            f"its container is paused: `docker unpause {listed.id[:12]}` lets it go on"
            if listed.state is seam.State.PAUSED
            else ""
        )
        return process.Look(presence=process.Presence.LIVE, started_at=started, held=held)

    def saved(self, entry: journal.Entry) -> bool:
        """Ask the engine, where programs save of their own accord."""
        return entry.spec.checkpoint.engine is model.EngineName.APPLICATION and self._checkpoints.saved(entry)

    def prepare(self, entry: journal.Entry, owner: str) -> None:
        """Claim first: whoever holds the number may run it, nobody else. Then the image, and what it is shown of the host."""
        what, own = entry.spec, self._setup.places
        if what.created_by is spec.Creator.AGENT:  # a Swarm has secrets of its own, and shows them as files
            secretfiles.read(self._setup.secrets, what.tenant, what.workload.secrets)
        guarded = [str(own.data), str(own.jobs), *([what.store.root] if what.store else [])]
        room.check_volumes(what.workload.volumes, guarded)
        if what.checkpoint.engine is model.EngineName.CRIU and (why := self.obstacle()):
            raise refusal.CannotStart(why)
        to = self._stores.get(what)
        if to is not None and not to.claim(entry.ref, owner, what.ledger):
            raise refusal.Superseded
        self._provenance.settle(entry.ref, what.workload.image)
        self._free_restore(entry.ref)  # of an earlier try, which a power cut may have cut short
        room.make(own.attempt(entry.ref))

    def restore(self, entry: journal.Entry) -> None:
        """Lay the checkpoint out aside, then name it: a folder that the record does not name is none."""
        what, place, record = entry.spec, self._setup.places.attempt(entry.ref), self.books.get(entry.ref)
        if not what.restore or (record.restore and Path(record.restore).is_dir()):
            return
        try:
            with self._checkpoints.opened(entry) as image:
                self._provenance.keep_to(entry, image.meta)
                whole = room.inside(place) / "restore" if body.contract(what) else room.for_restore(place, entry.ref, image)
                partial = whole.with_name(whole.name + room.PARTIAL)
                folders.discard(partial)
                folders.discard(whole)
                self._checkpoints.lay_out(entry, image, partial)
        except errors.Damaged as error:
            raise refusal.CannotStart(str(error), fatal=True, damaged=what.restore) from error
        if body.contract(what):
            room.readable(partial)
        partial.rename(whole)
        self.books.set(entry.ref, restore=str(whole), counted=counting.laid_out(whole))

    def start(self, entry: journal.Entry) -> None:
        """Have the engine start its container, made first where there is none; one that runs or has run is adopted."""
        if entry.spec.created_by is spec.Creator.ENGINE:
            return  # whoever was told to create it does, and the judge grants it
        record = self.books.get(entry.ref)
        listed = self.view.now().of(entry.ref, record.container)
        if listed is not None and listed.state is not seam.State.CREATED:
            return
        if listed is None and record.begun:
            return  # it ran and was removed: `look` says so
        if record.failed:
            raise refusal.CannotStart(record.failed)  # what was granted once is not granted again
        if entry.spec.checkpoint.engine is model.EngineName.CRIU:
            self.view.look()  # it may have been told to call another runtime since it was prepared
            if self.view.about is None:
                raise errors.Unavailable(self.view.trouble)
            if why := self.obstacle():
                raise refusal.CannotStart(why)
        made = listed.id if listed is not None else self._create(entry, record)
        self.books.set(entry.ref, container=made, begun=True)
        try:
            self._docker.start(made)
        except errors.Refused as error:  # the interposer has said why in fewer words than its engine repeats them with
            raise refusal.CannotStart(self.books.get(entry.ref).failed or error.message) from error
        finally:
            self._moved[entry.ref] = self._setup.clock.monotonic()

    def tell(self, entry: journal.Entry) -> None:
        """Nothing is to be passed on: the bounds are read at each look."""

    def stop(self, entry: journal.Entry) -> None:
        """Begin to end it: its stop signal, after the grace SIGKILL; at once where its checkpoint is all that counts."""
        saved = _saved_at_end(entry, self.books.get(entry.ref))
        at_once = saved and entry.spec.checkpoint.engine is model.EngineName.CRIU
        self._end(entry, books.Ending.STOP, at_once=at_once)

    def checkpoint(
        self,
        entry: journal.Entry,
        asked: spec.Request,
        step: Callable[[], int | None],
        given_up: Callable[[], bool],
    ) -> engine.Captured | engine.Failed:
        """Ask the engine to, one at a time for a container."""
        with self._saving.setdefault(entry.ref, threading.Lock()):
            if entry.spec.checkpoint.engine is model.EngineName.CRIU and self._over(entry.ref):
                return engine.Failed(reason="its container has ended")
            ends = asked.then_stop or asked.purpose in spec.ENDING
            if ends:
                self.books.set(entry.ref, served=asked.id)
            outcome = self._checkpoints.take(entry, asked, step, given_up)
            if ends and isinstance(outcome, engine.Captured):
                self.books.set(entry.ref, stored=asked.id)
            return outcome

    def wait(self, entry: journal.Entry) -> observed.Exit:
        """Return how it ended; what it had printed last is shipped first.

        One that was killed after it had been asked for its last checkpoint may have been ended by it: only the store knows.
        """
        found, record = self.look(entry), self.books.get(entry.ref)
        if found.exit is None:
            raise errors.Unavailable("its end is not known yet", where=str(entry.ref))
        self.hold_output(entry.ref, record.container)  # once its end is told, a Swarm may remove it
        with contextlib.suppress(errors.PerdureError):  # the shipper goes on trying
            self._shipping.ship(entry, self._written(entry), at_end=True)
        doubtful = found.exit.signal == 9 or found.exit.kind is exits.Kind.UNKNOWN
        asks = record.served and doubtful and not found.exit.stopped
        if asks and any(exits.ends(taken, record) for taken in self.unknown(entry)):
            return exits.decide(None, record, saved=True)
        return found.exit

    def unknown(self, entry: journal.Entry) -> tuple[observed.Taken, ...]:
        """Ask the store."""
        return self._checkpoints.unknown(entry)

    def hold_output(self, ref: spec.AttemptRef, container: str) -> None:
        """Keep what it prints to its end, also where whoever ends it removes it."""
        self._shipping.hold(ref, container)

    def ship(self, entry: journal.Entry) -> None:
        """Take over what the engine has, into our own files, and from there to the store."""
        self._shipping.ship(entry, self._written(entry), at_end=False)

    def remove(self, entry: journal.Entry, *, unshipped: bool) -> None:
        """Ship the last output, or keep it, then remove container and folders. Raises `errors.Unavailable` while one stays."""
        listed = self.view.now().of(entry.ref, self.books.get(entry.ref).container)
        self._shipping.finish(entry, listed, unshipped=unshipped)
        if listed is not None:
            self._docker.remove(listed.id)
        self._free_restore(entry.ref)
        folders.discard(self._setup.places.attempt(entry.ref).shared)
        self.books.forget(entry.ref)
        self._shipping.forget(entry.ref)
        self._moved.pop(entry.ref, None)
        self._seen.pop(entry.ref, None)
        self._enders.pop(entry.ref, None)
        self._saving.pop(entry.ref, None)

    def _recent(self, entry: journal.Entry) -> seam.Listed | None:
        return self.view.recent().of(entry.ref, self.books.get(entry.ref).container)

    def _ended_unlisted(self, entry: journal.Entry) -> bool:
        """Whether it has ended by its own checkpoint, as far as that is known without its engine."""
        record = self.books.get(entry.ref)
        return record.stored != "" and record.stored == record.served and self._sites.removed(entry)

    def _written(self, entry: journal.Entry) -> seam.Listed | None:
        """Return whose output is to be read; None where nothing is left to ask its engine for. Raises `errors.Unavailable`."""
        try:
            return self._recent(entry)
        except errors.Unavailable:
            if not self._ended_unlisted(entry):
                raise
            return None

    def _over(self, ref: spec.AttemptRef) -> bool:
        """Whether its container is known not to run. Nothing is asked: an engine that starts or shuts down waits for us."""
        try:
            listed = self.view.recent().of(ref, self.books.get(ref).container)
        except errors.Unavailable:
            return False
        return listed is None or listed.state in (*seam.OVER, seam.State.CREATED)

    def _create(self, entry: journal.Entry, record: books.Record) -> str:
        what, place = entry.spec, self._setup.places.attempt(entry.ref)
        secrets = secretfiles.read(self._setup.secrets, what.tenant, what.workload.secrets)
        about = self.view.about
        wanted = body.create(
            what,
            record.image,
            secrets,
            inside=str(room.inside(place)) if body.contract(what) else "",
            runtime=(interposed.runtime(about) or "") if about is not None else "",
            grace=entry.assignment.grace,
        )
        try:
            return self._docker.create(container.name(entry.ref), wanted)
        except errors.Busy as error:
            found = self.view.now().of(entry.ref)
            if found is None:
                raise refusal.CannotStart(f"a container that is not ours has the name {container.name(entry.ref)}") from error
            return found.id

    def _mind(self, entry: journal.Entry, record: books.Record, started: float | None) -> None:
        """What is due for a container that runs: the end of its time, and of what it was restored from."""
        if record.restore and not body.contract(entry.spec):
            self._free_restore(entry.ref)
        timeout = entry.spec.timeout
        if timeout is not None and started is not None and self._setup.clock.now() > started + timeout:
            self._end(entry, books.Ending.TIMEOUT)

    def _end(self, entry: journal.Entry, why: books.Ending, *, at_once: bool = False) -> None:
        """Have a thread end it, unless one is at it."""
        before = self._enders.get(entry.ref)
        listed = self._recent(entry)
        if listed is None or (before is not None and before.is_alive()):
            return
        self.books.end(entry.ref, why)
        grace = entry.assignment.grace

        def deliver() -> None:
            try:
                if at_once:
                    self._docker.kill(listed.id, "SIGKILL")
                else:
                    self._docker.stop(listed.id, grace)
            except errors.PerdureError as error:  # it is told again
                with contextlib.suppress(errors.PerdureError):
                    self.view.now()
                if not self._over(entry.ref):  # its own checkpoint may have been quicker
                    _log.warning("%s: %s", entry.ref, error)

        thread = self._enders[entry.ref] = threading.Thread(target=deliver, name="end", daemon=True)
        thread.start()

    def _free_restore(self, ref: spec.AttemptRef) -> None:
        record = self.books.get(ref)
        if record.restore:
            folders.discard(Path(record.restore))
            with contextlib.suppress(errors.Unavailable):  # its journal is gone already
                self.books.set(ref, restore="")


def _past_us(entry: journal.Entry, record: books.Record, listed: seam.Listed) -> bool:
    """Whether it runs from its beginning although it is to go on from a checkpoint: nobody has asked for its grant."""
    runs = listed.state in seam.ALIVE
    criu = entry.spec.checkpoint.engine is model.EngineName.CRIU
    return runs and criu and bool(entry.spec.restore) and not record.granted


def _saved_at_end(entry: journal.Entry, record: books.Record) -> bool:
    return any(exits.ends(taken, record) for taken in entry.checkpoints)
