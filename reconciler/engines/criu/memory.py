"""Pages as files of an image, and back.

Pages lie in files of up to 1 MiB (a window) that are named after the address: `memory/task-1/7f12a3b` holds what process 1
has from 0x7f12a3b00000 on. A page keeps its place in the image as long as it keeps its address, so that an image finds
unchanged memory in its parent although other memory came or went. Which pages there are is told by CRIU's own pagemap images
beside them (`pagemap_head`, `pagemap_entry` in CRIU's `images/pagemap.proto`); CRIU's `pages-N.img`, which has them back to
back, is written from both on restore.

CRIU may come back to a window (it sorts pages by kind): the second visit goes to a file of its own, `7f12a3b.1`. Reader and
writer go through the same runs in the same order, so that both find the same names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler import errors
from reconciler.contracts import store
from reconciler.engines.criu import messages, receiver
from reconciler.engines.criu.receiver import Owner, Run

FOLDER = "memory"
WINDOW = 1 << 20
FIRST_PAGES_ID = 0x10001
"""Ids of pages images begin here, as CRIU's own page server has it: below are those that the dump itself writes."""

LARGEST_ADDRESS = 1 << 57

_FOLDERS = {receiver.TASK: "task", receiver.SHARED: "shared"}
_PAGEMAPS = {receiver.TASK: "pagemap-{}.img", receiver.SHARED: "pagemap-shmem-{}.img"}
_PREFIXES = ((receiver.SHARED, "pagemap-shmem-"), (receiver.TASK, "pagemap-"))


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a run that lies in one window."""

    owner: Owner
    window: int
    offset: int
    """In the window."""
    length: int


def parts(run: Run) -> Iterator[Part]:
    """Cut a run at the bounds of windows."""
    address, left = run.address, run.length
    while left:
        offset = address % WINDOW
        length = min(left, WINDOW - offset)
        yield Part(run.owner, address // WINDOW, offset, length)
        address += length
        left -= length


class Names:
    """Which file a part belongs to. Ask with every part, in order."""

    def __init__(self) -> None:
        self._owner: Owner | None = None
        self._left: set[Owner] = set()
        self._window = -1
        self._end = 0
        self._visits: dict[int, int] = {}
        self.path = ""

    def follows(self, part: Part) -> bool:
        """Whether the part goes into the file of the part before; else `path` is another now."""
        if part.owner != self._owner:
            self._turn_to(part.owner)
        same = part.window == self._window and part.offset >= self._end
        self._end = part.offset + part.length
        if same:
            return True
        visit = self._visits.get(part.window, 0)
        self._visits[part.window] = visit + 1
        self._window = part.window
        suffix = f".{visit}" if visit else ""
        self.path = f"{FOLDER}/{_FOLDERS[part.owner.kind]}-{part.owner.number}/{part.window:x}{suffix}"
        return False

    def _turn_to(self, owner: Owner) -> None:
        if owner in self._left:
            raise errors.Damaged(f"CRIU sent memory of {_FOLDERS[owner.kind]} {owner.number} in two goes")
        if self._owner is not None:
            self._left.add(self._owner)
        self._owner, self._window, self._visits = owner, -1, {}


class Windows:
    """Writes pages into an image. Holds one window at most."""

    def __init__(self, sink: store.Sink) -> None:
        self._sink = sink
        self._names = Names()
        self._path = ""
        self._held: list[tuple[int, bytes]] = []

    def add(self, part: Part, data: bytes) -> None:
        """Add a part's bytes."""
        if not self._names.follows(part):
            self.flush()
            self._path = self._names.path
        self._held.append((part.offset, data))

    def flush(self) -> None:
        """Hand over what is held."""
        if not self._held:
            return
        offset, data = self._held[-1]
        self._sink.file(store.FileEntry(path=self._path, mode=0o600, size=offset + len(data)))
        for offset, data in self._held:
            self._sink.extent(self._path, offset, data)
        self._held = []


class Pagemaps:
    """The runs of a dump, in the order in which they came; neighbours of one kind are one."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._owners: dict[Owner, None] = {}

    def begin(self, owner: Owner) -> None:
        """Note an owner, which may have no pages at all."""
        self._owners[owner] = None

    def add(self, run: Run) -> None:
        """Note a run. Raises `errors.Damaged` for one that cannot be."""
        if run.pages < 1 or run.address % receiver.PAGE or run.address + run.length > LARGEST_ADDRESS:
            raise errors.Damaged(f"CRIU sent impossible pages ({run.pages} at {run.address:#x})")
        last = self.runs[-1] if self.runs else None
        if (
            last is not None
            and last.owner == run.owner
            and last.flags == run.flags
            and last.address + last.length == run.address
            and last.pages + run.pages < 1 << 31
        ):
            self.runs[-1] = Run(run.owner, last.address, last.pages + run.pages, run.flags)
        else:
            self.runs.append(run)

    def images(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and content of each pagemap image."""
        known: dict[Owner, list[Run]] = {owner: [] for owner in self._owners}
        for run in self.runs:
            known.setdefault(run.owner, []).append(run)
        for number, (owner, runs) in enumerate(known.items(), FIRST_PAGES_ID):
            listed = [messages.encode([(1, number)])]
            listed += [messages.encode([(1, run.address), (2, run.pages), (4, run.flags)]) for run in runs]
            content = messages.image(messages.COMMON_MAGIC, messages.PAGEMAP_MAGIC, listed)
            yield _PAGEMAPS[owner.kind].format(owner.number), content


def read_pagemap(name: str, content: bytes) -> tuple[int, list[Run]] | None:
    """Return the number of the pages image and the runs of a pagemap image; None for an image of another kind.

    Raises `errors.Damaged` for one that does not hold what its name says.
    """
    owner = _owner(name)
    if owner is None:
        return None
    head, *entries = [
        messages.decode(one, name) for one in messages.messages(content, messages.COMMON_MAGIC, messages.PAGEMAP_MAGIC, name)
    ] or [{}]
    pages_id = messages.number(head, 1)
    if pages_id < 1 or pages_id >= 1 << 32:
        raise errors.Damaged("the pagemap names no pages image", where=name)
    known = Pagemaps()
    for entry in entries:
        known.add(Run(owner, messages.number(entry, 1), messages.number(entry, 2), messages.number(entry, 4)))
    return pages_id, known.runs


def _owner(name: str) -> Owner | None:
    for kind, prefix in _PREFIXES:
        number = name.removeprefix(prefix).removesuffix(".img")
        if name.startswith(prefix) and name.endswith(".img") and number.isascii() and number.isdigit():
            return Owner(kind, int(number))
    return None
