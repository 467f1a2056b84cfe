"""The code of a run as a tar archive, built from objects one by one.

`git archive` would honour attributes that come with the repository (export-subst, export-ignore, filters): a run's code
would not be what its digest says. Times and owners are zero, so that equal trees are equal archives.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from reconciler import errors
from reconciler.seams.git import faults, objects
from reconciler.seams.git.mirror import Mirror
from reconciler.source import tree

SINGLE = "code"
"""Name of the only member where the object is a file."""

LINK = "120000"
EXECUTABLE = "100755"


def stream(mirror: Mirror, oid: str) -> Iterator[bytes]:
    """Yield the archive of a tree or blob in pieces.

    Links are kept where they stay inside; a submodule is an empty folder. Raises `errors.Unavailable` when an object is not
    to be had, `errors.InvalidInput` naming a link that leads outside.
    """
    try:
        rows = _rows(mirror, oid)
        with mirror.reader() as reader:
            for row in rows:
                yield from _member(reader, row)
    except faults.Failed as failure:
        raise failure.error() from failure
    yield bytes(2 * tarfile.BLOCKSIZE)


def _rows(mirror: Mirror, oid: str) -> list[objects.Row]:
    kind = mirror.kinds([oid]).get(oid)
    if kind == "blob":
        return [objects.Row(path=SINGLE, mode="100644", kind="blob", oid=oid)]
    if kind is None:
        raise errors.Unavailable("the code is not here", where=oid, remedy="Fetch the repository again.")
    rows = [row for row in tree.listed(mirror, oid) if row.kind != "tree"]
    tree.fill(mirror, oid, [row.oid for row in rows])
    return rows


def _member(reader: objects.Reader, row: objects.Row) -> Iterator[bytes]:
    header = tarfile.TarInfo(row.path)
    header.mode = 0o755 if row.mode == EXECUTABLE or row.kind == "commit" else 0o644
    if row.kind == "commit":
        header.type = tarfile.DIRTYPE
        yield _block(header)
        return
    size, pieces = reader.open(row.oid)
    if row.mode == LINK:
        header.type = tarfile.SYMTYPE
        header.linkname = b"".join(pieces).decode(errors="surrogateescape")
        if leaves(row.path, header.linkname):
            raise errors.InvalidInput(
                "this symbolic link leads out of the code", where=row.path, remedy="Replace it by a file or a link inside."
            )
        yield _block(header)
        return
    header.size = size
    yield _block(header)
    yield from pieces
    yield bytes(-size % tarfile.BLOCKSIZE)


def leaves(path: str, target: str) -> bool:
    """Return whether a link at `path` may lead out of the tree.

    ".." counts only at the beginning, where it climbs real folders; behind a name, which may be a link itself, nobody can tell.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return target.startswith("/") or "\0" in target or climbs > path.count("/") or ".." in parts[climbs:]


def _block(header: tarfile.TarInfo) -> bytes:
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
