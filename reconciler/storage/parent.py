"""What the parent image has already: the units of the same file at the same place that did not change."""

from __future__ import annotations

import bisect
import threading

from reconciler.storage import digests, index
from reconciler.storage.digests import Bytes, Digests
from reconciler.storage.index import KeptSpan, Run

_Answer = tuple[Digests, list[int], list[Run]]
"""Digests, the units that differ from the parent's, and where the others lie; counted from the first unit asked about."""


class Parent:
    """The image a new one builds upon. May be asked by several threads."""

    def __init__(self, contents: index.Index, salt: digests.Salt) -> None:
        self._index = contents
        self._salt = salt
        self._one = threading.Lock()

    def compare(self, path: str, first: int, data: Bytes) -> _Answer:
        """Compare whole units of a file, from unit `first` on, with the parent's."""
        count = len(data) // digests.UNIT
        with self._one:
            known = path in self._index.files
            spans = list(self._index.spans(path, first, first + count)) if known else []
        if len(spans) == 1 and spans[0].first == first and len(spans[0].digests) == count:
            found, changed = self._salt.against(data, spans[0].digests)
            runs = spans[0].runs()
            return found, changed, without(runs, changed) if changed else runs
        found = self._salt.of(data)
        old, runs = _pieced(spans, first, count, self._salt.zero)
        pairs = zip(digests.split(found.units), old, strict=True)
        changed = [number for number, (new, was) in enumerate(pairs) if new != was]
        return found, changed, without(runs, changed)


def whole(data: Bytes, salt: digests.Salt) -> _Answer:
    """Return what `Parent.compare` would say about a file that the parent does not have."""
    found = salt.of(data)
    return found, list(range(len(found))), []


def without(runs: list[Run], gone: list[int]) -> list[Run]:
    """Return `runs` less the units in `gone` (ascending)."""
    kept: list[Run] = []
    for run in runs:
        cursor, end = run.start, run.start + run.count
        for place in range(bisect.bisect_left(gone, cursor), len(gone)):
            hole = gone[place]
            if hole >= end:
                break
            if hole > cursor:
                kept.append(Run(cursor, hole - cursor, run.source, run.at + cursor - run.start))
            cursor = hole + 1
        if cursor < end:
            kept.append(Run(cursor, end - cursor, run.source, run.at + cursor - run.start))
    return kept


def consecutive(numbers: list[int]) -> list[tuple[int, int]]:
    """Return ascending numbers as (start, count) of their unbroken stretches."""
    found: list[tuple[int, int]] = []
    start = count = 0
    for number in numbers:
        if count and number == start + count:
            count += 1
            continue
        if count:
            found.append((start, count))
        start, count = number, 1
    if count:
        found.append((start, count))
    return found


def _pieced(spans: list[KeptSpan], first: int, count: int, zero: bytes) -> tuple[list[bytes], list[Run]]:
    """Put together what spans of other bounds say about these units."""
    old = [zero] * count
    runs: list[Run] = []
    for span in spans:
        shift = span.first - first
        begin, end = max(shift, 0), min(shift + len(span.digests), count)
        old[begin:end] = digests.split(span.digests.units)[begin - shift : end - shift]
        for run in span.runs():
            start, stop = max(run.start + shift, 0), min(run.start + shift + run.count, count)
            if start < stop:
                runs.append(Run(start, stop - start, run.source, run.at + start - run.start - shift))
    return old, runs
