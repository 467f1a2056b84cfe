"""Where checkpoints and logs are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.core import observed, spec

UNIT = 4096
"""Bytes: extents begin and end at multiples of this (the last extent of a file may end anywhere)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What an image says about itself; signed with it. Decides nothing on restore: the manifest in Git does."""

    instance: str
    tenant: str
    job: str
    run: str
    attempt: int
    number: int = 0
    """Which of its attempt's it is, from 1: clocks jump, and what it was built upon may be gone. 0: nobody knows."""
    engine: str
    engine_version: str = ""
    taken_at: float
    purpose: spec.Purpose = spec.Purpose.TIMER
    request: str = ""
    step: int | None = None
    image: str = ""
    """What a container was made from: the image as its registry knows it, else its id; empty: no container."""
    processor: str = ""
    """What it needs of the processor that it is restored on (see `core.processor`); empty: nothing, or nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of an image.

    `path` is relative, has no "." or ".." part and no backslash trick; `kind` is file, directory or symlink.
    """

    path: str
    kind: str = "file"
    mode: int = 0o644
    size: int = 0
    mtime_ns: int = 0
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes of one commit."""

    logical_bytes: int
    stored_bytes: int
    new_units: int = 0
    reused_units: int = 0


class Sink(Protocol):
    """Receives one image. Nothing of it is offered before `commit` returns; a crash or a full disk leaves no trace that counts.

    `commit` may be called inside a callback while the source is frozen. Memory stays bounded whatever the size.
    """

    def file(self, entry: FileEntry) -> None:
        """Announce a file before its extents."""
        ...

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        """Add bytes at `offset`, a multiple of `UNIT`. Extents of a file come in ascending order; gaps are zeros."""
        ...

    def commit(self, step: int | None = None) -> tuple[observed.Taken, Usage]:
        """Make the image durable, read it back, verify it, and only then offer it.

        `step` is that of the program as it was captured, where that is known better now than when the sink was made.
        Order: data fsynced, manifest written aside and fsynced, renamed, directory fsynced. Raises `errors.Unavailable`
        (store full or gone), `errors.Damaged` (what was read back differs), `errors.Busy` (the attempt was superseded).
        """
        ...

    def abort(self) -> None:
        """Drop everything received. May be called at any time, also twice."""
        ...


class Image(Protocol):
    """A complete image whose manifest's digest, completeness and (where required) signature have been checked on opening."""

    digest: str
    meta: Meta

    def entries(self) -> Iterable[FileEntry]:
        """Return its files, folders first."""
        ...

    def extents(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, data) of a file; each pack's and unit's digest is checked before its data is handed out.

        Raises `errors.Damaged` before any damaged byte is handed out. Several threads may each read a file of their own.
        """
        ...

    def export(self, directory: str) -> None:
        """Write all files below an empty directory (mode 0700) without following any link; raises as `extents`."""
        ...

    def close(self) -> None:
        """Let go of it: until then it is safe from prune."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The answer of `verify`."""

    digest: str
    ok: bool
    problems: tuple[str, ...] = ()
    logical_bytes: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """A planned deletion: these images of a run, for this reason. Pins and running restores are re-read before anything is
    deleted. What other runs have is not looked at: a store has thousands."""

    run: str
    digests: tuple[str, ...]
    keep: tuple[str, ...] = ()
    """Digests that must stay whatever the store believes. They lose their tombstones: later their grace begins anew."""
    reason: str = ""
    grace: float = 3600.0
    """Seconds between tombstone and deletion: longer than the longest restore."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the store can be used now."""

    ok: bool
    detail: str = ""
    remedy: str = ""
    """What mends it, where that is known."""
    free_bytes: int | None = None
    used_bytes: int | None = None
    """What checkpoints take; counted only where the store has a limit."""


Progress = Callable[[int, int | None], None]
"""Called with bytes done and bytes in all (None: not known)."""
DEEPEST = 250
"""Most folders in one another on the way to a file of an image."""


class Store(Protocol):
    """One place for images and logs. An attempt begins by claiming its number; only under it can it publish."""

    def claim(self, ref: spec.AttemptRef, owner: str, ledger: str = "") -> bool:
        """Create `runs/<run>/attempts/<n>` exclusively.

        True: it is ours (or already was, for the same owner). False: taken by another, or a higher number has been claimed:
        a superseded attempt does not begin. Raises `errors.Refused` when the first claim of the run was for another `ledger`.
        """
        ...

    def writer(self, meta: Meta, parent: str = "", progress: Progress | None = None) -> Sink:
        """Return a sink for one image; unchanged units of `parent` are not stored again.

        A parent that is gone, damaged or may not be built upon costs room, not the checkpoint. Raises `errors.Refused` for a
        parent of another tenant or an attempt that was not claimed, `errors.Busy` for a superseded one, `errors.Unavailable`.
        """
        ...

    def open(self, digest: str) -> Image:
        """Return a complete image. Whether its tenant and job may be used is for the caller to ask: `Image.meta` says.

        Raises `errors.Damaged` (incomplete, altered), `errors.Refused` (not there, unsigned, foreign key, lying under
        another run than its own), `errors.Unavailable`.
        """
        ...

    def list(self, run: str) -> tuple[observed.Taken, ...]:
        """Return the complete images of a run, oldest first. Raises `errors.Unavailable` when the listing cannot be trusted."""
        ...

    def runs(self) -> Iterable[str]:
        """Return the runs that have anything here."""
        ...

    def verify(self, digest: str, progress: Progress | None = None) -> Verified:
        """Re-hash every byte of an image."""
        ...

    def prune(self, plan: Prune, now: float) -> tuple[str, ...]:
        """Tombstone the images of `plan`, delete those whose tombstone is older than the grace, then unreachable packs.

        What is open somewhere stays for now, and so does the newest of a run unless the plan names all of that run.
        Returns those that are gone: also what an earlier call has deleted whose answer was lost.
        """
        ...

    def sweep(self, now: float, runs: Iterable[str] | None = None) -> None:
        """Remove what crashes left, in all runs or in these: partial packs and manifests without an owner that lives.

        May be called at any time, by several at once: writers, readers and claims that are under way do not notice.
        """
        ...

    def health(self) -> Health:
        """Say whether it can be read and written now."""
        ...

    def append_log(self, ref: spec.AttemptRef, offset: int, data: bytes) -> int:
        """Write log bytes at `offset` (what is there already stays); return the length then durable."""
        ...

    def read_log(self, ref: spec.AttemptRef, offset: int, limit: int) -> bytes:
        """Return up to `limit` log bytes from `offset`; empty at the end or when there is no log."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Key material by name, read from mounted files. `repr` never shows values."""

    folder: str = "the folder of keys"
    """Where they were read from, as messages name it."""
    signing: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Ed25519 private keys (32 raw bytes)."""
    verify: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Ed25519 public keys (32 raw bytes) accepted besides."""
    encryption: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Wrapping keys (32 raw bytes)."""
