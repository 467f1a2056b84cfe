"""What a revision's tree would be with some files changed: an edit is loaded before anybody pushes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from reconciler.contracts.source import Entry, Tree
from reconciler.load import layout

_FILE = "100644"


class Overlay:
    """A tree with files written over it; None removes one."""

    def __init__(self, tree: Tree, files: Mapping[str, bytes | None]) -> None:
        self.revision = tree.revision
        self._tree = tree
        self._files = {path: data for path, data in files.items() if data is not None}
        self._changed = frozenset(files)
        self._ids = {_id(path, data): data for path, data in self._files.items()}

    def entries(self) -> Iterable[Entry]:
        """Return every file, in path order."""
        kept = {entry.path: entry for entry in self._tree.entries()}
        modes = {path: entry.mode for path, entry in kept.items()}
        written = {
            path: Entry(path=path, mode=modes.get(path, _FILE), oid=_id(path, data), size=len(data))
            for path, data in self._files.items()
        }
        found = {**{path: entry for path, entry in kept.items() if path not in self._changed}, **written}
        return [found[path] for path in sorted(found)]

    def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        """Return contents by object id."""
        wanted = set(oids)
        ours = {oid: data for oid, data in self._ids.items() if oid in wanted}
        return {**self._tree.read(wanted - ours.keys()), **ours}

    def tree_id(self, path: str) -> str | None:
        """Return an id of a folder or file: another one where something below it has changed."""
        own = self._tree.tree_id(path)
        touched = sorted(name for name in self._changed if path in ("", name) or name.startswith(f"{path}/"))
        if not touched:
            return own
        present = own is not None or any(name in self._files for name in touched)
        return _id(own or "", *(self._files.get(name, b"") for name in touched)) if present else None


def reads(tree: Tree, path: str) -> bool:
    """Return whether a manifest at `path` would be read, as `perdure.yaml` and `.perdureignore` have it."""
    return any(entry.path == path for entry in layout.select(Overlay(tree, {path: b""})).entries)


def _id(name: str, *contents: bytes) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogateescape"))
    for content in contents:
        digest.update(b"\0%d\0" % len(content) + content)
    return digest.hexdigest()
