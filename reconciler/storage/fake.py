"""The store's promises in memory: deterministic, without threads, keys or files. It passes the same tests as the real one."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import codec, lineage, observed, spec
from reconciler.storage import announced, export

UNIT = store.UNIT


@dataclass(slots=True, eq=False)
class Kept:
    """One complete image."""

    taken: observed.Taken
    meta: store.Meta
    files: dict[str, store.FileEntry]
    units: dict[str, dict[int, bytes]]
    """By file: unit → bytes, zeros left out."""
    since: float | None = None
    """When its tombstone was set."""
    readers: int = 0
    damaged: bool = False


class FakeStore:
    """See `contracts.store.Store`."""

    def __init__(self) -> None:
        self.broken = ""
        """While not empty, every method raises `errors.Unavailable` with this text."""
        self.images: dict[str, Kept] = {}
        self._claims: dict[spec.AttemptRef, str] = {}
        self._ledgers: dict[str, str] = {}
        self._logs: dict[spec.AttemptRef, bytearray] = {}
        self._serial = 0

    def claim(self, ref: spec.AttemptRef, owner: str, ledger: str = "") -> bool:
        """Give a number to the first who asks, unless there is a higher one."""
        self._check()
        if ledger and self._ledgers.setdefault(ref.run, ledger) != ledger:
            raise errors.Refused("the store holds this run for another repository", where=ref.run)
        ours = self._claims.setdefault(ref, owner) == owner
        return ours and not any(each.run == ref.run and each.attempt > ref.attempt for each in self._claims)

    def writer(self, meta: store.Meta, parent: str = "", progress: store.Progress | None = None) -> FakeSink:
        """Return a sink for one image."""
        self._check()
        self.check_claim(meta)
        base = self.images.get(parent)
        if base is not None and base.meta.tenant != meta.tenant:
            raise errors.Refused("the parent belongs to another tenant", where=parent)
        lends = base is not None and base.meta.run == meta.run and base.since is None and not base.damaged
        return FakeSink(self, meta, parent, base if lends else None, progress)

    def open(self, digest: str) -> FakeImage:
        """Return a complete image."""
        self._check()
        kept = self.images.get(digest)
        if kept is None:
            raise errors.Refused("the store has no such checkpoint", where=digest)
        if kept.damaged:
            raise errors.Damaged("a pack is missing", where=digest)
        return FakeImage(kept)

    def list(self, run: str) -> tuple[observed.Taken, ...]:
        """Return the complete images of a run, oldest first."""
        self._check()
        found = [kept.taken for kept in self.images.values() if kept.meta.run == run and not kept.damaged]
        return tuple(sorted(found, key=lambda taken: (taken.attempt, taken.number, taken.taken_at, taken.digest)))

    def runs(self) -> Iterable[str]:
        """Return the runs that have anything here."""
        self._check()
        refs = {ref.run for ref in (*self._claims, *self._logs)}
        return sorted(refs | {kept.meta.run for kept in self.images.values()})

    def verify(self, digest: str, progress: store.Progress | None = None) -> store.Verified:
        """Say whether an image is there and whole."""
        try:
            self.open(digest).close()
        except (errors.Damaged, errors.Refused) as error:
            return store.Verified(digest=digest, ok=False, problems=(error.message,))
        taken = self.images[digest].taken
        if progress is not None:
            progress(taken.logical_bytes, taken.logical_bytes)
        return store.Verified(digest=digest, ok=True, logical_bytes=taken.logical_bytes, stored_bytes=taken.stored_bytes)

    def prune(self, plan: store.Prune, now: float) -> tuple[str, ...]:
        """Tombstone the images of `plan`, delete those whose tombstone is older than the grace."""
        self._check()
        own = {digest: kept for digest, kept in self.images.items() if kept.meta.run == plan.run}
        for digest in plan.keep:
            if digest in own:
                own[digest].since = None
        for digest in plan.digests:
            kept = own.get(digest)
            if kept is None or digest in plan.keep or self._last(kept, plan):
                continue
            kept.since = now if kept.since is None else min(kept.since, now)
            if now - kept.since >= plan.grace and not kept.readers:
                del self.images[digest]
        return tuple(digest for digest in plan.digests if digest not in own or digest not in self.images)

    def sweep(self, now: float, runs: Iterable[str] | None = None) -> None:
        """Do nothing: nothing partial is ever visible here."""
        self._check()

    def health(self) -> store.Health:
        """Say whether it can be used now."""
        return store.Health(ok=not self.broken, detail=self.broken)

    def append_log(self, ref: spec.AttemptRef, offset: int, data: bytes) -> int:
        """Write log bytes at `offset`."""
        self._check()
        log = self._logs.setdefault(ref, bytearray())
        if offset <= len(log):
            log += data[len(log) - offset :]
        return len(log)

    def read_log(self, ref: spec.AttemptRef, offset: int, limit: int) -> bytes:
        """Return up to `limit` log bytes from `offset`."""
        self._check()
        return bytes(self._logs.get(ref, b"")[offset : offset + limit])

    def check_claim(self, meta: store.Meta) -> None:
        """Refuse an attempt that was not claimed, or not last."""
        numbers = [ref.attempt for ref in self._claims if ref.run == meta.run]
        if meta.attempt not in numbers:
            raise errors.Refused(f"attempt {meta.attempt} was not claimed in the store", where=meta.run)
        if max(numbers) > meta.attempt:
            raise errors.Busy(f"attempt {meta.attempt} was superseded by attempt {max(numbers)}", where=meta.run)

    def publish(self, sink: FakeSink) -> observed.Taken:
        """Offer what a sink received."""
        self._check()
        self.check_claim(sink.meta)
        self._serial += 1
        content = hashlib.sha256()
        for path, units in sink.units.items():
            for unit, data in units.items():
                content.update(f"{path}\0{unit}\0".encode() + data)
        digest = codec.digest([self._serial, sink.meta, sink.parent, list(sink.files.values()), content.hexdigest()])
        taken = observed.Taken(
            digest=digest,
            attempt=sink.meta.attempt,
            number=sink.meta.number,
            taken_at=sink.meta.taken_at,
            purpose=sink.meta.purpose,
            request=sink.meta.request,
            step=sink.meta.step,
            logical_bytes=sum(entry.size for entry in sink.files.values()),
            stored_bytes=sink.new * UNIT,
            parent=sink.parent,
            processor=sink.meta.processor,
        )
        self.images[digest] = Kept(taken, sink.meta, sink.files, sink.units)
        return taken

    def _last(self, kept: Kept, plan: store.Prune) -> bool:
        """Return whether it is the newest of a run that would keep others: it goes only together with all of them."""
        run = {digest: one.taken for digest, one in self.images.items() if one.meta.run == kept.meta.run}
        newest = lineage.newest(run.values())
        return newest is kept.taken and not set(run) <= set(plan.digests)

    def _check(self) -> None:
        if self.broken:
            raise errors.Unavailable(self.broken, where="store")


class FakeSink:
    """See `contracts.store.Sink`."""

    def __init__(
        self, home: FakeStore, meta: store.Meta, parent: str, base: Kept | None, progress: store.Progress | None
    ) -> None:
        self.meta = meta
        self.parent = parent
        self.files: dict[str, store.FileEntry] = {}
        self.units: dict[str, dict[int, bytes]] = {}
        self.new = 0
        self.reused = 0
        self._home = home
        self._base = base
        self._progress = progress
        self._announced = announced.Announced()
        self._state = "open"
        self._bytes = 0

    def file(self, entry: store.FileEntry) -> None:
        """Announce a file before its extents."""
        self._check_open()
        self._announced.file(entry)
        self.files[entry.path] = entry
        self.units[entry.path] = {}

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Add bytes at `offset`."""
        self._check_open()
        self._announced.extent(path, offset, memoryview(data).nbytes)
        old = self._base.units.get(path, {}) if self._base is not None else {}
        content = bytes(data)
        for at in range(0, len(content), UNIT):
            unit, block = (offset + at) // UNIT, content[at : at + UNIT].ljust(UNIT, b"\0")
            if any(block):
                self.units[path][unit] = block
                same = old.get(unit) == block
                self.new, self.reused = self.new + (not same), self.reused + same
        self._bytes += len(content)
        if self._progress is not None:
            self._progress(self._bytes, None)

    def commit(self, step: int | None = None) -> tuple[observed.Taken, store.Usage]:
        """Offer the image."""
        self._check_open()
        self.meta = self.meta if step is None else dataclasses.replace(self.meta, step=step)
        self._state = "aborted"
        taken = self._home.publish(self)
        self._state = "committed"
        usage = store.Usage(
            logical_bytes=taken.logical_bytes, stored_bytes=taken.stored_bytes, new_units=self.new, reused_units=self.reused
        )
        return taken, usage

    def abort(self) -> None:
        """Drop everything received."""
        if self._state == "open":
            self._state = "aborted"

    def _check_open(self) -> None:
        if self._state != "open":
            raise errors.Refused(f"this checkpoint was {self._state} already")


@dataclass(slots=True, eq=False)
class FakeImage:
    """See `contracts.store.Image`."""

    _kept: Kept
    digest: str = field(init=False)
    meta: store.Meta = field(init=False)
    _open: bool = True

    def __post_init__(self) -> None:
        self.digest, self.meta = self._kept.taken.digest, self._kept.meta
        self._kept.readers += 1

    def entries(self) -> Iterable[store.FileEntry]:
        """Return its files, folders first."""
        return sorted(self._kept.files.values(), key=lambda entry: (entry.kind != "directory", entry.path))

    def extents(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, data) of a file."""
        if path not in self._kept.files:
            raise errors.InvalidInput("the checkpoint has no such file", where=path)
        size = self._kept.files[path].size
        for unit, data in sorted(self._kept.units[path].items()):
            if self._kept.damaged:
                raise errors.Damaged("the bytes are not what was written", where=path)
            yield unit * UNIT, data[: size - unit * UNIT]

    def export(self, directory: str) -> None:
        """Write all files below an empty directory."""
        export.export(self, directory)

    def close(self) -> None:
        """Let it be pruned again."""
        if self._open:
            self._open = False
            self._kept.readers -= 1
