"""Paths and lines, byte by byte."""

from __future__ import annotations

import json

import pytest

from reconciler import errors
from reconciler.core import codec, record
from reconciler.ledger import wire
from tests.ledger.values import line, run, run_id


def test_a_line_begins_with_the_sentence() -> None:
    raw = wire.encode_line(line(7, 'Job “ä” said "no"\nand ended.'))
    assert raw.startswith('{"say": "Job “ä” said \\"no\\"\\nand ended.", "v": 1, "what": "planned", "at": 7.0, '.encode())
    assert b"\n" not in raw
    members = json.loads(raw)
    assert list(members)[:4] == ["say", "v", "what", "at"]
    assert members["replica"] == 0
    assert members["data"] == {"steps": 7}


def test_a_line_survives_and_foreign_lines_are_not_ours() -> None:
    for one in (line(1), record.Line(say="The revision was applied.", what="applied", at=1.0)):
        assert wire.decode_line(wire.encode_line(one)) == one
    for foreign in (b"Reviewed-by: me", b"{}", b"[1]", b'{"say": 1}', b"\xff", b"", deep(b'"say": "x", "what": "y", "at": 1')):
        assert wire.decode_line(foreign) is None


def deep(members: bytes, levels: int = 100_000) -> bytes:
    """An object that is as it should be, but for a further member that no program unfolds."""
    return b'{%s, "more": %s%s}' % (members, b"[" * levels, b"]" * levels)


def test_what_is_nested_without_end_is_damaged() -> None:
    with pytest.raises(errors.Damaged, match="deep"):
        codec.decode(deep(b'"token": "x", "host": "a", "pool": "", "expires_at": 1'), record.Join)


def test_members_that_say_nothing_are_left_out() -> None:
    raw = wire.encode_line(record.Line(say="x", what="applied", at=1.0))
    assert raw == b'{"say": "x", "v": 1, "what": "applied", "at": 1.0}'


@pytest.mark.parametrize("name", ["", "a", "../evil", "a/b", "-rf", "a" * 300, "a\n", "a.b"])
def test_a_name_that_cannot_be_a_file_is_refused(name: str) -> None:
    for path in (wire.run_path, wire.code_path, wire.join_path, wire.moved_path):
        with pytest.raises(errors.InvalidInput):
            path(name)


def test_paths() -> None:
    name = run_id(1)
    assert wire.run_path(name) == f"runs/{name[:2]}/{name}.json"
    assert wire.run_of(wire.run_path(name)) == name
    assert wire.run_of(f"runs/zz/{name}.json") == wire.run_of("runs/x.json") == wire.run_of("joins/a.json") == ""
    assert wire.join_of(wire.join_path("f" * 64)) == "f" * 64
    assert wire.note_paths("abcdef") == ("ab/cdef", "abcdef", "ab/cd/ef")


def test_a_record_of_another_run_or_a_newer_release_is_damage() -> None:
    data = codec.encode(run(1))
    assert wire.record_from(data, run_id(1)) == run(1)
    with pytest.raises(errors.Damaged, match="another run"):
        wire.record_from(data, run_id(2))
    with pytest.raises(errors.Damaged, match="newer release"):
        wire.record_from(data.replace(b'"v":1', b'"v":2'), run_id(1))
    with pytest.raises(errors.Damaged, match="not a valid Record"):
        wire.record_from(data[:-5], run_id(1))
