"""Containers' output: from the engine into this host's files, from there to the stores."""

from __future__ import annotations

import contextlib
import threading

from agent import checkpointing, journal, kept, logs, secretfiles, setup
from agent.containers import output, seam, unread, view
from agent.supervisor import processes
from reconciler import errors
from reconciler.core import model, spec


class Shipping:
    """Ships every attempt's output. May be used by many threads at once."""

    def __init__(self, about: setup.Setup, docker: seam.Docker, stores: checkpointing.Stores, seen: view.View) -> None:
        self._setup = about
        self._docker = docker
        self._stores = stores
        self._view = seen
        self._calm = output.Calm()
        self._locks: dict[spec.AttemptRef, threading.Lock] = {}
        self._pumps: dict[spec.AttemptRef, tuple[output.Pump, logs.Shipper]] = {}
        self._held: dict[spec.AttemptRef, unread.Unread] = {}
        self._root = ""

    def hold(self, ref: spec.AttemptRef, container: str) -> None:
        """Keep what its engine writes down from now on, also where it removes the container: its end is asked for."""
        root = self._data()
        if root and ref not in self._held:
            with contextlib.suppress(OSError):  # not to be seen from here, or of another kind: the engine is asked, as ever
                self._held[ref] = unread.Unread(root, container)

    def ship(self, entry: journal.Entry, found: seam.Listed | None, *, at_end: bool) -> None:
        """Ship what there is of `found`'s output; `at_end`: whatever it costs. Raises `errors.Unavailable`.

        One thread at a time for an attempt.
        """
        place = self._setup.places.attempt(entry.ref)
        with self._locks.setdefault(entry.ref, threading.Lock()):
            if not place.private.is_dir() or (found is not None and found.state is seam.State.CREATED):
                return  # it was removed meanwhile, or has not said a word yet
            if entry.ref not in self._pumps:
                continued = bool(entry.spec.restore) and entry.spec.checkpoint.engine is model.EngineName.CRIU
                pump = output.Pump(place, self._secrets(entry, found), continued=continued)
                self._pumps[entry.ref] = pump, logs.Shipper(place, entry.ref)
            pump, shipper = self._pumps[entry.ref]
            if found is not None:
                self._pump(entry.ref, pump, found, at_end=at_end)
            elif entry.ref in self._held:
                pump.run(self._held[entry.ref], "", over=True)
            if (to := self._stores.get(entry.spec)) is not None:
                shipper.ship(to)

    def finish(self, entry: journal.Entry, found: seam.Listed | None, *, unshipped: bool) -> None:
        """Ship the last output, or keep it here where no store takes it. Raises `errors.Unavailable` unless `unshipped`."""
        place, stays = self._setup.places.attempt(entry.ref), entry.spec.store is None
        try:
            self.ship(entry, found, at_end=True)
        except errors.PerdureError:
            if not unshipped:
                raise
            stays = True
        if stays:
            kept.keep(place)
            kept.trim(self._setup.places.kept, self._setup.clock.now())

    def forget(self, ref: spec.AttemptRef) -> None:
        """Let go of an attempt."""
        self._calm.forget(ref)
        if (held := self._held.pop(ref, None)) is not None:
            held.close()
        self._pumps.pop(ref, None)
        self._locks.pop(ref, None)

    def _pump(self, ref: spec.AttemptRef, pump: output.Pump, found: seam.Listed, *, at_end: bool) -> None:
        if not at_end and not self._calm.worth(ref, found.id, self._data(), self._setup.clock.monotonic()):
            return
        try:
            pump.run(self._docker, found.id, over=found.state in seam.OVER)
        except seam.Gone:
            self._calm.forget(ref)
        except errors.PerdureError:
            self._calm.forget(ref)  # what was not had is asked for again
            raise

    def _data(self) -> str:
        """Return where the engine keeps its data, also while it does not answer; empty until it has said so."""
        if (about := self._view.about) is not None:
            self._root = about.root
        return self._root

    def _secrets(self, entry: journal.Entry, found: seam.Listed | None) -> set[str]:
        """Return the values that must not be read in its output: of now, of when it was made, of when its program was started.

        The last differ from those before where it was restored with its memory after a rotation.
        """
        names, values = entry.spec.workload.secrets, set[str]()
        with contextlib.suppress(errors.Refused):  # the files of some are gone since
            values |= set(secretfiles.read(self._setup.secrets, entry.spec.tenant, names).values())
        if names and found is not None:
            with contextlib.suppress(seam.Gone):
                detail = self._docker.inspect(found.id)
                inside = {each.decode(errors="replace") for each in processes.environment(detail.pid)} if detail.pid else set()
                pairs = (each.partition("=") for each in inside.union(detail.variables))
                values |= {value for name, _, value in pairs if name in names and value}
        return values
