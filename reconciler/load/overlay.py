"""What a revision's tree would be with some files changed: an edit is loaded before anybody pushes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from reconciler.contracts.source import Entry, Tree
from reconciler.load import layout

_FILE = "100644"


class Overlay:
    """A tree with files written over it."""

    def __init__(self, tree: Tree, files: Mapping[str, bytes]) -> None:
        self.revision = tree.revision
        self._tree = tree
        self._files = files
        self._contents = {_id(path, data): data for path, data in files.items()}

    def entries(self) -> Iterable[Entry]:
        """Return every file, in path order."""
        found = {entry.path: entry for entry in self._tree.entries()}
        for path, data in self._files.items():
            mode = found[path].mode if path in found else _FILE
            found[path] = Entry(path=path, mode=mode, oid=_id(path, data), size=len(data))
        return [found[path] for path in sorted(found)]

    def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        """Return contents by object id."""
        wanted = set(oids)
        ours = {oid: data for oid, data in self._contents.items() if oid in wanted}
        return {**self._tree.read(wanted - ours.keys()), **ours}

    def tree_id(self, path: str) -> str | None:
        """Return an id of a folder or file: another one where something below it has changed."""
        own = self._tree.tree_id(path)
        touched = sorted(name for name in self._files if path in ("", name) or name.startswith(f"{path}/"))
        return _id(own or "", *(self._files[name] for name in touched)) if touched else own


def reads(tree: Tree, path: str) -> bool:
    """Return whether a manifest at `path` would be read, as `perdure.yaml` and `.perdureignore` have it."""
    return any(entry.path == path for entry in layout.select(Overlay(tree, {path: b""})).entries)


def _id(name: str, *contents: bytes) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogateescape"))
    for content in contents:
        digest.update(b"\0%d\0" % len(content) + content)
    return digest.hexdigest()
