"""The files that a sink was told about, and which extents of them may still come."""

from __future__ import annotations

from reconciler import errors
from reconciler.contracts import store
from reconciler.storage import names
from reconciler.storage.index import Listed


class Announced:
    """Checks the order of a sink's calls. Raises `errors.InvalidInput` and says what was wrong with one."""

    def __init__(self) -> None:
        self._names = names.Names()
        self._files: dict[str, Listed] = {}
        self._ends: dict[str, int] = {}

    def file(self, entry: store.FileEntry) -> None:
        """Accept a file that can be part of an image and was not announced before."""
        self._names.add(entry)
        self._files[entry.path] = Listed(len(self._files), entry)

    def extent(self, path: str, offset: int, length: int) -> Listed:
        """Accept an extent behind those before, inside its file, of whole units unless the file ends with it."""
        file = self._files.get(path)
        if file is None or file.entry.kind != "file":
            raise errors.InvalidInput("extent of a file that was not announced", where=path)
        end, size = offset + length, file.entry.size
        if offset % store.UNIT or offset < self._ends.get(path, 0) or end > size or (end % store.UNIT and end != size):
            raise errors.InvalidInput(f"extent {offset}+{length} does not fit into this file of {size} bytes", where=path)
        self._ends[path] = end
        return file

    def files(self) -> list[Listed]:
        """Return the files in the order in which they came."""
        return list(self._files.values())
