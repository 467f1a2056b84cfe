"""The index of an image: for every unit of every file its digest, and the frame that holds it.

It is written as sections of some megabytes of file each, so that an image of any size is written and read in bounded
memory, and ends in a table of contents: the files, and in which sections their units are. A unit that is all zeros lies in
no frame. How the bytes look is described in `docs/reference/image-format.md`.
"""

from __future__ import annotations

import bisect
import collections
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeVar

import msgspec

from reconciler import errors
from reconciler.contracts import store
from reconciler.storage import digests, keyring, manifest, names, packs
from reconciler.storage.digests import Digests
from reconciler.storage.packs import Frame

UNIT = store.UNIT

SECTION_UNITS = 8192
SECTION_SPANS = 4096
"""A section ends after this many units or spans, which keeps it within one frame."""

LARGEST_CONTENTS = 128 << 20
CACHED_SECTIONS = 4

_RUN = struct.Struct("<HHHH")
"""Of a run: first unit in its span, units, frame in the section's table, first unit in the frame."""

_FrameRow = tuple[int, int, int, int, int, bytes]
_SpanRow = tuple[int, int, bytes, bytes, bytes]
_Section = tuple[list[_FrameRow], list[_SpanRow]]
_FileRow = tuple[str, str, int, int, int, str, list[tuple[int, int]]]
_Contents = tuple[list[_FileRow], list[tuple[int, int, int, int, bytes]]]
Rows = TypeVar("Rows", _Section, _Contents)

_first = attrgetter("first")
_section_decoder = msgspec.msgpack.Decoder(_Section)
_contents_decoder = msgspec.msgpack.Decoder(_Contents)


class Ticket:
    """A frame that is being compressed and written; its place is known later."""

    __slots__ = ("frame",)

    def __init__(self) -> None:
        self.frame: Frame | None = None


@dataclass(slots=True)
class Run:
    """Consecutive units of a file that lie one after the other in a frame."""

    start: int
    """First unit, counted from the span's first."""
    count: int
    source: Frame | Ticket
    at: int
    """First unit in the frame."""


@dataclass(slots=True)
class Span:
    """Consecutive units of one file. Units in no run are zeros."""

    first: int
    digests: Digests
    runs: list[Run]


@dataclass(frozen=True, slots=True)
class KeptSpan:
    """A span as an index has it: there may be a run for every unit, so they stay packed until they are asked for."""

    first: int
    digests: Digests
    frames: list[Frame]
    """The section's table, which the rows point into."""
    packed: bytes

    @property
    def end(self) -> int:
        """The unit behind its last."""
        return self.first + len(self.digests)

    def frame(self, place: int) -> Frame:
        """Return a frame of the table. Raises `errors.Damaged` when there is none."""
        if place >= len(self.frames):
            raise contradiction()
        return self.frames[place]

    def rows(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield of each run its start, count, place in `frames` and first unit there, as they were written: unchecked."""
        return _RUN.iter_unpack(self.packed)

    def runs(self) -> list[Run]:
        """Return its runs. Raises `errors.Damaged` for those that overlap, or that lie outside of the span or their frame."""
        found, end = list[Run](), 0
        for start, count, place, at in self.rows():
            frame = self.frame(place)
            if start < end or not count or (at + count) * UNIT > frame.plain:
                raise contradiction()
            found.append(Run(start, count, frame, at))
            end = start + count
        if end > len(self.digests):
            raise contradiction()
        return found


def contradiction() -> errors.Damaged:
    """Return what to say about rows that cannot all be true."""
    return errors.Damaged("the index contradicts itself")


@dataclass(slots=True)
class Listed:
    """A file and where its spans are: (first unit, section), ascending."""

    number: int
    entry: store.FileEntry
    homes: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    spans: list[tuple[int, Span]] = field(default_factory=list)
    tickets: list[Ticket] = field(default_factory=list)
    units: int = 0


class IndexWriter:
    """Collects spans and appends finished sections to a pack of their own."""

    def __init__(self, pack: packs.PackWriter) -> None:
        self._pack = pack
        self._open = _Open()
        self._waiting: collections.deque[_Open] = collections.deque()
        self._begun = 0
        self._sections: list[Frame] = []
        self.packs: dict[str, int] = {}
        """Names of the packs that hold the image's units, numbered in order of appearance."""

    def add(self, file: Listed, span: Span) -> None:
        """Append a span of a file; its frames may still be on their way."""
        if not file.homes or file.homes[-1][1] != self._begun:
            file.homes.append((span.first, self._begun))
        self._open.spans.append((file.number, span))
        self._open.units += len(span.digests)
        self._open.tickets.extend({run.source for run in span.runs if isinstance(run.source, Ticket)})
        if self._open.units >= SECTION_UNITS or len(self._open.spans) >= SECTION_SPANS:
            self._waiting.append(self._open)
            self._open = _Open()
            self._begun += 1
            self._write_settled()

    def finish(self, files: Iterable[Listed]) -> tuple[Frame, ...]:
        """Write what is left and the table of contents, once every frame has its place; return the table's frames."""
        if self._open.spans:
            self._waiting.append(self._open)
        self._write_settled()
        if self._waiting:
            raise errors.Damaged("units of the image have no place in its packs")
        rows = [_file_row(file) for file in files]
        sections = [(one.number, one.offset, one.stored, one.plain, one.digest) for one in self._sections]
        content = msgspec.msgpack.encode((rows, sections))
        if len(content) > LARGEST_CONTENTS:
            raise errors.InvalidInput("too many files or too long names for one checkpoint", remedy="Put them into an archive.")
        return tuple(self._append(content[at : at + packs.LARGEST]) for at in range(0, len(content), packs.LARGEST))

    def _write_settled(self) -> None:
        """Write the sections whose frames all lie in packs by now, in order."""
        while self._waiting and all(ticket.frame for ticket in self._waiting[0].tickets):
            self._sections.append(self._append(msgspec.msgpack.encode(self._rows(self._waiting.popleft()))))

    def _rows(self, section: _Open) -> _Section:
        table: dict[tuple[str, int], int] = {}
        frames: list[_FrameRow] = []
        spans: list[_SpanRow] = []
        for number, span in section.spans:
            packed = bytearray()
            for run in span.runs:
                frame = _frame(run.source)
                assert frame is not None
                place = table.get((frame.pack, frame.offset))
                if place is None:
                    place = table[frame.pack, frame.offset] = len(frames)
                    pack = self.packs.setdefault(frame.pack, len(self.packs))
                    frames.append((pack, frame.number, frame.offset, frame.stored, frame.plain, frame.digest))
                packed += _RUN.pack(run.start, run.count, place, run.at)
            spans.append((number, span.first, span.digests.units, span.digests.whole, bytes(packed)))
        return frames, spans

    def _append(self, content: bytes) -> Frame:
        return self._pack.append(packs.compress(content), len(content))


def _frame(source: Frame | Ticket) -> Frame | None:
    return source.frame if isinstance(source, Ticket) else source


def _file_row(file: Listed) -> _FileRow:
    entry = file.entry
    return entry.path, entry.kind, entry.mode, entry.size, entry.mtime_ns, entry.link, file.homes


class Index:
    """The index of a complete image. Raises `errors.Damaged` for whatever does not fit together."""

    def __init__(self, body: manifest.Body, read: Callable[[Frame], bytes]) -> None:
        self._body = body
        self._read = read
        self._sections, self.files = self._contents()
        self._cache: collections.OrderedDict[int, dict[int, list[KeptSpan]]] = collections.OrderedDict()

    def spans(self, path: str, first: int = 0, end: int | None = None) -> Iterator[KeptSpan]:
        """Yield the spans of a file that touch units `first` to `end`, ascending."""
        file = self.files[path]
        begin = max(bisect.bisect_right(file.homes, (first, len(self._sections))) - 1, 0)
        for home, number in file.homes[begin:]:
            if end is not None and home >= end:
                return
            spans = self._section(number).get(file.number, [])
            before = bisect.bisect_right(spans, first, key=_first) - 1
            for span in spans[max(before, 0) :]:
                if end is not None and span.first >= end:
                    return
                if span.end > first:
                    yield span

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that holds units of the image; one that several sections name is yielded for each."""
        for number in range(len(self._sections)):
            yield from self._rows_of(number)[0]

    def _contents(self) -> tuple[list[Frame], dict[str, Listed]]:
        if sum(max(frame.plain, 0) for frame in self._body.contents) > LARGEST_CONTENTS:
            raise errors.Damaged("the table of contents is too long")
        for frame in self._body.contents:
            _sane(frame)
            if frame.pack != self._body.index.name:
                raise errors.Damaged("the table of contents lies in another file than the index")
        rows, sections = _decode(_contents_decoder, b"".join(map(self._read, self._body.contents)))
        frames = [_sane(Frame(self._body.index.name, *row)) for row in sections]
        files: dict[str, Listed] = {}
        checked = names.Names()
        for number, (path, kind, mode, size, mtime, link, homes) in enumerate(rows):
            entry = store.FileEntry(path=path, kind=kind, mode=mode, size=size, mtime_ns=mtime, link=link)
            try:
                checked.add(entry)
            except errors.InvalidInput as error:
                raise errors.Damaged(f"the image is hostile or damaged: {error.message}", where=error.where) from error
            if homes != sorted(homes) or any(section >= len(frames) or section < 0 for _, section in homes):
                raise errors.Damaged("the table of contents names sections that are not there", where=path)
            files[path] = Listed(number, entry, homes)
        if len(files) != self._body.files or sum(file.entry.size for file in files.values()) != self._body.logical_bytes:
            raise errors.Damaged("the files are not those that the manifest counts")
        return frames, files

    def _pack(self, number: int) -> str:
        if number < 0:
            raise IndexError(number)
        return self._body.packs[number].name

    def _section(self, number: int) -> dict[int, list[KeptSpan]]:
        found = self._cache.get(number)
        if found is None:
            found = self._cache[number] = self._load(number)
            if len(self._cache) > CACHED_SECTIONS:
                self._cache.popitem(last=False)
        return found

    def _load(self, number: int) -> dict[int, list[KeptSpan]]:
        frames, spans = self._rows_of(number)
        found: dict[int, list[KeptSpan]] = {}
        for file, first, units, whole, packed in spans:
            span = KeptSpan(first, Digests(units, whole), frames, packed)
            before = found.setdefault(file, [])
            _check(span, before[-1] if before else None)
            before.append(span)
        return found

    def _rows_of(self, number: int) -> tuple[list[Frame], list[_SpanRow]]:
        rows, spans = _decode(_section_decoder, self._read(self._sections[number]))
        try:
            return [_sane(Frame(self._pack(row[0]), *row[1:])) for row in rows], spans
        except IndexError as error:
            raise errors.Damaged("a section of the index points outside of it") from error


def _decode(decoder: msgspec.msgpack.Decoder[Rows], content: bytes) -> Rows:
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.Damaged(f"the index cannot be read: {error}") from error


def _sane(frame: Frame) -> Frame:
    """Bound what a frame may claim before it is believed in a read or an allocation."""
    good = (
        frame.number >= 0
        and frame.offset >= 0
        and 0 < frame.stored <= packs.LARGEST + keyring.TAG
        and 0 < frame.plain <= packs.LARGEST
        and len(frame.digest) == digests.WHOLE_DIGEST
    )
    if not good:
        raise errors.Damaged("a frame of impossible size")
    return frame


def _check(span: KeptSpan, before: KeptSpan | None) -> None:
    units = span.digests.units
    good = 0 < len(units) == len(span.digests) * digests.UNIT_DIGEST and len(span.digests.whole) == digests.WHOLE_DIGEST
    good = good and span.first >= (0 if before is None else before.end) and len(span.packed) % _RUN.size == 0
    if not good:
        raise contradiction()
