"""A controller without processes, and workers without threads, for those who test what uses them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from agent import controller, journal, process, progress, workers
from reconciler import errors
from reconciler.contracts import engine, store
from reconciler.core import observed, spec

T = TypeVar("T")


class Inline:
    """`agent.workers.Workers` that do everything at once."""

    def do(self, work: Callable[[], T]) -> workers.Task[T]:
        """Do `work` before returning."""
        task = workers.Task(work)
        task.run()
        return task


@dataclass(slots=True, kw_only=True)
class FakeController:
    """`agent.controller.Controller` that counts what it is told and plays the process."""

    calls: Counter[str] = field(default_factory=Counter)
    """How often each verb was called."""
    broken: dict[str, errors.PerdureError] = field(default_factory=dict)
    """What a verb raises."""
    presence: dict[spec.AttemptRef, process.Presence] = field(default_factory=dict)
    exits: dict[spec.AttemptRef, observed.Exit] = field(default_factory=dict)
    saves: bool = True
    """Whether a checkpoint that is asked for comes."""
    unasked: set[spec.AttemptRef] = field(default_factory=set)
    """Attempts that have saved on their own."""

    def offers(self) -> controller.Offers:
        """Any host has the application engine."""
        return controller.Offers(engines=("application",))

    def known(self, ref: spec.AttemptRef) -> bool:
        """Whether an earlier verb has made a process."""
        return ref in self.presence

    def progress(self, entry: journal.Entry) -> progress.Source:
        """There is none."""
        return progress.File(Path(os.devnull))

    def remarks(self, entry: journal.Entry) -> dict[str, str]:
        """All is had."""
        del entry
        return {}

    def look(self, entry: journal.Entry) -> process.Look:
        """Return what the test, or an earlier verb, has made of the process."""
        presence = self.presence.get(entry.ref, process.Presence.ABSENT)
        started = None if presence is process.Presence.ABSENT else 1.0
        ended = presence is process.Presence.ENDED
        return process.Look(
            presence=presence,
            started_at=started,
            ended_at=2.0 if ended else None,
            exit=self.exits.get(entry.ref, _well()) if ended else None,
        )

    def saved(self, entry: journal.Entry) -> bool:
        """Whether the attempt stands in `unasked`."""
        return entry.ref in self.unasked

    def prepare(self, entry: journal.Entry, owner: str) -> None:
        """Count."""
        del entry, owner
        self._did("prepare")

    def restore(self, entry: journal.Entry) -> None:
        """Count."""
        del entry
        self._did("restore")

    def start(self, entry: journal.Entry) -> None:
        """The process lives."""
        self._did("start")
        self.presence[entry.ref] = process.Presence.LIVE

    def tell(self, entry: journal.Entry) -> None:
        """Count."""
        del entry
        self._did("tell")

    def stop(self, entry: journal.Entry) -> None:
        """The process has ended."""
        self._did("stop")
        self.end(entry.ref, observed.Exit(kind=observed.ExitKind.SIGNALED, signal=15, stopped=True))

    def checkpoint(
        self,
        entry: journal.Entry,
        asked: spec.Request,
        step: Callable[[], int | None],
        given_up: Callable[[], bool],
    ) -> engine.Captured | engine.Failed:
        """One more checkpoint, where `saves` says so."""
        del given_up
        self._did("checkpoint")
        if not self.saves:
            return engine.Failed(reason="it is deaf")
        self.unasked.discard(entry.ref)
        number = self.calls["checkpoint"]
        taken = observed.Taken(
            digest=f"sha256:{number:064}",
            attempt=entry.spec.attempt,
            taken_at=float(number),
            purpose=asked.purpose,
            request=asked.id,
            step=step(),
        )
        return engine.Captured(taken=taken, usage=store.Usage(logical_bytes=1, stored_bytes=1))

    def wait(self, entry: journal.Entry) -> observed.Exit:
        """Return how it ended."""
        self._did("wait")
        return self.exits.get(entry.ref, _well())

    def unknown(self, entry: journal.Entry) -> tuple[observed.Taken, ...]:
        """There is none."""
        del entry
        return ()

    def ship(self, entry: journal.Entry) -> None:
        """Count."""
        del entry
        self._did("ship")

    def remove(self, entry: journal.Entry, *, unshipped: bool) -> None:
        """The attempt is no more."""
        del unshipped
        self._did("remove")
        self.presence.pop(entry.ref, None)

    def end(self, ref: spec.AttemptRef, exit: observed.Exit) -> None:
        """Let the process end now."""
        self.presence[ref] = process.Presence.ENDED
        self.exits[ref] = exit

    def _did(self, verb: str) -> None:
        self.calls[verb] += 1
        if verb in self.broken:
            raise self.broken[verb]


def _well() -> observed.Exit:
    return observed.Exit(kind=observed.ExitKind.EXITED, code=0)
