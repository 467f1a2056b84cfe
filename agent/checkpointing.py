"""Taking and restoring one attempt's checkpoints with its engine and its store. Runs in worker threads, never in the loop."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from agent import account as accounts
from agent import journal, places, process, setup
from reconciler import errors
from reconciler.contracts import engine, store
from reconciler.core import observed, spec
from reconciler.engines import folder as folders


class Stores:
    """The stores of attempts."""

    def __init__(self, about: setup.Setup) -> None:
        self._open = about.open_store

    def get(self, what: spec.AttemptSpec) -> store.Store | None:
        """Return the attempt's store, None when it has none. Raises `errors.Unavailable`, `errors.Refused`."""
        return self._open(what.store) if what.store is not None else None


Site = Callable[[journal.Entry, Callable[[], bool]], engine.Site]
"""Returns where an attempt lives; the second argument tells whether to stop waiting for its program."""


class Checkpointing:
    """Takes and restores."""

    def __init__(
        self,
        about: setup.Setup,
        stores: Stores,
        site: Site | None = None,
        made_from: Callable[[journal.Entry], str] = lambda entry: "",
    ) -> None:
        """`site` tells where an attempt lives (None: in the folders of a process), `made_from` of which image it is made."""
        self._setup = about
        self._stores = stores
        self._site = site or self._process
        self._made_from = made_from
        self._unfit: set[str] = set()
        """Checkpoints that turned out to be damaged where something was to be built upon them: nothing more is."""

    def saved(self, entry: journal.Entry) -> bool:
        """Whether the program has saved something that was not taken yet. Cheap: asked at each look."""
        found = self._setup.engines.get(entry.spec.checkpoint.engine)
        return found is not None and found.saved(self._site(entry, lambda: False))

    def take(
        self,
        entry: journal.Entry,
        asked: spec.Request,
        step: Callable[[], int | None],
        given_up: Callable[[], bool],
    ) -> engine.Captured | engine.Failed:
        """Take one checkpoint. `step` is the newest step the program has reported; `given_up` ends the wait for the program."""
        found = self._setup.engines.get(entry.spec.checkpoint.engine)
        if found is None:
            return engine.Failed(reason=f"this host has no engine {entry.spec.checkpoint.engine.value!r}")

        def open_sink(saved: int | None) -> store.Sink:
            return self._sink(entry, asked, step() if saved is None else saved, found)

        return found.take(self._site(entry, given_up), open_sink, asked)

    def restore(self, entry: journal.Entry) -> None:
        """Lay the attempt's checkpoint out in `restoring`, where the program cannot see it yet.

        Raises `errors.Damaged`, `errors.Refused` (foreign, or no such), `errors.Unavailable`; leaves nothing behind then.
        """
        place = self._setup.places.attempt(entry.ref)
        folders.discard(place.restoring)
        with self.opened(entry) as image:
            self.lay_out(entry, image, place.restoring)

    @contextlib.contextmanager
    def opened(self, entry: journal.Entry) -> Iterator[store.Image]:
        """Yield the checkpoint that the attempt continues from. Raises as `restore`."""
        what = entry.spec
        source = self._stores.get(what)
        if source is None:
            raise errors.Refused("there is a checkpoint to restore, but no store to find it in")
        image = source.open(what.restore)
        try:
            if image.meta.tenant != what.tenant:
                raise errors.Refused(f"checkpoint {what.restore} belongs to another tenant")
            yield image
        finally:
            image.close()

    def lay_out(self, entry: journal.Entry, image: store.Image, into: Path) -> None:
        """Have the engine write an image into a folder that does not exist yet. Raises as `restore`."""
        found = self._setup.engines.get(entry.spec.checkpoint.engine)
        if found is None:
            raise errors.Refused("there is a checkpoint to restore, but no engine to do it with")
        found.prepare_restore(image, dataclasses.replace(self._site(entry, lambda: False), restore=into))

    def unknown(self, entry: journal.Entry) -> tuple[observed.Taken, ...]:
        """Return checkpoints of the attempt that the store has and the entry lacks: an agent was killed between the two.

        Raises `errors.Unavailable`.
        """
        source = self._stores.get(entry.spec)
        if source is None:
            return ()
        known = {taken.digest for taken in entry.checkpoints}
        listed = source.list(entry.spec.run)
        return tuple(taken for taken in listed if taken.attempt == entry.spec.attempt and taken.digest not in known)

    def _sink(self, entry: journal.Entry, asked: spec.Request, step: int | None, found: engine.Engine) -> store.Sink:
        what = entry.spec
        to = self._stores.get(what)
        if to is None:
            raise errors.Refused("the Job names no store", remedy="Set checkpoint.store.")
        meta = store.Meta(
            instance=what.instance,
            tenant=what.tenant,
            job=what.job,
            run=what.run,
            attempt=what.attempt,
            number=entry.checkpoints[-1].number + 1 if entry.checkpoints else 1,
            engine=what.checkpoint.engine.value,
            taken_at=self._setup.clock.now(),
            purpose=asked.purpose,
            request=asked.id,
            step=step,
            image=self._made_from(entry),
            processor=found.needs(),
        )
        parent = entry.checkpoints[-1].digest if entry.checkpoints else what.restore
        fit = parent not in self._unfit
        sink: store.Sink = to.writer(meta, parent if fit else "")
        if parent and fit:
            sink = Built(sink, lambda: self._unfit.add(parent))
        return Bounded(sink, what.checkpoint.max_size) if what.checkpoint.max_size is not None else sink

    def _process(self, entry: journal.Entry, given_up: Callable[[], bool]) -> engine.Site:
        place: places.Attempt = self._setup.places.attempt(entry.ref)
        return engine.Site(
            ref=entry.ref,
            checkpoints=place.checkpoint,
            restore=place.restore,
            request_file=place.request,
            progress_file=place.progress,
            signal=entry.spec.checkpoint.signal,
            send_signal=lambda name: process.tell(place.supervisor, {"signal": name}),
            hold=lambda still: _hold(place, still=still),
            aside=place.aside,
            owner=_owner(place, self._setup.account),
            alive=lambda: process.look(place.supervisor).presence is not process.Presence.ENDED,
            given_up=given_up,
        )


def _owner(place: places.Attempt, account: accounts.Account | None) -> tuple[int, int] | None:
    """Return whom the program's folder belongs to: another user than now where the agent was told another one since."""
    if account is None:
        return None
    with contextlib.suppress(OSError):
        status = place.checkpoint.lstat()
        if status.st_uid != 0:
            return status.st_uid, status.st_gid
    return account.pair


HOLD = 120.0
"""Most seconds that a program stands still while its last checkpoint is stored; then it goes on, and is asked again."""


def _hold(place: places.Attempt, *, still: bool) -> None:
    process.tell(place.supervisor, {"hold": HOLD} if still else {"release": True})


class Built:
    """A sink that tells when what it builds upon is damaged: raises `engine.Unfit` then."""

    def __init__(self, sink: store.Sink, unfit: Callable[[], None]) -> None:
        self._sink = sink
        self._unfit = unfit

    def file(self, entry: store.FileEntry) -> None:
        """Pass on."""
        self._sink.file(entry)

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Pass on; it is compared with what the parent has."""
        with self._told():
            self._sink.extent(path, offset, data)

    def commit(self, step: int | None = None) -> tuple[observed.Taken, store.Usage]:
        """Pass on; what the parent lends is read again."""
        with self._told():
            return self._sink.commit(step)

    def abort(self) -> None:
        """Pass on."""
        self._sink.abort()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except errors.Damaged as error:
            self._unfit()
            raise engine.Unfit(error.message, where=error.where, remedy=error.remedy) from error


class Bounded:
    """A sink that refuses more bytes than `checkpoint.maxSize` allows."""

    def __init__(self, sink: store.Sink, most: int) -> None:
        self._sink = sink
        self._most = most
        self._size = 0

    def file(self, entry: store.FileEntry) -> None:
        """Announce a file; holes count too, for restoring makes them again."""
        self._size += entry.size
        if self._size > self._most:
            raise errors.InvalidInput(
                f"the checkpoint is larger than checkpoint.maxSize ({self._most} bytes)",
                remedy="Save less, or raise the limit.",
            )
        self._sink.file(entry)

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Pass on."""
        self._sink.extent(path, offset, data)

    def commit(self, step: int | None = None) -> tuple[observed.Taken, store.Usage]:
        """Pass on."""
        return self._sink.commit(step)

    def abort(self) -> None:
        """Pass on."""
        self._sink.abort()
