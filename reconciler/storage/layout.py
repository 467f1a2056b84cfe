"""Which path below the store's root holds what. `docs/reference/image-format.md` shows the tree."""

from __future__ import annotations

import re

from reconciler import errors

RUNS = "runs"
MANIFEST = "manifest.json"
TOMBSTONE = "tombstone.json"
PINNED = "pinned"
"""A file of this name, put beside a manifest by a person, protects that image from every prune."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PACK = re.compile(r"([0-9a-f]{16})-(?:[0-9]{5,9}|index)")
ASIDE = re.compile(r"\.([0-9a-f]{16})(?:\..*)?")
"""A file being written, by the token of its writer."""

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def run(name: str) -> str:
    """Return the folder of a run. Raises `errors.InvalidInput` for a name that could leave the store."""
    if not _RUN.fullmatch(name):
        raise errors.InvalidInput(f"{name!r} is not the id of a run")
    return f"{RUNS}/{name}"


def is_run(name: str) -> bool:
    """Return whether a name found in the store can be a run's."""
    return _RUN.fullmatch(name) is not None


def attempts(name: str) -> str:
    """Return the folder of a run's claims, one file an attempt."""
    return f"{run(name)}/attempts"


def checkpoints(name: str) -> str:
    """Return the folder of a run's images."""
    return f"{run(name)}/checkpoints"


def image(name: str, digest: str) -> str:
    """Return the folder of one image. Raises `errors.InvalidInput` for what is no digest."""
    if not DIGEST.fullmatch(digest):
        raise errors.InvalidInput(f"{digest!r} is not the digest of a checkpoint", remedy="It reads sha256: and 64 hex digits.")
    return f"{checkpoints(name)}/{digest.removeprefix('sha256:')}"


def packs(name: str) -> str:
    """Return the folder of a run's packs and indexes."""
    return f"{run(name)}/packs"


def writing(name: str) -> str:
    """Return the folder of a run's living writers: one locked file each, named by the writer's token."""
    return f"{run(name)}/writing"


def logs(name: str, attempt: int) -> str:
    """Return the folder of an attempt's log, one file a segment."""
    return f"{run(name)}/logs/{attempt}"
