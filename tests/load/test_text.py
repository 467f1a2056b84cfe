"""From bytes to documents: encodings, invisible characters, and where one document ends."""

from __future__ import annotations

import pytest

from reconciler.load import documents, text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff\xfea\x00", "1:1 the file is encoded in UTF-16"),
        ("a: b\n".encode("utf-16-le"), "1:2 the text contains a NUL character"),
        (b"a: caf\xe9\n", "1:7 byte 0xe9 is not UTF-8 ('é' in Latin-1)"),
        ("ä: b\nü: \0".encode(), "2:4 the text contains a NUL character"),
        (b"a: 1\rb: 2", "1:5 the text contains a lone carriage return"),
        ("a: 1\n\ufeffb: 2".encode(), "2:1 the text contains a byte order mark in the middle of the text"),
        ("a: \u2028b".encode(), "1:4 the text contains the character U+2028, which is not shown"),
        ("a: \u202eb".encode(), "1:4 the text contains the character U+202E, which is not shown"),
        (b"a: \x1b[31m", "1:4 the text contains the character U+001B, which is not shown"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "1:1 the file is a Git LFS pointer, its content is not in the repository",
        ),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(data: bytes, expected: str) -> None:
    with pytest.raises(text.UnreadableError) as error:
        text.decode(data)
    finding = error.value.finding
    assert f"{finding.line}:{finding.column} {finding.message}" == expected
    assert finding.fix


def test_a_byte_order_mark_and_windows_line_ends_are_harmless() -> None:
    assert text.decode("\ufeffa: ä\r\nb: 1\r\n".encode()) == "a: ä\r\nb: 1\r\n"


def test_documents_are_split_where_yaml_splits_them() -> None:
    pieces = text.split("# only a comment\n---\na: |\n  ---\n  x\n---\n\n...\n--- b\n---c: 1\n")
    assert [(piece.line, piece.text) for piece in pieces] == [
        (1, "---\na: |\n  ---\n  x\n"),
        (5, "---\n\n"),
        (8, "--- b\n---c: 1\n"),
    ]


@pytest.mark.parametrize("nothing", ["", "\n", "# comment\n", "---\n", "...\n", "%YAML 1.2\n", " \r\n# x\r\n"])
def test_nothing_is_no_document(nothing: str) -> None:
    file = documents.parse("a.yaml", "1", nothing.encode())
    assert (file.documents, file.unread) == ((), ())


def test_a_file_may_have_twenty_thousand_documents() -> None:
    assert not documents.parse("a.yaml", "1", b"--- {}\n" * text.DOCUMENTS).unread
    [problem] = documents.parse("a.yaml", "1", b"---\n" * (text.DOCUMENTS + 1)).unread
    assert (problem.line, problem.message) == (text.DOCUMENTS + 1, "the file has more than 20,000 documents")


def test_a_document_may_have_one_mebibyte() -> None:
    small = text.Piece(text="a" * text.DOCUMENT_BYTES, line=0, start=0)
    assert not text.too_large(small)
    assert text.too_large(text.Piece(text="a" * (text.DOCUMENT_BYTES + 1), line=0, start=0))
    assert text.too_large(text.Piece(text="ä" * (text.DOCUMENT_BYTES // 2 + 1), line=0, start=0))
