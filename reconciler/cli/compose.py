"""Settings become parts. `looking` and `running` put them together; nothing here fetches, locks or starts anything."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reconciler import config, desire, errors, load
from reconciler.cli import options
from reconciler.contracts import source, store
from reconciler.core import model, situation
from reconciler.ledger.repository import RepositoryLedger
from reconciler.load import cache, paths
from reconciler.load import settings as reading
from reconciler.seams import clock, durable
from reconciler.seams.git import address, clone, mirror
from reconciler.source.folder import FolderSource
from reconciler.source.repository import RepositorySource
from reconciler.storage.opened import Opened

ALLOW_EMPTY = "perdure-allow-empty"
"""Trailer by which a commit says that declaring no Job at all is meant."""


def settings(flags: options.Flags) -> config.Settings:
    """Return the effective configuration. Raises `errors.PerdureError` naming the value and where it comes from.

    Where nothing names a repository it is the one around the current folder, as with git.
    """
    given = reading.effective(flags.config, os.environ, flags.settings(), options.NAMES)
    named = given.origins.get("source.repository", "default") != "default"
    root = None if named or address.is_repository(Path.cwd()) else paths.root(Path.cwd())
    return dataclasses.replace(given, source=dataclasses.replace(given.source, repository=str(root))) if root else given


def data(given: config.Settings) -> Path:
    """Return the data directory."""
    if given.data:
        return Path(given.data).expanduser().absolute()
    return Path.home() / ".local" / "share" / "perdure" / given.instance


def prepare(given: config.Settings) -> Path:
    """Make the data directory and return it. Raises `errors.Unavailable`.

    Nobody else can list it. Where we are root, jobs run as another user and must pass through it to their own folders.
    """
    folder = data(given)
    try:
        durable.make_folder(folder, 0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise errors.Unavailable(
            f"the data directory cannot be made: {error.strerror}", where=str(folder), remedy="Name another one with --data."
        ) from error
    return folder


def budgets(given: config.LoopSettings) -> situation.Budgets:
    """Return the limits that the plan obeys."""
    return situation.Budgets(
        lost_after=given.lost_after,
        lost_tries=given.lost_tries,
        backoff=given.backoff,
        backoff_cap=given.backoff_cap,
        launches=given.launches,
    )


def key_folder(given: config.Settings) -> Path:
    """Return the folder of this installation's keys."""
    return Path(given.keys.directory) if given.keys.directory else data(given) / "keys"


def stores(given: config.Settings) -> Callable[[model.StoreSpec], store.Store]:
    """Return what opens stores with the keys of this installation."""
    return Opened(key_folder(given))


def loader(parsed: cache.Cache | None = None) -> desire.Load:
    """Return what reads revisions, each at the cost of what has changed since the one before."""
    parsed = parsed or cache.Cache()

    def read(tree: source.Tree, revision: source.Revision, previous: model.Desired | None) -> model.Desired:
        allowed = revision.trailers.get(ALLOW_EMPTY, "").lower() == "true"
        return load.revision(tree, previous=previous, cache=parsed, allow_empty=allowed)

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """The repository's two sides: what it desires and what it records."""

    mirror: mirror.Mirror
    source: source.Source
    ledger: RepositoryLedger
    local: bool
    """Whether it is on this machine."""


def upstream(given: config.Settings) -> config.Settings:
    """Return the settings with a clone's origin as the repository, where the clone has no ledger of its own.

    So that looking and editing work from inside a clone as they do on the server's repository.
    """
    place = address.parse_address(given.source.repository, Path.cwd())
    if place.path is not None and not (place.path / ".git").exists():
        return given
    found = clone.origin(place.path, f"refs/perdure/state/{given.instance}") if place.path is not None else ""
    if not found:
        return given
    return dataclasses.replace(given, source=dataclasses.replace(given.source, repository=found))


def reviewed(given: config.Settings, revision: str | None) -> config.Settings:
    """Return the settings with the revision to review: what it names in a repository on this machine; None: HEAD of a clone."""
    place = address.parse_address(given.source.repository, Path.cwd())
    at_work = place.path is not None and (place.path / ".git").exists()
    name = revision or ("HEAD" if at_work else "")
    ref = (clone.resolve(place.path, name) if place.path is not None and name else "") or revision or given.source.ref
    return dataclasses.replace(given, source=dataclasses.replace(given.source, ref=ref))


def repository(given: config.Settings, time: clock.System) -> Repository:
    """Return the repository that the settings name; nothing is fetched yet."""
    folder = Path.cwd()
    mirrored = mirror.of(given.source, prepare(given), folder)
    poll = given.loop.poll
    if mirrored.access is None:
        place = address.parse_address(given.source.repository, folder)
        read: source.Source = FolderSource(mirrored, place.path or folder, time, poll)
    else:
        read = RepositorySource(mirrored, given.source.ref, time, poll)
    local = mirrored.access is None or mirrored.access.address.path is not None
    return Repository(mirror=mirrored, source=read, ledger=RepositoryLedger(mirrored, given.instance, time), local=local)
