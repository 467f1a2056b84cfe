"""Parse many files at once on several cores: for the first look at a large repository.

A forked process gives half the time for ten thousand manifests. It is only used where forking is safe, in a process with a
single thread on Linux, and whatever a child does not bring back is parsed here: the answer never depends on it.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import BinaryIO

from reconciler.contracts.source import Entry
from reconciler.load import documents
from reconciler.load.documents import File

FEWEST = 1000
"""Files for which a child is worth its start."""
_MOST_PROCESSES = 4


def parse(entries: Sequence[Entry], contents: Mapping[str, bytes]) -> list[File]:
    """Return the parsed files in the order of `entries`; `contents` holds their bytes by object id."""
    count = _processes(len(entries))
    length = max(1, -(-len(entries) // count))
    chunks = [entries[start : start + length] for start in range(0, len(entries), length)]
    children: list[tuple[int, BinaryIO]] = []
    try:
        with suppress(OSError):  # no further process is to be had
            for chunk in chunks[1:]:
                children.append(_start(chunk, contents))
        files = _parse(chunks[0], contents) if chunks else []
        for chunk, child in zip_longest(chunks[1:], children):
            files += (_receive(child[1]) if child else []) or _parse(chunk, contents)
    finally:
        for pid, pipe in children:
            pipe.close()
            os.kill(pid, signal.SIGKILL)  # it has done its work, or nobody wants it any more; it is not yet waited for
            os.waitpid(pid, 0)
    return files


def _processes(count: int) -> int:
    if count < FEWEST or sys.platform != "linux" or len(os.listdir("/proc/self/task")) > 1:
        return 1
    return min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)


def _parse(entries: Sequence[Entry], contents: Mapping[str, bytes]) -> list[File]:
    return [documents.parse(entry.path, entry.oid, contents.get(entry.oid)) for entry in entries]


def _start(entries: Sequence[Entry], contents: Mapping[str, bytes]) -> tuple[int, BinaryIO]:
    """Start a child for these files; return its pid and the end of the pipe from which its answer comes."""
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if pid:
        os.close(writer)
        return pid, os.fdopen(reader, "rb")
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent alone tells the person
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(_parse(entries, contents), pipe, protocol=pickle.HIGHEST_PROTOCOL)
        status = 0
    finally:
        os._exit(status)  # without running what the parent has registered for its own end


def _receive(pipe: BinaryIO) -> list[File]:
    """Return what a child has parsed, or nothing when it did not come to its end."""
    try:
        files: list[File] = pickle.loads(pipe.read())
    except (pickle.UnpicklingError, EOFError):
        return []
    return files
