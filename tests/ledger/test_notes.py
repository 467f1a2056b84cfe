"""What becomes of a note: others' lines stay, nothing is said twice, it stays small, and nothing is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.ledger import notes, wire
from tests.ledger.values import line

REVISION = "2" * 40


def compose(existing: bytes, *numbers: int, largest: int = notes.LARGEST) -> notes.Composed:
    return notes.compose(existing, [wire.encode_line(line(number)) for number in numbers], REVISION, "default", largest)


def test_lines_are_added_in_order_and_once() -> None:
    first = compose(b"", 1, 2, 2)
    second = compose(first.note, 2, 3)
    assert notes.parse(second.note) == (line(1), line(2), line(3))
    assert not second.moved


def test_other_writers_lines_stay_where_they_are() -> None:
    existing = b"Reviewed by Grace\n\n  indented\nReviewed by Grace"
    note = compose(existing, 1).note
    assert note.startswith(existing + b"\n")
    assert notes.parse(note) == (line(1),)


def test_a_long_note_keeps_a_summary_and_the_newest_lines() -> None:
    note, moved = b"a person's line\n", b""
    for number in range(100):
        composed = compose(note, number, largest=4096)
        note, moved = composed.note, moved + composed.moved
        assert len(note) < 4096
    summary = wire.decode_line(note.split(b"\n")[0])
    assert summary is not None
    assert summary.what == notes.SUMMARY
    assert summary.say == f"{summary.data['lines']} earlier lines are in notes/{REVISION}.jsonl of refs/perdure/state/default."
    assert summary.data["lines"] == moved.count(b"\n")
    assert b"a person's line" in note
    assert [one.at for one in notes.parse(moved + note)] == [float(number) for number in range(100)]
    assert notes.parse(note)[-1] == line(99)
    assert notes.has_moved(note)
    assert not notes.has_moved(compose(b"", 1).note)


def test_one_line_that_is_too_long_is_moved() -> None:
    huge = wire.encode_line(line(1, "x" * 5000))
    composed = notes.compose(b"", [huge], REVISION, "default", 4096)
    assert composed.moved == huge + b"\n"
    assert len(composed.note) < 4096


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(0, 400).map(lambda number: wire.encode_line(line(number))), st.binary(max_size=300)), max_size=80
    )
)
def test_no_line_is_ever_lost(added: list[bytes]) -> None:
    added = [raw.replace(b"\n", b" ") for raw in added]
    note, moved = b"", b""
    for raw in added:
        composed = notes.compose(note, [raw], REVISION, "default", 2048)
        note, moved = composed.note, moved + composed.moved
        assert len(note) < 2048
    assert set(added) <= set((moved + note).split(b"\n"))
