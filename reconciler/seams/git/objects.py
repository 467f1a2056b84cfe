"""What git says about objects: lists of trees, contents of blobs. Pure, but for the conversation with `cat-file`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, NamedTuple

from reconciler import errors

PIECE = 1 << 20
"""Bytes read at once of a large blob."""


class Row(NamedTuple):
    """One line of ls-tree. A tuple, for there are as many as files."""

    path: str
    mode: str
    kind: str
    """blob, tree or commit (a submodule)."""
    oid: str
    size: int | None = None


def rows(listing: bytes) -> Iterator[Row]:
    """Yield the rows of `ls-tree -z`, with `-l` or without."""
    for line in listing.decode(errors="surrogateescape").split("\0"):
        if line:
            about, _, path = line.partition("\t")
            mode, kind, oid, *size = about.split()
            yield Row(path=path, mode=mode, kind=kind, oid=oid, size=int(size[0]) if size and size[0] != "-" else None)


def batch(answer: bytes, largest: int | None = None) -> Iterator[tuple[str, bytes | None]]:
    """Yield (object id, content) for each object of a `cat-file --batch`, and (the question, None) for one that is not here.

    Contents of more than `largest` bytes are left out.
    """
    at = 0
    while at < len(answer):
        end = answer.index(b"\n", at)
        header = answer[at:end]
        at = end + 1
        if header.endswith((b" missing", b" ambiguous")):
            yield header.rpartition(b" ")[0].decode(errors="surrogateescape"), None
            continue
        oid, _, size = header.split(b" ")
        length = int(size)
        if largest is None or length <= largest:
            yield oid.decode(), answer[at : at + length]
        at += length + 1


class Reader:
    """A conversation with `cat-file --batch`: one blob after another, in pieces, however large."""

    def __init__(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        self._questions = questions
        self._answers = answers

    def open(self, oid: str) -> tuple[int, Iterator[bytes]]:
        """Return the size of a blob and its content in pieces, which must be read to the end before the next one is opened.

        Raises `errors.Unavailable` when it is not here.
        """
        try:
            self._questions.write(oid.encode() + b"\n")
            self._questions.flush()
            header = self._answers.readline().split()
        except OSError as error:
            raise _absent(oid) from error
        if len(header) != 3:
            raise _absent(oid)
        size = int(header[2])
        return size, self._pieces(oid, size)

    def _pieces(self, oid: str, size: int) -> Iterator[bytes]:
        left = size
        while left:
            piece = self._answers.read(min(left, PIECE))
            if not piece:
                raise _absent(oid)
            left -= len(piece)
            yield piece
        self._answers.read(1)  # the line break behind the content


def _absent(oid: str) -> errors.Unavailable:
    return errors.Unavailable("this Git object is not here", where=oid, remedy="Fetch the repository again.")
