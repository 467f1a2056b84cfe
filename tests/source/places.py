"""One way to change what a source reads, whatever it is: the contract suite drives every source through this."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from reconciler.contracts.source import Source
from reconciler.seams import clock
from reconciler.seams.git import mirror
from reconciler.source import fake, folder, repository
from tests.seams import repositories


class Place(Protocol):
    """A source and the world behind it."""

    source: Source

    def write(self, files: Mapping[str, bytes]) -> str:
        """Make these files the newest state, and return the revision."""
        ...

    def take_away(self) -> None:
        """Make the source unreachable."""
        ...


class FakePlace:
    """In memory."""

    def __init__(self) -> None:
        self._fake = fake.FakeSource()
        self.source: Source = self._fake

    def write(self, files: Mapping[str, bytes]) -> str:
        return self._fake.commit(files)

    def take_away(self) -> None:
        self._fake.break_off()


class RepositoryPlace:
    """A bare repository on this machine."""

    def __init__(self, root: Path) -> None:
        self._remote = repositories.bare(root / "remote.git")
        self._person = repositories.Person(self._remote, root / "person")
        self.source: Source = repository.RepositorySource(
            repositories.mirror_of(self._remote, root / "data"), "main", clock.System()
        )

    def write(self, files: Mapping[str, bytes]) -> str:
        self._person.git("fetch", "--quiet", "origin")
        self._person.git("reset", "--quiet", "--soft", "origin/main") if self._person.git("branch", "-r") else None
        _replace(self._person.folder, files)
        revision = self._person.commit({})
        self._person.push()
        return revision

    def take_away(self) -> None:
        self._remote.rename(self._remote.with_name("elsewhere.git"))


class FolderPlace:
    """A working folder."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "folder"
        self._folder.mkdir()
        self.source: Source = folder.FolderSource(mirror.Mirror(root / "data" / "folder.git"), self._folder, clock.System())

    def write(self, files: Mapping[str, bytes]) -> str:
        _replace(self._folder, files)
        return getattr(self.source.fetch(), "id", "")

    def take_away(self) -> None:
        shutil.rmtree(self._folder)


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    for path in folder.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
