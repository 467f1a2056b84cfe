"""The last steps of a commit: the manifest aside, durable, read back; then its name, which alone counts; then its sync."""

from __future__ import annotations

import contextlib

from reconciler import errors
from reconciler.storage import files, layout
from reconciler.storage.disk import Disk


class Publication:
    """One manifest on its way to its name."""

    def __init__(self, disk: Disk, run: str, digest: str, token: str) -> None:
        self._disk = disk
        self._folder = layout.image(run, digest)
        self._token = token
        self._aside = f"{self._folder}/.{token}"
        self._name = f"{self._folder}/{layout.MANIFEST}"
        self.offered = False
        """The name may be there: its packs must stay."""

    def prepare(self, content: bytes) -> None:
        """Put the manifest beside its place, durable and read back."""
        file = files.create_aside(self._disk, self._folder, f".{self._token}")
        try:
            file.write(content)
            file.sync()
        finally:
            file.close()
        again = self._disk.open(self._aside)
        try:
            if again.read(0, len(content) + 1) != content:
                raise errors.Damaged("the manifest read back is not what was written", where=self._aside)
        finally:
            again.close()

    def offer(self) -> None:
        """Give it its name, durably."""
        self.offered = True
        self._disk.rename(self._aside, self._name)
        self._disk.sync_folder(self._folder)

    def take_back(self) -> None:
        """Undo as far as possible. `offered` stays set when the name could not be removed durably."""
        with contextlib.suppress(OSError):
            self._disk.unlink(self._aside)
        if self.offered:
            with contextlib.suppress(OSError):
                with contextlib.suppress(FileNotFoundError):
                    self._disk.unlink(self._name)
                self._disk.sync_folder(self._folder)
                self.offered = False
        if not self.offered:
            with contextlib.suppress(OSError):
                self._disk.rmdir(self._folder)
