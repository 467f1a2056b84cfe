"""Claims of attempts: a file a number, created by one owner. Who holds less than the highest number publishes nothing."""

from __future__ import annotations

import contextlib

from reconciler import errors
from reconciler.core import spec
from reconciler.storage import files, layout
from reconciler.storage.disk import Disk

_LONGEST_OWNER = 4096


def claim(disk: Disk, ref: spec.AttemptRef, owner: str, token: str) -> bool:
    """Claim a number for `owner`; return whether it is theirs now, or was already."""
    folder = layout.attempts(ref.run)
    place, aside = f"{folder}/{ref.attempt}", f"{folder}/.{token}"
    content = owner.encode()[:_LONGEST_OWNER]
    disk.folder(folder)
    file = disk.create(aside)  # whole before it has the name: a reader never sees half an owner
    try:
        file.write(content)
        file.sync()
        with contextlib.suppress(FileExistsError):  # then it has an owner, perhaps us
            disk.link(aside, place)
    finally:
        file.close()
        with contextlib.suppress(OSError):
            disk.unlink(aside)
    if files.read_all(disk, place, _LONGEST_OWNER) != content:
        return False
    disk.sync_folder(folder)  # also when it was ours before: that process may not have come to it
    return True


def check(disk: Disk, ref: spec.AttemptRef) -> None:
    """Raise `errors.Busy` when a higher number was claimed, `errors.Refused` when this one never was."""
    numbers = [int(name) for name in _names(disk, ref.run) if name.isdigit()]
    if ref.attempt not in numbers:
        raise errors.Refused(
            f"attempt {ref.attempt} was not claimed in the store", where=ref.run, remedy="Claim it before writing."
        )
    if max(numbers) > ref.attempt:
        raise errors.Busy(
            f"attempt {ref.attempt} was superseded by attempt {max(numbers)}; its checkpoints are not published",
            where=ref.run,
            remedy="Nothing to do: the newer attempt goes on.",
        )


def _names(disk: Disk, run: str) -> list[str]:
    try:
        return disk.names(layout.attempts(run))
    except FileNotFoundError:
        return []
