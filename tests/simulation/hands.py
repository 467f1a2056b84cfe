"""What an agent can do to the attempts of a machine: claim, restore, start, save, stop, forget; each may be cut short."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent import controller, journal, progress, refusal
from agent import process as processes
from reconciler import errors
from reconciler.contracts import engine, store
from reconciler.core import observed, spec
from tests.simulation import process, program

if TYPE_CHECKING:
    from tests.simulation import agent

SAVING = 2.0
"""Seconds a program needs to write what a checkpoint consists of."""


class Hands:
    """`agent.controller.Controller` on a simulated machine."""

    def __init__(self, owner: agent.Agent) -> None:
        self._owner = owner
        self._host = owner.host
        self._world = owner.world

    def offers(self) -> controller.Offers:
        """Return what any host has."""
        return controller.Offers(engines=("application",))

    def known(self, ref: spec.AttemptRef) -> bool:
        """No entry is damaged here."""
        return False

    def progress(self, entry: journal.Entry) -> progress.Source:
        """Steps are told otherwise."""
        return progress.File(Path(os.devnull))

    def remarks(self, entry: journal.Entry) -> dict[str, str]:
        """Nothing is remarkable."""
        return {}

    def look(self, entry: journal.Entry) -> processes.Look:
        """Return what the supervisor's files say."""
        return self._host.look(entry.ref)

    def saved(self, entry: journal.Entry) -> bool:
        """Whether the program has saved on its own."""
        return self._host.disk.jobs[entry.ref].saved is not None

    def prepare(self, entry: journal.Entry, owner: str) -> None:
        """Claim the attempt's number."""
        declared = entry.spec.store
        if declared is not None:
            name = self._world.call(entry.ref)
            ours = self._owner.effect(f"claim {name}", lambda: self._world.depot.claim(self._host, declared, entry.ref, owner))
            if not ours:
                raise refusal.Superseded

    def restore(self, entry: journal.Entry) -> None:
        """Read the checkpoint to continue from."""
        wanted = entry.spec
        if not wanted.restore:
            return
        if wanted.store is None:
            raise errors.Refused("there is a checkpoint to restore, but no store")
        try:
            data = self._world.depot.read(self._host, wanted.store, wanted.restore)
        except errors.Damaged as error:
            raise refusal.CannotStart(error.message, damaged=wanted.restore) from error
        self._world.watch.restored(entry.ref, wanted.restore, data)
        step = program.step_of(data)

        def lay() -> None:
            self._host.disk.restored[entry.ref] = step

        self._owner.effect(f"restore {self._world.call(entry.ref)} at step {step}", lay)

    def start(self, entry: journal.Entry) -> None:
        """Have a supervisor stand by it."""
        name = self._world.call(entry.ref)
        self._owner.effect(f"start {name}", lambda: self._host.execute(entry.ref, entry.spec))

    def tell(self, entry: journal.Entry) -> None:
        """Nothing here depends on bounds that change."""

    def stop(self, entry: journal.Entry) -> None:
        """Tell the supervisor."""
        job = self._host.disk.jobs[entry.ref]
        if not job.stopping:
            self._world.watch.stopped(self._host.name, entry)
            name = self._world.call(entry.ref)
            self._owner.effect(f"stop {name}", lambda: self._host.stop(entry.ref, entry.assignment.grace))

    def checkpoint(
        self,
        entry: journal.Entry,
        asked: spec.Request,
        step: Callable[[], int | None],
        given_up: Callable[[], bool],
    ) -> engine.Captured | engine.Failed:
        """Ask the program, write what it has saved, commit it."""
        job, wanted = self._host.disk.jobs[entry.ref], entry.spec
        if wanted.store is None:
            return engine.Failed(reason="the Job names no store")
        name = self._world.call(entry.ref)
        if job.saved is None:
            self._wait(self._world.chance.uniform(0.1, SAVING))
            if not job.alive or given_up():
                return engine.Failed(reason="the program has ended")
            job.saved = job.step
        reached = job.saved
        sink: store.Sink | None = None
        try:
            sink = self._owner.effect(f"write {name} step {reached} for {asked.id}", lambda: self._write(entry, asked, reached))
            self._wait(self._world.chance.uniform(0.1, 1.0))
            ready = sink
            taken = self._owner.effect(
                f"commit {name} step {reached}", lambda: self._world.depot.commit(self._host, ready, entry.ref)
            )
        except errors.PerdureError as error:
            if sink is not None:
                self._world.depot.abort(self._host, sink)
            return engine.Failed(reason=error.message)
        job.saved = None
        return engine.Captured(taken=taken, usage=store.Usage(logical_bytes=0, stored_bytes=0))

    def wait(self, entry: journal.Entry) -> observed.Exit:
        """Return how it ended."""
        found = self._host.look(entry.ref).exit
        if found is None:
            raise errors.Unavailable("its end is not recorded yet", where=str(entry.ref))
        return found

    def unknown(self, entry: journal.Entry) -> tuple[observed.Taken, ...]:
        """Ask the store for checkpoints that the journal lacks."""
        if entry.spec.store is None:
            return ()
        known = {taken.digest for taken in entry.checkpoints}
        listed = self._world.depot.list(self._host, entry.spec.store, entry.ref.run)
        return tuple(taken for taken in listed if taken.attempt == entry.ref.attempt and taken.digest not in known)

    def ship(self, entry: journal.Entry) -> None:
        """There is no output."""

    def remove(self, entry: journal.Entry, *, unshipped: bool) -> None:
        """Free what it left."""

        def free() -> None:
            self._world.watch.forgotten(self._host.name, entry)
            self._host.disk.jobs.pop(entry.ref, None)
            self._host.disk.restored.pop(entry.ref, None)

        self._owner.effect(f"remove {self._world.call(entry.ref)}", free)

    def _write(self, entry: journal.Entry, asked: spec.Request, step: int) -> store.Sink:
        wanted = entry.spec
        assert wanted.store is not None
        meta = store.Meta(
            instance=wanted.instance,
            tenant=wanted.tenant,
            job=wanted.job,
            run=wanted.run,
            attempt=wanted.attempt,
            number=entry.checkpoints[-1].number + 1 if entry.checkpoints else 1,
            engine="application",
            taken_at=self._host.clock.now(),
            purpose=asked.purpose,
            request=asked.id,
            step=step,
        )
        parent = entry.checkpoints[-1].digest if entry.checkpoints else wanted.restore
        sink = self._world.depot.begin(self._host, wanted.store, meta, parent)
        self._world.depot.fill(self._host, sink, program.content(wanted.run, step))
        return sink

    def _wait(self, seconds: float) -> None:
        """Let others go on: a checkpoint takes its time, and is taken by a task with a thread of its own."""
        process.current().wait(seconds)
