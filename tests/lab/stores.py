"""A file system that every node sees at the same path: what a store of checkpoints is made of, and made to fail with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Literal, Protocol

INSIDE = "/srv/lab"
"""Where the lab's shared folder lies in every node."""

BLOCK = 1 << 16


class Mounts(Protocol):
    """What a store needs of its lab."""

    shared: Path

    def ask(self, verb: str, **arguments: object) -> dict[str, Any]:
        """Has the supervisor mount or unmount."""

    def outside(self, name: str) -> Path:
        """A shared folder as the tests can open it."""


class Store:
    """A small file system, mounted in every node at once. Made by `Lab.store`."""

    def __init__(self, lab: Mounts, name: str, size: str, kind: Literal["tmpfs", "ext4"]) -> None:
        self.name = name
        self.path = f"{INSIDE}/{name}"
        """Where it lies in every node."""
        self._lab = lab
        self._size = size
        self._kind = kind
        self._image = lab.shared.parent / f"{name}.ext4"
        if kind == "ext4":
            options = "lazy_itable_init=0,lazy_journal_init=0"
            subprocess.run(
                ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-E", options, str(self._image), size],
                check=True,
                capture_output=True,
            )

    @property
    def outside(self) -> Path:
        """The same folder as the tests can open it; what is below when it is not mounted."""
        return self._lab.outside(self.name)

    def mount(self) -> None:
        """Mounts it. A tmpfs is empty again after an unmount, an ext4 is as it was."""
        how = (
            ["-t", "tmpfs", "-o", f"size={self._size}", "tmpfs"] if self._kind == "tmpfs" else ["-o", "loop", str(self._image)]
        )
        self._lab.ask("mount", name=self.name, arguments=how)

    def unmount(self) -> None:
        """Takes it away under its users: the folder is there and is no mount point."""
        self._lab.ask("unmount", name=self.name)

    def fill(self, leave: int = 0) -> Path:
        """Leaves only `leave` bytes free (about; a block's worth). Answers the file that takes the room: remove it to mend."""
        ballast = self.outside / "ballast"
        with ballast.open("ab") as file:
            try:
                while (free := self.free()) > leave:
                    file.write(bytes(min(free - leave, BLOCK)))
                    file.flush()
            except OSError:
                pass
        return ballast

    def free(self) -> int:
        """Bytes that can still be written."""
        status = os.statvfs(self.outside)
        return status.f_bavail * status.f_frsize
