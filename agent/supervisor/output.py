"""The program's output on disk: segments named by the offset of their first byte, so that a reader needs no index."""

from __future__ import annotations

import contextlib
import os

SUFFIX = ".log"


def segments(folder: str) -> list[tuple[int, str]]:
    """Return (offset of the first byte, path) of each segment, oldest first."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(
        (int(name[: -len(SUFFIX)]), os.path.join(folder, name))
        for name in names
        if name.endswith(SUFFIX) and name[: -len(SUFFIX)].isdecimal()
    )


class Output:
    """Appends to segments and drops the oldest ones beyond the bound. A full disk loses output, never the program."""

    def __init__(self, folder: str, segment: int, keep: int) -> None:
        """Keep at most `keep` segments of `segment` bytes each."""
        self._folder = folder
        self._segment = segment
        self._keep = keep
        self._lost = 0
        known = segments(folder)
        self._start = known[-1][0] if known else 0
        self._file = self._open(self._start)
        self._size = os.fstat(self._file).st_size

    def append(self, data: bytes) -> None:
        """Add bytes, starting a new segment where the current one is full."""
        if not data:
            return
        if self._lost:
            note = f"\n[perdure: {self._lost} bytes of output lost: the disk was full]\n".encode()
            if not self._write(note):
                self._lost += len(data)
                return
            self._lost = 0
        if not self._write(data):
            self._lost += len(data)

    def _write(self, data: bytes) -> bool:
        view = memoryview(data)
        try:
            while view:
                if self._size >= self._segment:
                    self._rotate()
                written = os.write(self._file, view[: self._segment - self._size])
                self._size += written
                view = view[written:]
        except OSError:
            return False
        return True

    def _rotate(self) -> None:
        start = self._start + self._size
        following = self._open(start)  # first: while it cannot be made, this one stays, and it is tried again
        os.close(self._file)
        self._file, self._start, self._size = following, start, 0
        for _, path in segments(self._folder)[: -self._keep]:
            with contextlib.suppress(FileNotFoundError):  # shipped, and removed by the agent
                os.unlink(path)

    def _open(self, start: int) -> int:
        path = os.path.join(self._folder, f"{start:020d}{SUFFIX}")
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
