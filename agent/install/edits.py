"""Changes of a machine's files as values: shown before they are made, made whole or not at all, taken back when told.

The first change of a file that somebody else keeps leaves its content beside it (`ORIGINAL`), so that taking Perdure away
gives back every byte, comments and all.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent.install import machine as machines
from agent.install.machine import Machine
from reconciler import errors
from reconciler.seams import durable

ORIGINAL = ".before-perdure"
"""Suffix of the copy of a file as it was before the first change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One file, before and after."""

    path: str
    before: bytes | None
    """None: there is no such file."""
    after: bytes | None
    """None: the file goes."""
    mode: int = 0o644
    """Permission bits of a new file. One that exists keeps its own."""


def changing(changes: Iterable[Edit]) -> tuple[Edit, ...]:
    """Return the edits that change something."""
    return tuple(edit for edit in changes if edit.before != edit.after)


def diff(changes: Iterable[Edit]) -> str:
    """Return the changes as a unified diff."""
    return "".join(part for edit in changes for part in _diff(edit))


def _diff(edit: Edit) -> Iterator[str]:
    before, after = (
        (content or b"").decode("utf-8", "replace").splitlines(keepends=True) for content in (edit.before, edit.after)
    )
    old = f"a{edit.path}" if edit.before is not None else os.devnull
    new = f"b{edit.path}" if edit.after is not None else os.devnull
    for line in difflib.unified_diff(before, after, old, new):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def original(machine: Machine, path: str) -> bytes | None:
    """Return what a file held before the first change; None where nothing was kept."""
    return machines.read(machine, path + ORIGINAL)


def keeping(machine: Machine, edit: Edit) -> tuple[Edit, ...]:
    """Return the edit with the one that keeps the original beside it. `edit.before` must be free of ours."""
    if edit.before is None:
        return (*forgetting(machine, edit.path), edit)
    path = edit.path + ORIGINAL
    mode = machines.at(machine, edit.path).stat().st_mode & 0o777
    return (Edit(path=path, before=machines.read(machine, path), after=edit.before, mode=mode), edit)


def forgetting(machine: Machine, path: str) -> tuple[Edit, ...]:
    """Return the edit that removes the kept original: of a file that is free of ours, it is worth nothing."""
    return changing((Edit(path=path + ORIGINAL, before=original(machine, path), after=None),))


@dataclass(slots=True)
class Transaction:
    """Edits in the order in which they were made, so that they can be taken back in the opposite one."""

    machine: Machine
    made: list[Edit] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def make(self, changes: Iterable[Edit]) -> None:
        """Make the edits. Raises `errors.Unavailable`, or `errors.Busy` when a file is not any more what it was."""
        for edit in changing(changes):
            if machines.read(self.machine, edit.path) != edit.before:
                raise errors.Busy("somebody changes this file at the same time", where=edit.path, remedy="Run it again.")
            self.made.append(edit)
            self._write(edit.path, edit.after, edit.mode)

    def take_back(self) -> None:
        """Give every file its old content, newest change first, and remove the folders that were made. Safe to repeat."""
        while self.made:
            edit = self.made.pop()
            self._write(edit.path, edit.before, edit.mode)
        while self.folders:
            with suppress(OSError):  # somebody has put something into it
                self.folders.pop().rmdir()

    def _write(self, path: str, content: bytes | None, mode: int) -> None:
        place = Path(os.path.realpath(machines.at(self.machine, path)))  # a link stays a link: what it names is changed
        if content is None:
            if place.parent.is_dir():
                durable.remove(place)
            return
        self._folder(place.parent)
        with suppress(FileNotFoundError):
            mode = place.stat().st_mode & 0o777
        durable.write_atomic(place, content, mode)

    def _folder(self, folder: Path) -> None:
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            try:
                each.mkdir(mode=0o755)
            except OSError as error:
                raise errors.Unavailable(
                    f"the folder cannot be made: {error.strerror}", where=str(each), remedy="Is that file system read-only?"
                ) from error
            self.folders.append(each)
