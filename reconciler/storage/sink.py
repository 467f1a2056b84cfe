"""Receives one image and publishes it: everything durable and read back first, the manifest's name last.

caller ─ pieces ─→ hash, compare ─ frames ─→ compress, encrypt, write ─ full packs ─→ sync, read back
commit: rest of the index → its sync and read back → names of the packs → manifest aside → sync → rename → sync of the folder
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import observed, spec
from reconciler.storage import (
    announced,
    claims,
    contents,
    digests,
    files,
    image,
    index,
    layout,
    leases,
    manifest,
    packs,
    parent,
    pipeline,
    publish,
    units,
)
from reconciler.storage.disk import File
from reconciler.storage.index import Ticket

LENT = 128 * 2**20
"""Most stored bytes of a parent that are read again for a checkpoint after which the source goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be written, by whom, where."""

    place: packs.Place
    where: str
    """The store, for messages."""
    meta: store.Meta
    signing: str = ""
    parent: str = ""
    base: image.PathImage | None = None
    """The parent, where its units may be used; held open so that no prune takes them away."""
    token: str
    """Names this writer's files."""
    lock: File
    """Locked for as long as this writer lives: its packs belong to no image yet and must not be swept."""
    room: Callable[[], None] = lambda: None
    """Raises `errors.Unavailable` when the store has reached its limit."""
    threads: int = 2
    progress: store.Progress | None = None


class _Series:
    """The packs of one image, one filled after the other."""

    def __init__(self, order: Order, full: Callable[[packs.PackWriter], None]) -> None:
        self._order = order
        self._full = full
        self._current: packs.PackWriter | None = None
        self._count = 0
        self._one = threading.Lock()
        self.sealed: dict[str, packs.Pack] = {}

    def write(self, ticket: Ticket, frame: bytes | bytearray) -> None:
        payload = packs.compress(frame)
        with self._one:
            if self._current is None:
                self._order.room()
                self._current = packs.PackWriter(self._order.place, f"{self._order.token}-{self._count:05d}")
                self._count += 1
            ticket.frame = self._current.append(payload, len(frame))
            if self._current.size >= packs.PACK:
                self.finish()

    def finish(self) -> None:
        """Hand over the pack being filled."""
        if self._current is not None:
            self._full(self._current)
            self._current = None

    def seal(self, pack: packs.PackWriter) -> None:
        self.sealed[pack.name] = pack.seal()

    def close(self) -> None:
        if self._current is not None:
            self._current.close()


class PathSink:
    """See `contracts.store.Sink`."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._announced = announced.Announced()
        self._bytes = 0
        self._state = "open"
        self._publication: publish.Publication | None = None
        self._failure = pipeline.Failure()
        side = 1 if order.threads else 0
        with self._explained():
            self._index_pack = packs.PackWriter(order.place, f"{order.token}-index")
        self._index = index.IndexWriter(self._index_pack)
        self._salt = digests.drawn(order.token) if order.base is None else digests.Salt(order.base.body.salt)
        self._base = None if order.base is None else parent.Parent(order.base.index, self._salt)
        self._settle = pipeline.Stage(self._seal, threads=side, depth=1, failure=self._failure)
        self._series = _Series(order, self._settle.put)
        self._pack = pipeline.Stage(self._write, threads=order.threads, depth=4, failure=self._failure)
        self._units = units.Gatherer(self._index, self._emit)
        self._hash = pipeline.Ordered(self._examine, self._take, threads=order.threads, depth=8, failure=self._failure)
        self._cut = units.Cutter(self._hash.put)

    def file(self, entry: store.FileEntry) -> None:
        """Announce a file before its extents. Raises `errors.InvalidInput` for one that cannot be part of an image."""
        self._check_open()
        self._announced.file(entry)

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Add bytes at `offset`."""
        self._check_open()
        length = memoryview(data).nbytes
        file = self._announced.extent(path, offset, length)
        with self._explained():
            self._cut.extent(file, offset, data)
        self._bytes += length
        if self._order.progress is not None:
            self._order.progress(self._bytes, None)

    def commit(self, step: int | None = None) -> tuple[observed.Taken, store.Usage]:
        """Make the image durable, read it back, verify it, and only then offer it."""
        self._check_open()
        if step is not None:
            self._order = dataclasses.replace(self._order, meta=dataclasses.replace(self._order.meta, step=step))
        try:
            with self._explained():
                body = self._settled()
                self._verify(body)
                digest = self._publish(body)
        except BaseException:
            self.abort()
            raise
        self._state = "committed"
        self._release()
        usage = store.Usage(
            logical_bytes=body.logical_bytes,
            stored_bytes=body.stored_bytes,
            new_units=self._units.new_units,
            reused_units=self._units.reused_units,
        )
        return body.taken(digest), usage

    def abort(self) -> None:
        """Drop everything received."""
        if self._state != "open":
            return
        self._state = "aborted"
        self._failure.set(errors.Unavailable("the checkpoint was given up"))
        for stage in (self._hash, self._pack, self._settle):
            stage.stop()
        self._series.close()
        self._index_pack.close()
        if self._publication is not None:
            self._publication.take_back()
        if self._publication is None or not self._publication.offered:
            self._remove_packs()  # else a sweep sees which packs the manifest that could not be taken back needs
        self._release()

    def _settled(self) -> manifest.Body:
        """Bring every byte but the manifest's to the disk and read it back; return what the manifest will say."""
        self._cut.flush()
        self._hash.finish()
        self._units.finish()
        self._pack.finish()
        self._series.finish()
        self._settle.finish()
        listed = self._announced.files()
        table = self._index.finish(listed)
        sealed, base = self._series.sealed, self._order.base
        listing = self._index_pack.seal()
        place = self._order.place
        place.disk.sync_folder(layout.packs(place.bond.run))
        held = {} if base is None else base.packs
        reused = [name for name in self._index.packs if name not in sealed]
        return manifest.Body(
            meta=self._order.meta,
            parent=self._order.parent,
            depth=base.body.depth + 1 if base is not None and reused else 0,
            salt=self._salt.value,
            files=len(listed),
            logical_bytes=sum(file.entry.size for file in listed),
            stored_bytes=sum(pack.size for pack in sealed.values()) + listing.size,
            packs=tuple(sealed[name] if name in sealed else place.rewrapped(held[name]) for name in self._index.packs),
            index=listing,
            contents=table,
        )

    def _verify(self, body: manifest.Body) -> None:
        """Check what the parent lends: all its bytes where the source ends after this, else as many as `LENT`.

        What was written for this image was read back when its packs were sealed.
        """
        place = self._order.place
        if lacking := contents.lacking(place, body, {}):
            raise errors.Damaged(f"{lacking}, which the parent lends", remedy="Take the checkpoint again without a parent.")
        if body.depth > 0:
            whole = contents.Contents(place, body)
            try:
                whole.check_lent(self._series.sealed, None if body.meta.purpose in spec.ENDING else LENT)
            finally:
                whole.close()

    def _publish(self, body: manifest.Body) -> str:
        order, disk = self._order, self._order.place.disk
        digest, content = manifest.encode(body, order.place.keyring, order.signing)
        self._publication = publish.Publication(disk, order.meta.run, digest, order.token)
        self._publication.prepare(content)
        order.room()
        disk.check()
        claims.check(disk, spec.AttemptRef(run=order.meta.run, attempt=order.meta.attempt))
        self._publication.offer()
        disk.check()
        return digest

    def _examine(self, piece: units.Piece) -> units.Examined | None:
        return units.examine(piece, self._salt, self._base)

    def _take(self, found: units.Examined | None) -> None:
        if found is not None:
            self._units.take(found)

    def _emit(self, ticket: Ticket, frame: bytes | bytearray) -> None:
        self._pack.put((ticket, frame))

    def _seal(self, pack: packs.PackWriter) -> None:
        self._failure.check()
        self._series.seal(pack)

    def _write(self, job: tuple[Ticket, bytes | bytearray]) -> None:
        self._failure.check()
        self._series.write(*job)

    def _remove_packs(self) -> None:
        disk, folder = self._order.place.disk, layout.packs(self._order.meta.run)
        with contextlib.suppress(OSError):
            for name in disk.names(folder):
                if name.startswith(self._order.token):
                    with contextlib.suppress(OSError):
                        disk.unlink(f"{folder}/{name}")

    def _release(self) -> None:
        disk = self._order.place.disk
        leases.end(disk, self._order.meta.run, self._order.token, self._order.lock)
        if self._order.base is not None:
            self._order.base.close()
        disk.close()

    def _check_open(self) -> None:
        if self._state != "open":
            raise errors.Refused(f"this checkpoint was {self._state} already")

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return files.explained(self._order.where)
