"""The stores: the real path store on a disk that forgets, as each process of the world sees it."""

from __future__ import annotations

import errno
import itertools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import model, observed, spec
from reconciler.storage import path
from reconciler.storage.disk import fake
from tests.simulation import process

if TYPE_CHECKING:
    from tests.simulation import machine, world

STATE = "state"


@contextmanager
def numbered_files() -> Iterator[None]:
    """Name the store's files by number instead of by chance, so that a seed gives the same bytes again."""
    numbers = itertools.count(1)
    with mock.patch.object(path, "_token", side_effect=lambda: f"{next(numbers):016x}"):
        yield


class Seat(fake.FakeDisk):
    """One process's use of a disk: when it is killed, its locks are gone, and only its."""

    def __init__(self, disk: fake.FakeDisk) -> None:
        super().__init__()
        self._root = disk._root
        self._held: weakref.WeakSet[fake.FakeFile] = weakref.WeakSet()

    def create(self, path: str) -> fake.FakeFile:
        """Create a file, and remember who has it open."""
        file = super().create(path)
        self._held.add(file)
        return file

    def open(self, path: str, *, write: bool = False) -> fake.FakeFile:
        """Open a file, and remember who has it open."""
        file = super().open(path, write=write)
        self._held.add(file)
        return file

    def leave(self) -> None:
        """The process was killed."""
        for file in list(self._held):
            file.close()


class Depot:
    """One shared store. Every process has a seat of its own at its disk."""

    def __init__(self, within: world.World, declared: model.StoreSpec) -> None:
        self._world = within
        self._declared = declared
        self._disk = fake.FakeDisk()
        self._seats: dict[str, Seat] = {}
        self._begun: weakref.WeakKeyDictionary[store.Sink, Seat] = weakref.WeakKeyDictionary()
        """Where each checkpoint that is being written was begun."""
        self.commits: list[int] = []
        """How many operations on the disk each commit took; 0: it was cut short."""
        self.unavailable = False
        self.full = False

    def seated(self, name: str, declared: model.StoreSpec) -> path.PathStore:
        """Return the store for the process called `name`. Raises `errors.Unavailable`."""
        if self.unavailable:
            raise errors.Unavailable("the store does not answer")
        seat = self._seats.setdefault(name, Seat(self._disk))
        seat.fault = fake.Fault(at=len(seat.trace) + 1, error=errno.ENOSPC, lasting=True) if self.full else None
        return path.PathStore(declared, store.Keys(), threads=0, open_disk=lambda: seat)

    def _of(self, host: machine.Machine, declared: model.StoreSpec) -> path.PathStore:
        if host.cut_from_stores:
            raise errors.Unavailable("the store cannot be reached from here")
        return self.seated(host.name, declared)

    def leave(self, name: str) -> None:
        """A process was killed: what it left stays, its locks do not."""
        seat = self._seats.pop(name, None)
        if seat is not None:
            seat.leave()

    # what agents do

    def claim(self, host: machine.Machine, declared: model.StoreSpec, ref: spec.AttemptRef, owner: str) -> bool:
        """Claim an attempt's number."""
        ours = self._of(host, declared).claim(ref, owner)
        if ours:
            self._world.watch.claimed(owner, ref)
        return ours

    def begin(self, host: machine.Machine, declared: model.StoreSpec, meta: store.Meta, parent: str) -> store.Sink:
        """Begin a checkpoint."""
        sink = self._of(host, declared).writer(meta, parent)
        self._begun[sink] = self._seats[host.name]
        return sink

    def fill(self, host: machine.Machine, sink: store.Sink, data: bytes) -> None:
        """Write its content."""
        self._reach(host, sink)
        sink.file(store.FileEntry(path=STATE, size=len(data)))
        sink.extent(STATE, 0, data[: store.UNIT])
        sink.extent(STATE, store.UNIT, data[store.UNIT :])

    def commit(self, host: machine.Machine, sink: store.Sink, ref: spec.AttemptRef) -> observed.Taken:
        """Commit it, unless the power of the store's machine or the agent's life ends at some operation of it."""
        self._reach(host, sink)
        seat = self._seats[host.name]
        superseded = self._world.watch.superseded(ref)
        cut = self._world.faults.cut_commit(len(self.commits))
        begun = len(seat.trace)
        if cut is not None:
            seat.fault = fake.Fault(at=len(seat.trace) + cut.at)
        try:
            taken, _ = sink.commit()
        except fake.PowerCut:
            assert cut is not None
            self._world.note(host.name, f"{cut.what} at operation {cut.at} of the commit")
            if not cut.kills:
                self.power_cut()
            self.commits.append(0)
            self._found_out(ref, superseded)
            if cut.kills:
                raise process.Killed from None
            raise errors.Unavailable("the store lost its power") from None
        seat.fault = None
        self.commits.append(len(seat.trace) - begun)
        self._world.watch.published(ref, taken, superseded)
        self._world.watch.acknowledged(taken)
        return taken

    def abort(self, host: machine.Machine, sink: store.Sink) -> None:
        """Give it up. What was begun before the store lost its power cannot even be given up."""
        if self._seats.get(host.name) is self._begun.get(sink):
            sink.abort()

    def _found_out(self, ref: spec.AttemptRef, superseded: bool) -> None:
        """A commit that was cut short may have come far enough."""
        for taken in self.truth().list(ref.run):
            if taken.attempt == ref.attempt:
                self._world.watch.published(ref, taken, superseded)

    def _reach(self, host: machine.Machine, sink: store.Sink) -> None:
        if self._seats.get(host.name) is not self._begun.get(sink):
            raise errors.Unavailable("the store lost its power while this was written")
        if host.cut_from_stores or self.unavailable:
            raise errors.Unavailable("the store cannot be reached from here")

    def read(self, host: machine.Machine, declared: model.StoreSpec, digest: str) -> bytes:
        """Return the content of a checkpoint."""
        with self._of(host, declared).open(digest) as image:
            return b"".join(data for _, data in image.extents(STATE))

    def list(self, host: machine.Machine, declared: model.StoreSpec, run: str) -> tuple[observed.Taken, ...]:
        """Return what the store offers of a run."""
        return self._of(host, declared).list(run)

    # what happens to it

    def power_cut(self) -> None:
        """The machine that holds the store loses its power: of what was not synced anything may be gone."""
        self._world.note("store", "power cut")
        self._disk = self._disk.after_power_cut(self._world.chance.randrange(1 << 30))
        self._seats.clear()
        self._world.watch.power_cut()

    def mend(self) -> None:
        """It answers, and has room."""
        self.unavailable = self.full = False

    def truth(self) -> path.PathStore:
        """Return the store for looking at it, whatever its faults."""
        return path.PathStore(self._declared, store.Keys(), threads=0, open_disk=lambda: Seat(self._disk))
