"""Which files an image may hold: what its names could do to whoever restores it is decided here, on writing and opening."""

from __future__ import annotations

from reconciler import errors
from reconciler.contracts import store

MOST_FILES = 250_000
"""Files of one image: their table is held in memory."""

LARGEST_FILE = 1 << 44
"""Bytes of the largest file (16 TiB, what ext4 holds)."""

_LONGEST_PATH = 4096
_LONGEST_NAME = 255
KINDS = ("file", "directory", "symlink")


class Names:
    """The files of one image, checked one after the other."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._above: set[str] = set()
        """Folders that the paths so far pass through, announced or not."""

    def add(self, entry: store.FileEntry) -> None:
        """Accept one file. Raises `errors.InvalidInput` and says why it cannot be part of an image."""
        problem = self._problem(entry)
        if problem:
            raise errors.InvalidInput(f"this file cannot be part of a checkpoint: {problem}", where=entry.path[:200])
        self._kinds[entry.path] = entry.kind
        self._above.update(_above(entry.path))

    def _problem(self, entry: store.FileEntry) -> str:
        if len(self._kinds) >= MOST_FILES:
            return f"more than {MOST_FILES} files; put them into an archive"
        if entry.kind not in KINDS:
            return f"a {entry.kind} (device, FIFO, socket, hard link) is not kept"
        if problem := _bad_path(entry.path):
            return problem
        if entry.path in self._kinds:
            return "the name appears twice"
        if not 0 <= entry.size <= LARGEST_FILE or (entry.size and entry.kind != "file"):
            return f"its size {entry.size} cannot be"
        if any(self._kinds.get(above, "directory") != "directory" for above in _above(entry.path)):
            return "it lies below something that is not a directory"
        if entry.kind != "directory" and entry.path in self._above:
            return "other files lie below it"
        if entry.kind == "symlink" and not stays_inside(entry.path, entry.link):
            return f"it is a link that leads outside ({entry.link[:80]!r})"
        return ""


def stays_inside(path: str, link: str) -> bool:
    """Return whether a symbolic link at `path` leads to a place inside the image, wherever the links it passes lead.

    Only leading ".." are taken: a ".." behind the name of another link would step up from where that one leads.
    """
    parts = link.split("/")
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    rest = parts[ups:]
    return (
        bool(link)
        and "\0" not in link
        and not link.startswith("/")
        and len(link) <= _LONGEST_PATH
        and ups <= path.count("/")
        and ".." not in rest
    )


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _bad_path(path: str) -> str:
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if not path or length > _LONGEST_PATH:
        return "its path is empty or longer than 4096 bytes"
    if path.startswith("/") or "\0" in path or "\\" in path:
        return "its path is absolute or holds a NUL or backslash"
    parts = path.split("/")
    if len(parts) > store.DEEPEST:
        return f"it lies more than {store.DEEPEST} folders deep"
    if any(part in ("", ".", "..") or len(part.encode()) > _LONGEST_NAME for part in parts):
        return 'its path has an empty, ".", ".." or too long part'
    return ""
