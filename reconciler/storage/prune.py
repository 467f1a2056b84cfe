"""Planned deletion in two phases, and what crashes left behind.

Phase one leaves a tombstone. Phase two, longer after it than the longest restore, reads the pins again, then removes the
manifest durably, and only then the packs that no remaining manifest of the run names. What cannot be read counts as needed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import codec, lineage, observed
from reconciler.storage import files, image, layout, leases
from reconciler.storage.disk import Disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """Since when an image is to go, and why."""

    since: float
    reason: str = ""


def prune(disk: Disk, plan: store.Prune, now: float, token: str) -> set[str]:
    """Carry out a plan; return the digests of the images that its run still has."""
    run = plan.run
    here = set(images(disk, run))
    gone = set()
    for digest in sorted(here.intersection((*plan.digests, *plan.keep))):
        if _kept(disk, digest, plan):
            _forgive(disk, run, digest)
            continue
        since = _tombstone(disk, digest, plan, now, token)
        if now - since >= plan.grace and _delete(disk, digest, plan):
            gone.add(digest)
    if gone:
        collect(disk, run)
    return here - gone


def digests(disk: Disk, run: str) -> list[str]:
    """Return what folders of images a run has, also those without a manifest."""
    names = (f"sha256:{name}" for name in _names(disk, layout.checkpoints(run)))
    return [name for name in names if layout.DIGEST.fullmatch(name)]


def images(disk: Disk, run: str) -> list[str]:
    """Return the digests of a run's images whose manifests are in place, whatever is in them."""
    return [digest for digest in digests(disk, run) if layout.MANIFEST in _names(disk, layout.image(run, digest))]


def sweep(disk: Disk, run: str) -> None:
    """Remove what dead writers of a run left: packs without an image, manifests without a name, images half deleted."""
    folders = [layout.image(run, digest) for digest in digests(disk, run)]
    asides = [f"{folder}/{name}" for folder in (layout.attempts(run), *folders) for name in _names(disk, folder)]
    writers = collect(disk, run)  # after the asides are listed: a writer that begins later than this has none among them
    for path in asides:
        known = layout.ASIDE.fullmatch(path.rpartition("/")[2])
        if known is not None and known[1] not in writers.living:
            with contextlib.suppress(FileNotFoundError):
                if not leases.held(disk, path):
                    disk.unlink(path)
    for folder in folders:
        if not writers.living and layout.MANIFEST not in _names(disk, folder):  # one that lives may have just made it
            _remove_image_folder(disk, folder)


def collect(disk: Disk, run: str) -> leases.Writers:
    """Remove the packs that belong to no image and no living writer. Removes nothing where a manifest cannot be read.

    The packs are listed first, then the writers, then the manifests: a pack seen here has a writer that lives, or one that has
    ended and has its manifest in place, or nobody.
    """
    packs = _names(disk, layout.packs(run))
    writers = leases.writers(disk, run)
    here = images(disk, run)
    try:
        needed = {pack for digest in here for pack in _packs(disk, run, digest)}
    except (errors.PerdureError, FileNotFoundError):
        return leases.Writers(writers.living, frozenset())
    if images(disk, run) != here:  # a manifest that came may name packs of one that went before it was read
        return leases.Writers(writers.living, frozenset())
    for name in packs:
        known = layout.PACK.fullmatch(name)
        if known is not None and name not in needed and known[1] not in writers.living:
            files.discard(disk, f"{layout.packs(run)}/{name}")
    for token in writers.dead:
        leases.bury(disk, run, token)
    return writers


def _packs(disk: Disk, run: str, digest: str) -> list[str]:
    found, file = image.read_manifest(disk, run, digest)
    file.close()
    return [pack.name for pack in (*found.body.packs, found.body.index)]


def _kept(disk: Disk, digest: str, plan: store.Prune) -> bool:
    if digest in plan.keep or layout.PINNED in _names(disk, layout.image(plan.run, digest)):
        return True
    # the newest of a run goes only together with all others: a plan made from old facts must not leave a run with nothing
    here = images(disk, plan.run)
    return digest == _newest(disk, plan.run, here) and not set(here) <= set(plan.digests)


def _newest(disk: Disk, run: str, here: list[str]) -> str:
    """Return the end of the newest attempt's line."""
    taken: list[observed.Taken] = []
    for digest in here:
        try:
            found, file = image.read_manifest(disk, run, digest)
        except errors.PerdureError:
            continue
        file.close()
        taken.append(found.body.taken(digest))
    last = lineage.newest(taken)
    return last.digest if last is not None else ""


def _tombstone(disk: Disk, digest: str, plan: store.Prune, now: float, token: str) -> float:
    """Return since when the image has a tombstone; give it one when it has none that can be read."""
    folder = layout.image(plan.run, digest)
    path = f"{folder}/{layout.TOMBSTONE}"
    try:
        return min(codec.decode(files.read_all(disk, path, 4096), Tombstone).since, now)
    except (FileNotFoundError, errors.Damaged):
        content = codec.encode(Tombstone(since=now, reason=plan.reason[:1000]))
        with contextlib.suppress(FileNotFoundError):  # swept away while it was written: the next pass writes it
            files.write_aside(disk, path, f"{folder}/.{token}.tombstone", content)
        return now


def _forgive(disk: Disk, run: str, digest: str) -> None:
    """Take the tombstone of what is kept away: once nothing holds it any more, the grace begins anew."""
    folder = layout.image(run, digest)
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(f"{folder}/{layout.TOMBSTONE}")
        disk.sync_folder(folder)


def _delete(disk: Disk, digest: str, plan: store.Prune) -> bool:
    """Remove an image's name unless someone reads it or has pinned it since."""
    folder = layout.image(plan.run, digest)
    path = f"{folder}/{layout.MANIFEST}"
    file = disk.open(path, write=True)
    try:
        if not file.lock(exclusive=True) or _kept(disk, digest, plan):
            return False
        disk.unlink(path)
        disk.sync_folder(folder)  # before any pack goes: a manifest that came back would name packs that are gone
    finally:
        file.close()
    _remove_image_folder(disk, folder)
    return True


def _remove_image_folder(disk: Disk, folder: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        disk.unlink(f"{folder}/{layout.TOMBSTONE}")
    with contextlib.suppress(OSError):  # a writer's aside may lie in it, or a person's file
        disk.rmdir(folder)


def _names(disk: Disk, folder: str) -> list[str]:
    try:
        return disk.names(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
