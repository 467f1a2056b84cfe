"""The bytes of an image: its index and packs, read with every digest checked on the way."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent import futures
from typing import TypeVar

from reconciler import errors
from reconciler.contracts import store
from reconciler.storage import digests, files, index, manifest, packs
from reconciler.storage.packs import Frame, Pack

UNIT = store.UNIT
_THREADS = 2
_AHEAD = 8
Item = TypeVar("Item")
Result = TypeVar("Result")
_ZEROS = memoryview(bytes(packs.LARGEST))


class Contents:
    """What a manifest's body describes; may be read by several threads.

    Raises `errors.Damaged` before any damaged byte is handed out.
    """

    def __init__(self, place: packs.Place, body: manifest.Body) -> None:
        self.packs: dict[str, Pack] = {pack.name: pack for pack in body.packs}
        self._place = place
        self._one = threading.Lock()
        self._reader = packs.FrameReader(place, {**self.packs, body.index.name: body.index})
        try:
            self.index = index.Index(body, self._reader.read)
        except BaseException:
            self.close()
            raise

    def entries(self) -> Iterable[store.FileEntry]:
        """Return the files, each folder before what lies in it."""
        return sorted(
            (file.entry for file in self.index.files.values()), key=lambda entry: (entry.kind != "directory", entry.path)
        )

    def extents(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, data) of a file, up to 1 MiB at a time; what is left out is zeros."""
        size = self.index.files[path].entry.size
        for span in self._spans(path):
            offset = span.first * UNIT
            if (span.end - 1) * UNIT >= size:
                raise errors.Damaged("the index describes more of the file than there is", where=path)
            yield offset, self._span(span, path)[: size - offset]

    def check(self, progress: store.Progress | None = None) -> None:
        """Re-hash every byte."""
        done, whole = 0, sum(file.entry.size for file in self.index.files.values())
        paths = (path for path, file in self.index.files.items() if file.entry.kind == "file")
        for size in _side_by_side(self._check_file, paths):
            done += size
            if progress is not None:
                progress(done, whole)
        if progress is not None:
            progress(whole, whole)

    def check_lent(self, own: Container[str], most: int | None = None) -> None:
        """Compare what lies in other packs than `own`, which were read back when they were written, with its digests.

        With `most` only as many stored bytes as that are read.
        """
        for _ in _side_by_side(self._reader.check, self._lent(own, most)):
            """Compared on the way."""

    def close(self) -> None:
        """Close every file."""
        self._reader.close()

    def _spans(self, path: str) -> Iterator[index.KeptSpan]:
        found = self.index.spans(path)
        while True:
            with self._one:  # the index keeps the sections it has read
                span = next(found, None)
            if span is None:
                return
            yield span

    def _lent(self, own: Container[str], most: int | None) -> Iterator[Frame]:
        known: set[tuple[str, int]] = set()
        read = 0
        for frame in self.index.frames():
            name = (frame.pack, frame.offset)
            if frame.pack not in own and name not in known:
                known.add(name)
                read += frame.stored
                if most is not None and read > most:
                    return
                yield frame

    def _check_file(self, path: str) -> int:
        for _ in self.extents(path):
            """Compared on the way."""
        return self.index.files[path].entry.size

    def _span(self, span: index.KeptSpan, path: str) -> bytes:
        data = self._whole(span)
        if digests.whole(data) != span.digests.whole:
            raise errors.Damaged(f"the bytes from {span.first * UNIT} are not what was written", where=path)
        return data

    def _whole(self, span: index.KeptSpan) -> bytes:
        size = len(span.digests)
        frames: dict[int, memoryview] = {}
        parts, cursor = list[memoryview](), 0
        for start, count, place, at in span.rows():
            frame = frames.get(place)
            if frame is None:
                data = self._reader.read(span.frame(place))
                if count == size and start == cursor == 0:  # as of most; one that fills its frame is not copied
                    return data[at * UNIT : (at + count) * UNIT]
                frame = frames[place] = memoryview(data)
            if start < cursor:
                raise index.contradiction()
            if start > cursor:
                parts.append(_ZEROS[: (start - cursor) * UNIT])
            parts.append(frame[at * UNIT : (at + count) * UNIT])
            cursor = start + count
        if cursor > size:
            raise index.contradiction()
        parts.append(_ZEROS[: (size - cursor) * UNIT])
        return b"".join(parts)


def _side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield what `work` returns for each item, in their order; a few are under way at a time. Raises what it raises."""
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        waiting = collections.deque[futures.Future[Result]]()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        for one in waiting:
            yield one.result()


_MISSING, _FOREIGN = -1, -2
_NO_SIZE = {_MISSING: "is missing", _FOREIGN: "is no plain file"}


def lacking(place: packs.Place, body: manifest.Body, sizes: dict[str, int]) -> str:
    """Return which of an image's packs, or its index, is not there in full; empty: none. `sizes` remembers what was asked."""
    for pack in (*body.packs, body.index):
        if pack.name not in sizes:
            sizes[pack.name] = _size(place, pack.name)
        if (size := sizes[pack.name]) != pack.size:
            return f"{place.path(pack.name)} {_NO_SIZE.get(size, f'has {size} bytes instead of {pack.size}')}"
    return ""


def _size(place: packs.Place, pack: str) -> int:
    try:
        return place.disk.size(place.path(pack))
    except FileNotFoundError:
        return _MISSING
    except OSError as error:
        if error.errno not in files.FOREIGN:
            raise
        return _FOREIGN
