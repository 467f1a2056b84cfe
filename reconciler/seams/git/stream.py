"""Commits as a stream for git fast-import: what changes, on top of what, without an index or a working tree.

Format: git-fast-import(1). Every commit goes to a scratch ref and gets a mark; the answers to `get-mark` are the commits' ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from reconciler import errors
from reconciler.seams.git import address

SCRATCH = "refs/perdure/scratch/"
"""Refs that fast-import needs and nobody reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """The content of one file."""

    data: bytes
    mode: str = "100644"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An object that is in the repository already: a tree (040000) or a blob."""

    oid: str
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit to make."""

    scratch: str
    """Last part of the scratch ref: two commits of one stream have two."""
    parent: str
    """Commit it changes; empty: it begins a history."""
    name: str
    mail: str
    at: int
    """POSIX time in seconds."""
    message: str
    files: Mapping[str, Blob | Link | None]
    """By path; None removes the file or folder."""


def encode(commits: Iterable[Commit]) -> Iterator[bytes]:
    """Yield the stream. Raises `errors.InvalidInput` for a path that cannot be a file."""
    number = 0
    for number, commit in enumerate(commits, start=1):
        ref = f"{SCRATCH}{commit.scratch}"
        if not commit.parent:
            yield f"reset {ref}\n".encode()
        message = commit.message.encode(errors="replace")
        author = f"{_plain(commit.name)} <{_plain(commit.mail)}> {commit.at} +0000"
        yield f"commit {ref}\nmark :{number}\ncommitter {author}\n".encode()
        yield b"data %d\n%s\n" % (len(message), message)
        if commit.parent:
            yield f"from {commit.parent}\n".encode()
        for path, content in sorted(commit.files.items(), key=lambda item: item[1] is not None):
            yield from _file(path, content)
        yield b"\n"
    for mark in range(1, number + 1):
        yield b"get-mark :%d\n" % mark
    yield b"done\n"


def _file(path: str, content: Blob | Link | None) -> Iterator[bytes]:
    if problem := address.path_problem(path):
        raise errors.InvalidInput(f"this path {problem}", where=address.shown(path)[:200], remedy="Choose another path.")
    raw = path.encode(errors="surrogateescape")
    quoted = b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    if content is None:
        yield b"D %s\n" % quoted
    elif isinstance(content, Link):
        yield b"M %s %s %s\n" % (content.mode.encode(), content.oid.encode(), quoted)
    else:
        yield b"M %s inline %s\ndata %d\n" % (content.mode.encode(), quoted, len(content.data))
        yield content.data
        yield b"\n"


def _plain(text: str) -> str:
    """Return a name or a mail address as fast-import takes it."""
    return "".join(letter for letter in text if letter.isprintable() and letter not in "<>").strip() or "perdure"
