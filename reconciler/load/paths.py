"""Plain files on disk as a tree: what `perdure validate` reads. Links are listed and never followed.

What the `.gitignore` at the root hides will not be committed, so it is not read, unless it was asked for by name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reconciler import errors
from reconciler.contracts.source import Entry
from reconciler.core import model
from reconciler.load import layout
from reconciler.load.ignore import Ignore

_MARKERS = (layout.FILE, ".git")
"""What the root of a repository contains."""

_FILE, _LINK, _SUBMODULE = "100644", "120000", "160000"

_MODULE = re.compile(r'^\s*path\s*=\s*"?(.*?)"?\s*$', re.MULTILINE)
"""Where `.gitmodules` says that a submodule belongs: one that was not fetched is an empty folder."""


class PathTree:
    """The files below one folder, of which some were asked for."""

    revision = ""

    def __init__(self, root: Path, asked: Sequence[Path], *, whole: bool = True) -> None:
        self.root = root
        self._asked = tuple(asked)
        self._whole = whole
        self._hidden = Ignore(_text(root / ".gitignore"))
        self._modules = frozenset(_MODULE.findall(_text(root / ".gitmodules")))

    def entries(self) -> Iterable[Entry]:
        """Return every file in path order; of a folder that belongs to no repository, only what was asked for."""
        found: list[Entry] = []
        if self._whole:
            self._walk(found)
        else:
            for path in self._asked:
                mode = _LINK if path.is_symlink() else _FILE
                found.append(Entry(path=path.name, mode=mode, oid=path.name, size=path.lstat().st_size))
        return sorted(found, key=lambda entry: entry.path)

    def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        """Return contents by the ids that `entries` gave: paths. Raises `errors.Unavailable` for what cannot be read."""
        return {oid: self._content(oid) for oid in oids}

    def tree_id(self, path: str) -> str | None:
        """Return an id of the names below `path` (contents play no part), or None where there is nothing."""
        place = self.root / path
        if not os.path.lexists(place):
            return None
        names = sorted(str(file) for file in place.rglob("*")) if place.is_dir() and not place.is_symlink() else [path]
        return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()

    def shown(self, problems: Iterable[model.Problem]) -> list[model.Problem]:
        """Return the problems of what was asked for, with paths that lead there from the current folder."""
        here = Path.cwd()
        asked = [layout.printable("" if place == self.root else str(place.relative_to(self.root))) for place in self._asked]
        return [
            replace(problem, file=_from_here(self.root / problem.file, here))
            for problem in problems
            if any(name in ("", problem.file) or problem.file.startswith(f"{name}/") for name in asked)
        ]

    def _walk(self, found: list[Entry]) -> None:
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as children:
                    for child in children:
                        name = f"{folder}/{child.name}" if folder else child.name
                        if child.is_dir(follow_symlinks=False):
                            if child.name != ".git" and (not self._hidden.hides_folder(name) or self._is_asked(name)):
                                self._enter(name, folders, found)
                        elif self._hidden.hides(name) and not self._is_asked(name):
                            continue
                        elif child.is_symlink() or child.is_file():
                            mode = _LINK if child.is_symlink() else _FILE
                            size = child.stat(follow_symlinks=False).st_size
                            found.append(Entry(path=name, mode=mode, oid=name, size=size))
            except OSError as error:
                raise _unreadable(str(self.root / folder), error) from error

    def _enter(self, folder: str, folders: list[str], found: list[Entry]) -> None:
        """Walk on, but not into a repository of its own: Git makes a submodule of it, and without Git it does not count."""
        inside = os.path.lexists(self.root / folder / ".git")
        unfetched = folder in self._modules and not os.listdir(self.root / folder)
        if (inside or unfetched) and (self.root / ".git").exists():
            found.append(Entry(path=folder, mode=_SUBMODULE, oid=folder, size=None))
        elif not inside:
            folders.append(folder)

    def _is_asked(self, name: str) -> bool:
        """Whether a path, something above it (but not the root) or something below it was asked for."""
        place = self.root / name
        return any(place == one or place in one.parents or (one != self.root and one in place.parents) for one in self._asked)

    def _content(self, oid: str) -> bytes:
        path = os.path.join(self.root, oid)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return os.fsencode(os.readlink(path))
            raise _unreadable(path, error) from error
        with open(handle, "rb") as file:
            return file.read()


def trees(paths: Sequence[Path]) -> list[PathTree]:
    """Return one tree for each repository that the paths lie in; a path in none stands for itself.

    Names in a manifest mean objects and files of its whole repository, so that all of it is read, whatever was asked for.
    Raises `errors.InvalidInput` for a path where nothing is.
    """
    groups: dict[tuple[Path, bool], list[Path]] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise errors.InvalidInput("there is no such file or folder", where=str(path), remedy="Correct the path.")
        place = path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()
        found = root(place)
        if found is not None:
            groups.setdefault((found, True), []).append(place)
        elif place.is_dir() and not place.is_symlink():
            groups.setdefault((place, True), []).append(place)
        else:
            groups.setdefault((place.parent, False), []).append(place)
    return [PathTree(top, asked, whole=whole) for (top, whole), asked in groups.items()]


def root(place: Path) -> Path | None:
    """Return the root of the repository, with Git or without, that a path lies in; None: nothing tells."""
    return next((folder for folder in (place, *place.parents) if any((folder / name).exists() for name in _MARKERS)), None)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() and not file.is_symlink() else ""


def _from_here(place: Path, here: Path) -> str:
    return str(place.relative_to(here)) if place.is_relative_to(here) else str(place)


def _unreadable(path: str, error: OSError) -> errors.Unavailable:
    return errors.Unavailable(f"cannot be read: {error.strerror}", where=path, remedy="Give this user the right to read it.")
