"""The store in a folder that every host of the target reaches: any file system that has links and locks."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import model, observed, spec
from reconciler.storage import (
    claims,
    contents,
    files,
    image,
    keyring,
    layout,
    leases,
    listing,
    logs,
    manifest,
    packs,
    prune,
    sink,
)
from reconciler.storage.disk import Disk
from reconciler.storage.disk.local import LocalDisk

THREADS = 2


class PathStore:
    """See `contracts.store.Store`. May be used by several threads at once; what it returns may not."""

    def __init__(
        self,
        config: model.StoreSpec,
        keys: store.Keys,
        *,
        threads: int = THREADS,
        open_disk: Callable[[], Disk] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`threads` compress side by side; 0: everything happens in the caller's thread, in one order."""
        self._config = config
        self._keyring = keyring.Keyring(keys)
        self._threads = threads
        self._open_disk = open_disk or (lambda: LocalDisk(config.root, must_be_mounted=config.must_be_mounted))
        self._listings = listing.Listings(monotonic)
        self._where = f"store {config.name} ({config.root})"

    def claim(self, ref: spec.AttemptRef, owner: str, ledger: str = "") -> bool:
        """Create `runs/<run>/attempts/<n>` exclusively, for the run's own ledger only."""
        with self._disk() as disk:
            if ledger:
                claims.enter(disk, ref.run, ledger, _token())
            return claims.claim(disk, ref, owner, _token())

    def writer(self, meta: store.Meta, parent: str = "", progress: store.Progress | None = None) -> sink.PathSink:
        """Return a sink for one image; unchanged units of `parent` are not stored again.

        A parent that is gone, damaged or may not be built upon (other run, other keys, too long a line) costs room, not the
        checkpoint: the image is stored in full. Raises `errors.Refused` for a parent of another tenant, a missing key or an
        attempt that was not claimed, `errors.Busy` for a superseded one.
        """
        self._keyring.require(signing=self._config.signing, encryption=self._config.encryption)
        with contextlib.ExitStack() as undo, files.explained(self._where):
            disk = self._open_disk()
            undo.callback(disk.close)
            claims.check(disk, spec.AttemptRef(run=meta.run, attempt=meta.attempt))
            if leases.writers(disk, meta.run).dead:  # their packs take the room that this one may need
                prune.sweep(disk, meta.run)
            base = self._base(meta, parent)
            if base is not None:
                undo.callback(base.close)
            token, lock = leases.begin(disk, meta.run, _token)
            undo.callback(leases.end, disk, meta.run, token, lock)
            order = sink.Order(
                place=self._place(disk, meta.tenant, meta.run),
                where=self._where,
                meta=meta,
                signing=self._config.signing,
                parent=parent,
                base=base,
                token=token,
                lock=lock,
                room=lambda: self._check_room(disk),
                threads=self._threads,
                progress=progress,
            )
            order.room()
            found = sink.PathSink(order)
            undo.pop_all()
            return found

    def open(self, digest: str) -> image.PathImage:
        """Return a complete image. It stays safe from prune until it is closed."""
        with contextlib.ExitStack() as undo, files.explained(self._where):
            disk = self._open_disk()
            undo.callback(disk.close)
            home = self._home(disk, digest)
            try:
                found, file = image.read_manifest(disk, home, digest)
            except FileNotFoundError as error:
                raise errors.Refused(
                    "the store has no such checkpoint", where=digest, remedy="See `perdure checkpoints`."
                ) from error
            undo.callback(file.close)
            self._check_owner(found, home)
            opened = image.PathImage(self._place(disk, found.body.meta.tenant, home), found, file)
            undo.pop_all()
            return opened

    def list(self, run: str) -> tuple[observed.Taken, ...]:
        """Return the complete images of a run, oldest first. What is damaged or not ours is not offered."""
        with self._disk() as disk:
            names, read = partial(prune.digests, disk, run), partial(self._offered, disk, run)
            return self._listings.get(disk, run, names, read)

    def _offered(self, disk: Disk, run: str, digests: listing.Digests) -> listing.Listing:
        found, sizes = [], dict[str, int]()
        for digest in digests:
            with contextlib.suppress(errors.Damaged, errors.Refused, FileNotFoundError):
                one, file = image.read_manifest(disk, run, digest)
                file.close()
                self._check_owner(one, run)
                if not contents.lacking(self._place(disk, one.body.meta.tenant, run), one.body, sizes):
                    found.append(one.body.taken(digest))
        return tuple(sorted(found, key=lambda taken: (taken.attempt, taken.number, taken.taken_at, taken.digest)))

    def runs(self) -> Iterable[str]:
        """Return the runs that have anything here."""
        with self._disk() as disk:
            return _runs(disk)

    def verify(self, digest: str, progress: store.Progress | None = None) -> store.Verified:
        """Re-hash every byte of an image."""
        try:
            with self.open(digest) as found:
                found.check(progress)
                body = found.body
        except (errors.Damaged, errors.Refused) as error:
            where = f"{error.where}: " if error.where and error.where != digest else ""
            text = f"{where}{error.message}"
            return store.Verified(digest=digest, ok=False, problems=(f"{text}. {error.remedy}" if error.remedy else text,))
        stored = sum(pack.size for pack in (*body.packs, body.index))
        return store.Verified(digest=digest, ok=True, logical_bytes=body.logical_bytes, stored_bytes=stored)

    def prune(self, plan: store.Prune, now: float) -> tuple[str, ...]:
        """Tombstone the images of `plan`, delete those whose tombstone is older than the grace, then unreachable packs."""
        with self._disk() as disk:
            if plan.digests and not _runs(disk):  # else an unmounted folder would count as everything deleted
                raise errors.Unavailable("the store is empty, although checkpoints of it are known", where=self._where)
            here = prune.prune(disk, plan, now, _token())
        return tuple(digest for digest in plan.digests if digest not in here)

    def sweep(self, now: float, runs: Iterable[str] | None = None) -> None:
        """Remove what crashes left. Locks tell who lives, so no clock is asked.

        Something else in the place of one run's files keeps no other from being swept, and is told then.
        """
        foreign: OSError | None = None
        with self._disk() as disk:
            if runs is None:
                for name in disk.names(""):
                    if layout.ASIDE.fullmatch(name):
                        files.discard(disk, name)
            for run in _runs(disk) if runs is None else runs:
                try:
                    prune.sweep(disk, run)
                except OSError as error:
                    if error.errno not in files.FOREIGN:
                        raise
                    foreign = error
            if foreign is not None:
                raise foreign

    def health(self) -> store.Health:
        """Say whether it can be read and written now: by writing, syncing and removing a file."""
        try:
            self._keyring.require(signing=self._config.signing, encryption=self._config.encryption)
            with self._disk() as disk:
                limit, space, probe = self._config.max_size, disk.space(), f".{_token()}"
                used = None if limit is None else _used(disk)
                file = disk.create(probe)
                try:
                    file.write(b"perdure\n")
                    file.sync()
                finally:
                    file.close()
                    files.discard(disk, probe)
        except errors.PerdureError as error:
            return store.Health(ok=False, detail=error.message, remedy=error.remedy)
        free = space.free if limit is None or used is None else max(min(space.free, limit - used), 0)
        return store.Health(ok=free > 0, detail="" if free > 0 else "the store is full", free_bytes=free, used_bytes=used)

    def append_log(self, ref: spec.AttemptRef, offset: int, data: bytes) -> int:
        """Write log bytes at `offset`; return the length then durable."""
        with self._disk() as disk:
            return logs.append(disk, ref, offset, data)

    def read_log(self, ref: spec.AttemptRef, offset: int, limit: int) -> bytes:
        """Return up to `limit` log bytes from `offset`."""
        with self._disk() as disk:
            return logs.read(disk, ref, offset, limit)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[Disk]:
        with files.explained(self._where):
            disk = self._open_disk()
            try:
                yield disk
            finally:
                disk.close()

    def _place(self, disk: Disk, tenant: str, run: str) -> packs.Place:
        bond = packs.Bond(tenant=tenant, run=run)
        return packs.Place(disk=disk, keyring=self._keyring, encryption=self._config.encryption, bond=bond)

    def _check_owner(self, found: manifest.Manifest, run: str) -> None:
        """Refuse what is not signed as the store asks, or lies under another run than its own."""
        meta = found.body.meta
        if self._config.signing:
            found.check_signature(self._keyring)
        if meta.run != run:
            raise errors.Refused(
                f"this checkpoint belongs to run {meta.run} of job {meta.tenant}/{meta.job}",
                where=found.digest,
                remedy="Somebody put it under another run; it can be used only where it was written.",
            )

    def _base(self, meta: store.Meta, parent: str) -> image.PathImage | None:
        """Return the parent, opened, where its units may be used."""
        if not parent:
            return None
        try:
            found = self.open(parent)
        except (errors.Damaged, errors.Refused):
            return None
        if found.meta.tenant != meta.tenant:
            found.close()
            raise errors.Refused("the parent belongs to another tenant", where=parent, remedy="Start without a parent.")
        if self._may_lend(found, meta.run):
            return found
        found.close()
        return None

    def _may_lend(self, found: image.PathImage, run: str) -> bool:
        keys = [pack.key for pack in (*found.body.packs, found.body.index)]
        encrypted = bool(self._config.encryption)
        return (
            found.meta.run == run
            and not found.is_going()
            and found.body.depth < manifest.DEEPEST
            and all((key is not None) == encrypted for key in keys)
            and all(key is None or self._keyring.can_unwrap(key) for key in keys)
        )

    def _home(self, disk: Disk, digest: str) -> str:
        for run in _runs(disk):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if layout.MANIFEST in disk.names(layout.image(run, digest)):
                    return run
        raise errors.Refused("the store has no such checkpoint", where=digest, remedy="See `perdure checkpoints`.")

    def _check_room(self, disk: Disk) -> None:
        limit = self._config.max_size
        if limit is not None and (used := _used(disk)) > limit:
            raise errors.Unavailable(
                f"the store is full: {used} bytes of maxSize {limit} are in use",
                where=self._where,
                remedy="Raise maxSize, keep fewer checkpoints, or shorten retention.",
            )


def _token() -> str:
    return secrets.token_hex(8)


def _runs(disk: Disk) -> tuple[str, ...]:
    try:
        return tuple(name for name in disk.names(layout.RUNS) if layout.is_run(name))
    except FileNotFoundError:
        return ()


def _used(disk: Disk) -> int:
    total = 0
    for run in _runs(disk):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in disk.names(layout.packs(run)):
                with contextlib.suppress(FileNotFoundError):
                    total += disk.size(f"{layout.packs(run)}/{name}")
    return total
