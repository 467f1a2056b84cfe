"""From the bytes of a file to the texts of its documents, without parsing YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler.load.finding import Finding

DOCUMENT_BYTES = 1 << 20
"""Largest document that is parsed."""
DOCUMENTS = 20_000
"""Most documents of one file: to read so many that are empty takes half a second."""

_BOM = b"\xef\xbb\xbf"
_WIDE = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_LFS = b"version https://git-lfs.github.com/spec/"

_FORBIDDEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]|\r(?!\n)"
)
"""Characters that YAML forbids, that end a line for some readers and not for others, or that make a text look like
something else than what is read."""

_ORDINARY = bytes(range(0x20, 0x7F)) + b"\t\n"
"""What nearly all manifests consist of: nothing in it needs a closer look."""

_NAMES = {"\x00": "a NUL character", "\ufeff": "a byte order mark in the middle of the text", "\r": "a lone carriage return"}

_BOUNDARY = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
"""Where a document begins or ends. At the beginning of a line these are never content, not even inside a quoted or a
block scalar (YAML 1.2.2, rule c-forbidden), so that a text can be split without parsing it."""

_NO_CONTENT = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n|%[^\n]*\n)*[ \t]*(?:#[^\n]*|%[^\n]*)?\Z")


class UnreadableError(Exception):
    """The text cannot be read at all; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The text of one document, and the numbers of lines and of characters before it."""

    text: str
    line: int
    start: int


def decode(data: bytes) -> str:
    """Return the text of a manifest: UTF-8, with or without a byte order mark, lines ending in LF or CRLF.

    Raises `UnreadableError` for anything else.
    """
    if not data.translate(None, _ORDINARY) and not data.startswith(_LFS):
        return data.decode("ascii")
    for mark, name in _WIDE:
        if data.startswith(mark):
            raise _unreadable(1, 1, f"the file is encoded in {name}", "save it as UTF-8")
    if data.startswith(_LFS):
        raise _unreadable(
            1, 1, "the file is a Git LFS pointer, its content is not in the repository", "keep manifests out of LFS"
        )
    try:
        text = data.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode(errors="replace"))
        byte = data[error.start]
        raise _unreadable(
            line, column, f"byte 0x{byte:02x} is not UTF-8 ({chr(byte)!r} in Latin-1)", "save the file as UTF-8"
        ) from None
    if found := _FORBIDDEN.search(text):
        line, column = _position(text[: found.start()])
        name = _NAMES.get(found[0], f"the character U+{ord(found[0]):04X}, which is not shown")
        wide = found[0] == "\x00" and text.count("\x00") * 3 > len(text)
        raise _unreadable(line, column, f"the text contains {name}", "save the file as UTF-8" if wide else "remove it")
    return text


def split(text: str) -> list[Piece]:
    """Return the documents of a file; parts that hold only comments and directives are left out.

    Raises `UnreadableError` for more than `DOCUMENTS`.
    """
    if "\n---" not in text and "\n..." not in text and not text.startswith(("---", "...", "#", "%")) and text.strip():
        return [Piece(text=text, line=0, start=0)]
    pieces: list[Piece] = []
    start = line = 0
    for number, found in enumerate(_BOUNDARY.finditer(text)):
        if number == DOCUMENTS:
            line, _ = _position(text[: found.start()])
            raise _unreadable(
                line, 1, f"the file has more than {DOCUMENTS:,} documents", "split it, or name it in .perdureignore"
            )
        at = found.start()
        line = _add(pieces, text[start:at], line, start)
        start = at if found[0] == "---" else found.end()
    _add(pieces, text[start:], line, start)
    return pieces


def too_large(piece: Piece) -> bool:
    """Return whether a document exceeds DOCUMENT_BYTES."""
    size = len(piece.text)
    return size > DOCUMENT_BYTES or (size * 4 > DOCUMENT_BYTES and len(piece.text.encode()) > DOCUMENT_BYTES)


def _add(pieces: list[Piece], text: str, line: int, start: int) -> int:
    if text and not _NO_CONTENT.match(text):
        pieces.append(Piece(text=text, line=line, start=start))
    return line + text.count("\n")


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _unreadable(line: int, column: int, message: str, fix: str) -> UnreadableError:
    return UnreadableError(Finding(line=line, column=column, message=message, fix=fix))
