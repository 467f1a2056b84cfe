"""Where desired state comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of a revision's tree."""

    path: str
    """Relative to the root, with "/", as text; undecodable bytes are kept as surrogates."""
    mode: str
    """Git mode: 100644, 100755, 120000 (symbolic link), 160000 (submodule)."""
    oid: str
    size: int | None = None


class Tree(Protocol):
    """The files of one revision. Reading it runs no hook, filter or submodule and follows no link."""

    revision: str

    def entries(self) -> Iterable[Entry]:
        """Return every file, in path order."""
        ...

    def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        """Return the contents of blobs by object id, in one exchange."""
        ...

    def tree_id(self, path: str) -> str | None:
        """Return the object id of the folder or file `path`; None when the revision does not have it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The newest state of the source, freshly fetched."""

    id: str
    """Commit id."""
    ref: str
    """What was asked for: branch, tag or commit."""
    branch: str = ""
    """The branch whose newest commit it is; empty: nothing can be pushed on top of it (a tag, a commit, a folder)."""
    trailers: Mapping[str, str] = field(default_factory=dict)
    """Trailers of the commit's message, keys in lower case."""
    author: str = ""
    subject: str = ""
    rewritten: bool = False
    """The previous revision is not an ancestor: history was rewritten (force-push), and this commit accepts it."""
    notice: str = ""
    """Something said once, e.g. that the server does not allow partial fetches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """The source could not be read: the last good revision stands, and the reason is shown."""

    last: Revision | None
    reason: str
    """Row of `reasons.TABLE`: SourceUnreachable, SourceUnauthorized, SourceUnsupported, BranchMissing, …"""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Changed files for one commit; None deletes the file."""

    files: Mapping[str, bytes | None]
    message: str
    branch: str
    topic: str = ""
    """Branch to push instead where `branch` is protected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The commit is on the server."""

    commit: str
    branch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Somebody else was first: read again and redo the edit on what is there now."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """The server refuses direct pushes; `topic` holds the commit if it could be pushed, `detail` is the server's text."""

    detail: str
    topic: str = ""
    commit: str = ""


class Source(Protocol):
    """One branch, tag or commit of one repository (or one working folder).

    Never prompts; never runs anything from the repository; a failure leaves the last good revision readable.
    """

    def fetch(self) -> Revision | Stale:
        """Bring the newest revision here. Never raises for anything a server or a network does."""
        ...

    def tree(self, revision: str) -> Tree:
        """Return the files of a revision fetched before. Raises `errors.Unavailable` when it is not here."""
        ...

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield a tar archive of the Git tree (or blob) with this object id: the code of a run."""
        ...

    def propose(self, edit: Edit, base: str) -> Pushed | Rejected | Protected:
        """Commit `edit` on top of `base` in a temporary place and push it without force.

        Never touches anyone's working tree or index. Raises `errors.Refused` for a checked-out branch of a non-bare repository.
        """
        ...

    def wakeups(self) -> Iterator[None]:
        """Yield whenever something may have changed (optional: may yield nothing, ever)."""
        ...
