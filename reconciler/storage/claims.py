"""Claims of attempts: a file a number, created by one owner. Who holds less than the highest begins and publishes nothing."""

from __future__ import annotations

import contextlib
import re

from reconciler import errors
from reconciler.core import spec
from reconciler.storage import files, layout
from reconciler.storage.disk import Disk

_LONGEST_OWNER = 4096

_LEDGER = "ledger"
"""Name of the file beside the claims that holds the name of the ledger they are made for."""

_NAME = re.compile(rb"[0-9A-Za-z._-]+")


def enter(disk: Disk, run: str, ledger: str, token: str) -> None:
    """Make a run `ledger`'s, unless it is another's: then raise `errors.Refused`; `errors.Unavailable` for what is no name.

    Equal jobs of two repositories whose loops have one instance name are one run here: each would take the other's attempts
    for its own, supersede them, and delete their checkpoints.
    """
    place = f"{layout.attempts(run)}/{_LEDGER}"
    _name(disk, place, f".{token}", ledger.encode())
    found = files.read_all(disk, place, _LONGEST_OWNER)
    if found == ledger.encode():
        return
    if not _NAME.fullmatch(found) or ledger.encode().startswith(found):
        raise errors.Unavailable(
            "the name of the ledger that the run belongs to was altered or cut short",
            where=place,
            remedy="Remove that file: it is written again before the attempt begins",
        )
    raise errors.Refused(
        "the store holds this run for another repository, whose loop has the same instance name",
        where=layout.run(run),
        remedy="Give one of the two loops another instance name, or its Store another root. Where that repository is no more, "
        "`perdure rerun` begins another run",
    )


def claim(disk: Disk, ref: spec.AttemptRef, owner: str, token: str) -> bool:
    """Claim a number for `owner`; return whether it is theirs now, or was already, and no higher one is anybody's."""
    folder = layout.attempts(ref.run)
    place = f"{folder}/{ref.attempt}"
    content = owner.encode()[:_LONGEST_OWNER]
    _name(disk, place, f".{token}", content)
    if files.read_all(disk, place, _LONGEST_OWNER) != content:
        return False
    disk.sync_folder(folder)  # also when it was ours before: that process may not have come to it
    return max(_numbers(disk, ref.run)) == ref.attempt


def _name(disk: Disk, place: str, aside: str, content: bytes) -> None:
    """Make a file that is whole before it has its name: a reader never sees half an owner. Leave one that is there."""
    folder = place.rpartition("/")[0]
    for _ in range(files.TRIES):
        file = files.create_aside(disk, folder, aside)
        try:
            file.lock(exclusive=True)  # so that a sweep sees that its owner lives
            file.write(content)
            file.sync()
            disk.link(f"{folder}/{aside}", place)
            return
        except FileExistsError:  # it has an owner, perhaps us
            return
        except FileNotFoundError:  # a sweep came between the file and its lock
            continue
        finally:
            file.close()
            with contextlib.suppress(OSError):
                disk.unlink(f"{folder}/{aside}")
    raise errors.Busy("a sweep took the claim's file again and again; try again", where=place)


def check(disk: Disk, ref: spec.AttemptRef) -> None:
    """Raise `errors.Busy` when a higher number was claimed, `errors.Refused` when this one never was."""
    numbers = _numbers(disk, ref.run)
    if ref.attempt not in numbers:
        raise errors.Refused(
            f"attempt {ref.attempt} was not claimed in the store",
            where=ref.run,
            remedy="This is another store than the one it began with, or an emptied one: bring that one back, or begin anew.",
        )
    if max(numbers) > ref.attempt:
        raise errors.Busy(
            f"attempt {ref.attempt} was superseded by attempt {max(numbers)}; its checkpoints are not published",
            where=ref.run,
            remedy="Nothing to do: the newer attempt goes on.",
        )


def _numbers(disk: Disk, run: str) -> list[int]:
    try:
        return [int(name) for name in disk.names(layout.attempts(run)) if name.isdecimal()]
    except FileNotFoundError:
        return []
