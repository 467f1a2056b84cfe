"""What becomes of a note when lines are added: other writers' lines stay, nothing is said twice, and it stays small. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.core import record
from reconciler.ledger import wire

LARGEST = 256 << 10
"""Bytes of a note: people see it whole in `git log`."""

SUMMARY = "summary"
"""`what` of the line that stands for those that were moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A note with added lines."""

    note: bytes
    moved: bytes = b""
    """Lines that had no more room, to be appended to the file in the state tree that the note's summary names."""


def compose(existing: bytes, added: Iterable[bytes], revision: str, instance: str, largest: int = LARGEST) -> Composed:
    """Return `existing` with the lines `added` that it does not have yet, in order.

    Beyond `largest` bytes a summary and the newest lines stay, which take half of it, and other writers' lines, which
    may take a quarter; the rest is moved.
    """
    lines = existing.split(b"\n")
    if not lines[-1]:
        lines.pop()
    present = set(lines)
    for line in added:
        if line not in present:
            present.add(line)
            lines.append(line)
    whole = _joined(lines)
    if len(whole) < largest:
        return Composed(note=whole)
    return _shortened(lines, revision, instance, largest)


def parse(note: bytes) -> tuple[record.Line, ...]:
    """Return our own lines of a note, oldest first, without the summary of moved ones."""
    lines = (wire.decode_line(raw) for raw in note.split(b"\n") if raw)
    return tuple(line for line in lines if line is not None and line.what != SUMMARY)


def has_moved(note: bytes) -> bool:
    """Return whether lines of this note were moved to the state tree."""
    return any(line is not None and line.what == SUMMARY for line in map(wire.decode_line, note.split(b"\n")[:64]))


def _shortened(lines: Sequence[bytes], revision: str, instance: str, largest: int) -> Composed:
    decoded = [wire.decode_line(raw) for raw in lines]
    summaries = {number for number, line in enumerate(decoded) if line is not None and line.what == SUMMARY}
    own = [number for number, line in enumerate(decoded) if line is not None and number not in summaries]
    foreign = [number for number, line in enumerate(decoded) if line is None]
    kept = _fitting(lines, own, largest // 2) | _fitting(lines, foreign, largest // 4)
    moved = [number for number in range(len(lines)) if number not in kept and number not in summaries]
    before = sum(_count(decoded[number]) for number in summaries)
    newest = max((line.at for number in moved if (line := decoded[number]) is not None), default=0.0)
    path, ref = wire.moved_path(revision), wire.state_ref(instance)
    total = before + len(moved)
    summary = record.Line(
        say=f"{total} earlier lines are in {path} of {ref}.",
        what=SUMMARY,
        at=newest,
        instance=instance,
        data={"lines": total, "path": path, "ref": ref},
    )
    stay = [lines[number] for number in sorted(kept)]
    return Composed(note=_joined([wire.encode_line(summary), *stay]), moved=_joined([lines[number] for number in moved]))


def _fitting(lines: Sequence[bytes], numbers: Sequence[int], room: int) -> set[int]:
    """Return the newest of `numbers` whose lines fit into `room` bytes."""
    fitting = set()
    for number in reversed(numbers):
        room -= len(lines[number]) + 1
        if room < 0:
            break
        fitting.add(number)
    return fitting


def _count(line: record.Line | None) -> int:
    count = line.data.get("lines") if line is not None else 0
    return count if isinstance(count, int) else 0


def _joined(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
