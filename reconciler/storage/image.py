"""A complete image, opened: locked against being pruned for as long as it is open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from reconciler import errors
from reconciler.contracts import store
from reconciler.storage import contents, export, files, layout, manifest, packs
from reconciler.storage.disk import Disk, File


def read_manifest(disk: Disk, run: str, digest: str) -> tuple[manifest.Manifest, File]:
    """Return an image's manifest and its open file. Raises `FileNotFoundError` when the store has no such image."""
    path = f"{layout.image(run, digest)}/{layout.MANIFEST}"
    with files.in_place(path, digest):
        file = disk.open(path)
    try:
        if file.size() > manifest.LARGEST:
            raise errors.Damaged("the manifest is too long to be one", where=digest)
        return manifest.decode(file.read(0, manifest.LARGEST), digest), file
    except BaseException:
        file.close()
        raise


class PathImage:
    """See `contracts.store.Image`."""

    def __init__(self, place: packs.Place, found: manifest.Manifest, lock: File) -> None:
        self.digest = found.digest
        self.meta = found.body.meta
        self.body = found.body
        self._place = place
        self._lock = lock
        self._where = f"checkpoint {found.digest[:19]}"
        with files.explained(self._where):
            if not lock.lock(exclusive=False) or not lock.linked():
                raise errors.Refused("the checkpoint is being pruned", where=self._where, remedy="Choose another one.")
            if lacking := contents.lacking(place, found.body, {}):
                raise errors.Damaged(lacking, where=self._where)
            self._contents = contents.Contents(place, found.body)
        self.index = self._contents.index
        self.packs = self._contents.packs

    def entries(self) -> Iterable[store.FileEntry]:
        """Return its files, folders first."""
        return self._contents.entries()

    def extents(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, data) of a file."""
        if path not in self.index.files:
            raise errors.InvalidInput("the checkpoint has no such file", where=path)
        with files.explained(self._where):
            yield from self._contents.extents(path)

    def export(self, directory: str) -> None:
        """Write all files below an empty directory."""
        export.export(self, directory)

    def check(self, progress: store.Progress | None = None) -> None:
        """Re-hash every byte. Raises `errors.Damaged`."""
        with files.explained(self._where):
            self._contents.check(progress)

    def is_going(self) -> bool:
        """Return whether it has a tombstone."""
        with files.explained(self._where):
            return layout.TOMBSTONE in self._place.disk.names(layout.image(self.meta.run, self.digest))

    def close(self) -> None:
        """Let it be pruned again, and the store unmounted."""
        self._contents.close()
        self._lock.close()
        self._place.disk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
