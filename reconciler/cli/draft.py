"""Manifests of one revision while they are edited: their texts, and the patch that the edit amounts to."""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Iterable

from reconciler import errors
from reconciler.contracts import source
from reconciler.core import model
from reconciler.load import overlay, rewrite, text

Path = tuple[str, ...]

_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


class Draft:
    """The files of a revision, of which some are changed for one Job."""

    def __init__(self, tree: source.Tree, desired: model.Desired, job: model.Job) -> None:
        self.desired = desired
        self.job = job
        self._tree = tree
        self._oids = {entry.path: entry.oid for entry in tree.entries()}
        self._before: dict[str, bytes] = {}
        self._after: dict[str, bytes] = {}

    def set(self, path: Path, value: rewrite.Value | None, origin: model.Origin | None = None) -> None:
        """Set a field of the Job's manifest, or of the one that begins at `origin`; None removes it.

        Raises `errors.Refused` for a text that cannot be edited safely.
        """
        place = origin or self.job.origin
        data = self._content(place.file)
        mark = _BOM if data.startswith(_BOM) else b""
        found = text.decode(data)
        document = rewrite.document_at(text.decode(self._before[place.file]), place.line)
        try:
            if value is None:
                edited = rewrite.remove_field(found, document, path)
            else:
                edited = rewrite.set_field(found, document, path, value)
        except errors.Refused as refusal:
            raise errors.Refused(refusal.message, where=str(place), remedy=refusal.remedy) from refusal
        self._after[place.file] = mark + edited.encode()

    def add(self, name: str, document: str) -> None:
        """Add a manifest: as the file `name` beside the Job's, or below the Job's where no such file would be read."""
        path = posixpath.join(posixpath.dirname(self.job.origin.file), name)
        if overlay.reads(self._tree, path) and path not in self._oids:
            self._after[path] = document.encode()
            return
        data = self._content(self.job.origin.file)
        ending = b"\r\n" if b"\r\n" in data else b"\n"
        begun = b"" if data.endswith(b"\n") else ending
        self._after[self.job.origin.file] = data + begun + f"---\n{document}".encode().replace(b"\n", ending)

    def files(self) -> dict[str, bytes]:
        """Return what has changed."""
        return {path: data for path, data in self._after.items() if data != self._before.get(path)}

    def tree(self) -> overlay.Overlay:
        """Return the revision's tree as it would be."""
        return overlay.Overlay(self._tree, self.files())

    def patch(self) -> str:
        """Return the edit as `git apply` takes it."""
        return "".join(_patch(path, self._before.get(path), data) for path, data in sorted(self.files().items()))

    def _content(self, path: str) -> bytes:
        if path not in self._after:
            oid = self._oids[path]
            self._before[path] = self._after[path] = self._tree.read([oid])[oid]
        return self._after[path]


def _patch(path: str, before: bytes | None, after: bytes) -> str:
    names = ("/dev/null" if before is None else _name(f"a/{path}"), _name(f"b/{path}"))
    return "".join(_marked(difflib.unified_diff(_lines(before or b""), _lines(after), *names)))


def _lines(data: bytes) -> list[str]:
    return _LINE.findall(data.decode(errors="surrogateescape"))


def _name(path: str) -> str:
    """Return a name as git writes it in a patch: quoted where it must be, with a tab behind one that holds a space."""
    if '"' in path or "\\" in path:
        escaped = path.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return f"{path}\t" if " " in path else path


def _marked(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
