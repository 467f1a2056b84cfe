"""Claims of attempts: a file a number, created by one owner. Who holds less than the highest begins and publishes nothing."""

from __future__ import annotations

import contextlib

from reconciler import errors
from reconciler.core import spec
from reconciler.storage import files, layout
from reconciler.storage.disk import Disk

_LONGEST_OWNER = 4096


def claim(disk: Disk, ref: spec.AttemptRef, owner: str, token: str) -> bool:
    """Claim a number for `owner`; return whether it is theirs now, or was already, and no higher one is anybody's."""
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
    return max(_numbers(disk, ref.run)) == ref.attempt


def check(disk: Disk, ref: spec.AttemptRef) -> None:
    """Raise `errors.Busy` when a higher number was claimed, `errors.Refused` when this one never was."""
    numbers = _numbers(disk, ref.run)
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


def _numbers(disk: Disk, run: str) -> list[int]:
    try:
        return [int(name) for name in disk.names(layout.attempts(run)) if name.isdigit()]
    except FileNotFoundError:
        return []
