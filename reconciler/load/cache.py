"""Parsed files of the revision before, so that a new revision costs what has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.contracts.source import Entry, Tree
from reconciler.load import parallel
from reconciler.load.documents import File

BATCH_BYTES = 16 << 20
"""Content read in one exchange, so that a large repository is never in memory as a whole."""

_UNKNOWN_SIZE = 4096


class Cache:
    """Holds the files of the last revision by path and blob id. Not for several threads."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}

    def files(self, tree: Tree, entries: Sequence[Entry]) -> list[File]:
        """Return the parsed files of a revision in the order of `entries`; only unknown blobs are read and parsed."""
        if not entries:
            return []  # a revision whose layout is refused says nothing about the files
        known = self._files
        missing = [entry for entry in entries if (file := known.get(entry.path)) is None or file.oid != entry.oid]
        fresh: dict[str, File] = {}
        for batch in _batches(missing):
            contents = tree.read([entry.oid for entry in batch])
            fresh.update((file.path, file) for file in parallel.parse(batch, contents))
        self._files = {entry.path: fresh.get(entry.path) or known[entry.path] for entry in entries}
        return list(self._files.values())


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.size if entry.size is not None else _UNKNOWN_SIZE
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
