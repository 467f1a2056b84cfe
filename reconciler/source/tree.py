"""The files of one revision, read from the mirror: nothing is checked out, no link is followed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from reconciler import errors
from reconciler.contracts.source import Entry
from reconciler.seams.git import address, faults, objects
from reconciler.seams.git.mirror import Mirror

LARGEST = 64 << 20
"""Bytes of a file beyond which it cannot be a manifest, so that it is not read into memory."""


class RevisionTree:
    """`contracts.source.Tree` over a commit in the mirror. Raises `errors.Unavailable` when an object is not to be had."""

    def __init__(self, mirror: Mirror, revision: str) -> None:
        self.revision = revision
        self._mirror = mirror

    def entries(self) -> Iterable[Entry]:
        """Return every file in path order; sizes only where they are known without fetching."""
        return self._entries

    def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        """Return contents by object id; what is larger than `LARGEST` is left out. Missing ones come in one exchange."""
        wanted = list(dict.fromkeys(oids))
        try:
            fill(self._mirror, self.revision, wanted)
            return self._mirror.read(wanted, LARGEST)
        except faults.Failed as failure:
            raise failure.error() from failure

    def tree_id(self, path: str) -> str | None:
        """Return the object id of a folder or file; of the whole tree for an empty path."""
        return self._ids.get(path.strip("/"))

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        return tuple(
            Entry(path=row.path, mode=row.mode, oid=row.oid, size=row.size) for row in self._rows if row.kind != "tree"
        )

    @cached_property
    def _ids(self) -> dict[str, str]:
        try:
            root = self._mirror.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{self.revision}^{{tree}}")
        except faults.Failed as failure:
            raise failure.error() from failure
        return {row.path: row.oid for row in self._rows if row.kind != "commit"} | {"": root.decode().strip()}

    @cached_property
    def _rows(self) -> tuple[objects.Row, ...]:
        try:
            return listed(self._mirror, self.revision, sizes=not self._mirror.partial)
        except faults.Failed as failure:
            raise failure.error() from failure


def listed(mirror: Mirror, tree: str, *, sizes: bool = False) -> tuple[objects.Row, ...]:
    """Return files and folders below a tree. Raises `errors.InvalidInput` for a name that no honest Git makes."""
    options = ["-r", "-t", "-z", "--full-tree", *(["-l"] if sizes else [])]
    found = tuple(objects.rows(mirror.git("ls-tree", *options, tree)))
    for row in found:
        if problem := address.path_problem(row.path):
            raise errors.InvalidInput(
                f"this path in the repository {problem}",
                where=address.shown(row.path)[:200],
                remedy="Remove it from the repository.",
            )
    return found


def fill(mirror: Mirror, root: str, oids: Iterable[str]) -> None:
    """Fetch those of `oids`, all of them below the tree of `root`, that a partial fetch has left out: in one exchange."""
    if not mirror.partial:
        return
    printed = mirror.git("rev-list", "--objects", "--missing=print", "--no-object-names", f"{root}^{{tree}}")
    missing = {line.removeprefix("?") for line in printed.decode().splitlines() if line.startswith("?")}
    if needed := missing.intersection(oids):
        mirror.bring(sorted(needed))
