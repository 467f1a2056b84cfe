"""From a verified image to the directory that the interposer restores from.

Every name in an image is looked up in a short list of forms; files are created anew, one below the other, in a folder that
only root can enter and that nobody else writes to, so that there is no link to follow. What CRIU expects of `pages-N.img`:
`criu/pagemap.c`; of names: `criu/image-desc.c`.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent import futures
from pathlib import Path

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import model, processor
from reconciler.engines.criu import credentials, elsewhere, features, filters, index, memory, mounted, program, tree, volumes
from reconciler.engines.criu.receiver import Run

CRIU = "criu"
CONTAINER = "container.json"
CREDENTIALS = "credentials.json"
FILTERS = "filters.json"

_INDEXES = (f"{tree.LAYER}.json", f"{tree.SHM}.json")
_KEPT = re.compile(
    rf"({CRIU}/(descriptors\.json|(?!pages-)[A-Za-z0-9][A-Za-z0-9_.-]{{0,126}}\.img)|{CONTAINER}"
    rf"|({tree.LAYER}|{tree.SHM}|{volumes.NAME})(\.json|/[0-9]{{1,20}}))"
)
_MEMORY = re.compile(rf"{memory.FOLDER}/(task|shared)-[0-9]{{1,20}}/[0-9a-f]{{1,16}}(\.[0-9]{{1,6}})?")
_LARGEST_LOOKED_INTO = 256 << 20
THREADS = 2
"""Unpacking and hashing pages let go of the interpreter. One thread alone writes: two would wait for each other at the file."""
_AHEAD = 4
_TOGETHER = 4
"""Files of pages that a thread reads in one go."""
_Visit = tuple[str, list[tuple[int, int, int]]]
"""A file of pages, and what is wanted of it: (offset in it, length, offset in the pages image), ascending."""
_Pages = tuple[int, memoryview]
"""Where in a pages image, and what."""
_NEEDED = (f"{CRIU}/inventory.img", f"{CRIU}/pstree.img", f"{CRIU}/descriptors.json", CONTAINER)


def prepare(image: store.Image, directory: Path, criu: str, here: str = "") -> None:
    """Write `directory`, which must not exist; nothing is left of it when this fails. `here` is this machine's processor.

    Raises `errors.Refused` (another engine, another processor), `errors.Damaged`, `errors.Unavailable` (no room).
    """
    if image.meta.engine != model.EngineName.CRIU.value:
        raise errors.Refused(
            f"checkpoint {image.digest} was taken by the engine {image.meta.engine!r}",
            remedy="Give the Job the engine that its checkpoint was taken with.",
        )
    try:
        directory.mkdir(mode=0o700)
        try:
            _fill(image, directory)
            _compare_processor(directory / CRIU / features.IMAGE, criu, here)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
    except OSError as error:
        remedy = "Make room on the host." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise errors.Unavailable(
            f"the checkpoint cannot be laid out: {error.strerror}", where=str(directory), remedy=remedy
        ) from error


def _fill(image: store.Image, directory: Path) -> None:
    names: dict[str, store.FileEntry] = {}
    for entry in image.entries():
        if entry.kind != "file" or not (_KEPT.fullmatch(entry.path) or _MEMORY.fullmatch(entry.path)):
            raise errors.Damaged(f"the image holds {entry.path[:200]!r}, which no checkpoint of a container has")
        names[entry.path] = entry
    for needed in _NEEDED:
        if needed not in names:
            raise errors.Damaged(f"the image lacks {needed}")
    for folder in {CRIU, tree.LAYER, tree.SHM, *volumes.held(names)}:
        (directory / folder).mkdir(mode=0o700)
    for path, entry in names.items():
        if _KEPT.fullmatch(path):
            _copy(image, entry, directory)
    small = {path.removeprefix(f"{CRIU}/"): path for path in names if path.startswith(f"{CRIU}/")}
    _examine(directory, names, small)
    _write_pages(image, names, directory, list(small))
    cores = {name: _content(directory / path) for name, path in small.items() if credentials.is_core(name)}
    who = credentials.collect(cores, _content(directory / CRIU / credentials.TREE))
    (directory / CREDENTIALS).write_text(json.dumps(who))
    kept = _content(directory / small[filters.IMAGE]) if filters.IMAGE in small else b""
    (directory / FILTERS).write_text(json.dumps(filters.collect(kept, who["tasks"])))
    for name in _INDEXES:
        if name in names:
            index.check(_content(directory / name), name, names)
    for folder in volumes.held(names):
        index.check(_content(directory / f"{folder}.json"), f"{folder}.json", names, whole=True)
    _check_descriptors(_content(directory / CRIU / "descriptors.json"))


def _examine(directory: Path, names: Iterable[str], small: Iterable[str]) -> None:
    """Compare mounts and volumes with the record, and give sockets addresses that will exist."""
    try:
        record = json.loads(_content(directory / CONTAINER))
        own_network, declared = bool(record["network"]), {str(path) for path in record["mounts"]}
        own = [str(path) for path in record.get("volumes", ())]
        links = {str(path): str(place) for path, place in record.get("links", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.Damaged(f"{CONTAINER} is not what it should be") from error
    volumes.check(own, declared, names)
    for name in small:
        if name.startswith(mounted.PREFIX):
            mounted.check(_content(directory / CRIU / name), name, {links.get(path, path) for path in declared})
    path = directory / CRIU / elsewhere.FILES
    if path.exists():  # in a network of its own only what does not leave it keeps its address
        path.write_bytes(elsewhere.adapted(_content(path), (lambda address: False) if own_network else elsewhere.exists_here))


def _copy(image: store.Image, entry: store.FileEntry, directory: Path) -> None:
    with _created(directory / entry.path) as file:
        for offset, data in image.extents(entry.path):
            _put(file, data, offset)
        os.ftruncate(file, entry.size)


def _write_pages(image: store.Image, names: dict[str, store.FileEntry], directory: Path, small: Iterable[str]) -> None:
    taken: set[int] = set()
    for name in small:
        found = memory.read_pagemap(name, _content(directory / CRIU / name)) if name.startswith("pagemap-") else None
        if found is None:
            continue
        number, runs = found
        if number in taken:
            raise errors.Damaged(f"two pagemaps name the pages image {number}", where=name)
        taken.add(number)
        with _created(directory / CRIU / f"pages-{number}.img") as file:
            with futures.ThreadPoolExecutor(THREADS) as pool:
                waiting = collections.deque[futures.Future[list[_Pages]]]()
                visits = _visits(runs)
                while some := list(itertools.islice(visits, _TOGETHER)):
                    for path, _ in some:
                        if path not in names:
                            raise errors.Damaged(f"the image lacks {path}", where=name)
                    waiting.append(pool.submit(_read, image, some))
                    if len(waiting) > _AHEAD:
                        _write(file, waiting.popleft().result())
                for one in waiting:
                    _write(file, one.result())
            os.ftruncate(file, sum(run.length for run in runs if run.present))


def _visits(runs: Iterable[Run]) -> Iterator[_Visit]:
    """Yield each file of pages with what is wanted of it, in the order of the pages image."""
    known, position = memory.Names(), 0
    path, places = "", list[tuple[int, int, int]]()
    for run in runs:
        if not run.present:
            continue
        for part in memory.parts(run):
            if not known.follows(part):
                if places:
                    yield path, places
                path, places = known.path, []
            places.append((part.offset, part.length, position))
            position += part.length
    if places:
        yield path, places


def _read(image: store.Image, visits: Iterable[_Visit]) -> list[_Pages]:
    """Return what an image's files hold, by where a pages image has it; what they do not hold is zeros in both."""
    found: list[_Pages] = []
    for path, places in visits:
        first = 0
        for offset, data in image.extents(path):
            end = offset + len(data)
            while first < len(places) and places[first][0] + places[first][1] <= offset:
                first += 1
            for begin, length, position in places[first:]:
                if begin >= end:
                    break
                start, stop = max(begin, offset), min(begin + length, end)
                found.append((position + start - begin, memoryview(data)[start - offset : stop - offset]))
    return found


def _write(file: int, pages: Iterable[_Pages]) -> None:
    for position, data in pages:
        _put(file, data, position)


def _compare_processor(image: Path, criu: str, here: str) -> None:
    """The plan has compared what was told of both; this is what is restored, and where. criu looks too."""
    if not image.exists():
        return
    lacking: tuple[str, ...] = ()
    with contextlib.suppress(errors.Damaged):
        lacking = processor.lacking(features.decode(_content(image)), here)
    if lacking or not program.cpuinfo(criu, image.parent, "check"):
        raise errors.Refused(
            "this machine's processor lacks features that the program may use: "
            f"{processor.told(lacking) if lacking else 'it was started on another kind'}",
            remedy="Place the job on hosts with the same kind of processor.",
        )


def _check_descriptors(content: bytes) -> None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list) or len(value) > 3 or not all(isinstance(one, str) for one in value):
        raise errors.Damaged("descriptors.json is not what runc writes")


def _content(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST_LOOKED_INTO:
        raise errors.Damaged(f"{path.name} is too large to be what its name says")
    return path.read_bytes()


@contextlib.contextmanager
def _created(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _put(file: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        offset, view = offset + written, view[written:]
