"""A bare repository of our own, in which everything happens: fetched into, read, written with fast-import, pushed from.

With an `environment.Access` it mirrors a repository elsewhere; without one it is itself the repository (of a working folder).
Several processes may use it at once; one at a time writes (`exclusion`).
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from reconciler import config
from reconciler.seams.git import address, environment, exchange, faults, objects, stream

T = TypeVar("T")

NOTHING = "0" * 40
"""Object id that stands for "does not exist"."""

TIDY_EVERY = 256
"""Writes between two looks at whether loose objects want packing."""

RENEW_EVERY = 600.0
"""Seconds between two replacements of a damaged mirror: where the server itself is damaged, another copy does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One ref to move from `old` (empty: does not exist) to `new`."""

    ref: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a server has."""

    refs: dict[str, str] = field(default_factory=dict)
    """Object id by full name; "REF^{}" is what an annotated tag names."""
    head: str = ""
    """Full name of the branch that HEAD names."""


def of(settings: config.SourceSettings, data: Path, base: Path) -> Mirror:
    """Return the mirror, in the data directory, of the repository that the settings name; relative paths begin at `base`.

    A folder without Git gets a private repository. Repositories that share a data directory never share a mirror.
    Raises `errors.UsageError`.
    """
    place = address.parse_address(settings.repository, base)
    key = hashlib.sha256(str(place).encode(errors="surrogateescape")).hexdigest()[:12]
    if place.path is not None and place.path.is_dir() and not address.is_repository(place.path):
        return Mirror(data / f"folder-{key}.git", timeout=settings.timeout)
    access = environment.Access(
        address=place, ssh_key=settings.ssh_key, known_hosts=settings.known_hosts, token_file=settings.token_file
    )
    access.check()
    return Mirror(data / f"repo-{key}.git", access, settings.timeout)


TIDYING = (
    ("gc.auto", "6700"),
    ("gc.autoDetach", "false"),
    ("gc.bigPackThreshold", "256m"),
    ("core.compression", "-1"),
    ("core.bigFileThreshold", "512m"),
)
"""Settings of the one command that has time."""


class Mirror:
    """One bare repository of ours. Methods raise `faults.Failed` unless they say otherwise."""

    def __init__(self, directory: Path, access: environment.Access | None = None, timeout: float = 60.0) -> None:
        self.directory = directory.absolute()
        self.access = access
        self._exchange = exchange.Exchange(self.directory, access, timeout)
        self._renewed_at = -RENEW_EVERY
        self._writes = 0

    @property
    def where(self) -> str:
        """The repository's address, as people know it."""
        return self._exchange.where

    def prepare(self) -> None:
        """Create the repository unless it is there; a half-made one is replaced. Several may come at once: one makes it."""
        if (self.directory / "HEAD").exists():
            return
        with self.exclusively():
            if not (self.directory / "HEAD").exists():
                self._make()

    def _make(self) -> None:
        made = self.directory.with_name(f"{self.directory.name}.{secrets.token_hex(4)}.partial")
        self._exchange.alone("init", "--bare", "--quiet", "--template=", "--object-format=sha1", str(made))
        if not self.access:  # the only copy of the ledger: a power cut must not take it
            self._exchange.alone("--git-dir", str(made), "config", "core.fsync", "all")
        if not self.access and any(path.is_file() for path in self.directory.glob("objects/*/*")):
            # All but the mark of a repository is there: it is the only copy of the ledger.
            (made / "HEAD").rename(self.directory / "HEAD")
            shutil.rmtree(made)
            return
        if self.directory.exists():
            shutil.rmtree(self.directory)
        made.chmod(0o700)  # whoever may pass through the data directory may not read what is in the repository
        made.rename(self.directory)

    def healed(self, work: Callable[[], T]) -> T:
        """Do `work`; where a mirror turns out damaged (a power cut), replace it by a new one and do it again."""
        before = self._identity()
        try:
            return work()
        except faults.Failed as failure:
            recently = time.monotonic() - self._renewed_at < RENEW_EVERY
            if failure.kind is not faults.Kind.DAMAGED or self.access is None or recently:
                raise
        with self.exclusively():
            if self._identity() == before:  # else another process has replaced it meanwhile
                self._renewed_at = time.monotonic()
                aside = self.directory.with_name(f"{self.directory.name}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                with suppress(FileNotFoundError):
                    self.directory.rename(aside)
            self.prepare()
        return work()

    def _identity(self) -> int:
        """Return what another repository in this one's place would not have; 0 for none."""
        try:
            return self.directory.stat().st_ino
        except FileNotFoundError:
            return 0

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep other writers of this repository out, in this process and in others. May be nested."""
        with self._exchange.exclusion.held():
            yield

    def git(self, *arguments: str, feed: bytes | Iterable[bytes] = b"") -> bytes:
        """Run a command that talks to nobody and return its output."""
        return self._exchange.here(*arguments, feed=feed)

    def listing(self, *patterns: str) -> Listing:
        """Ask the server for its refs with these full names (none: all branches)."""
        if self.access is None:
            return Listing(refs=self.refs(*patterns))
        self.prepare()
        wanted = ["--symref", "origin", "HEAD", *patterns] if patterns else ["--heads", "origin"]
        refs, head = {}, ""
        for line in self._exchange.ask("ls-remote", *wanted).decode(errors="replace").splitlines():
            oid, _, name = line.partition("\t")
            if oid.startswith("ref: "):
                head = oid.removeprefix("ref: ") if name == "HEAD" else head
            else:
                refs[name] = oid
        return Listing(refs=refs, head=head)

    def refs(self, *patterns: str) -> dict[str, str]:
        """Return the object ids of refs that are here, by full name; a pattern is a full name or a leading part of one."""
        self.prepare()
        lines = self._exchange.refs(*patterns).splitlines()
        return {name: oid for name, _, oid in (line.rpartition(" ") for line in lines)}

    def fetch(self, refspecs: Sequence[str], *, shallow: bool, partial: bool) -> str:
        """Bring refs here, only their newest commit where `shallow`, without file contents where `partial`.

        Where the server does not allow that, everything is brought. Returns a sentence about it the first time, else nothing.
        """
        notices = []
        with self.exclusively():
            self.prepare()
            before = not partial or self.partial
            cheap = [(shallow, "shallow", "--depth=1", ""), (partial, "filter", "--filter=blob:none", "--no-filter")]
            options = [on if wanted and self._allows(what) else off for wanted, what, on, off in cheap]
            try:
                complaints = self._exchange.fetch(*filter(None, options), *refspecs)
            except faults.Failed as failure:
                if failure.kind is not faults.Kind.UNSUPPORTED:
                    raise
                if not before:
                    self._forget_filter()
                complaints = self._exchange.fetch("--no-filter", *refspecs)
                for what in ("shallow",) if before else ("shallow", "filter"):
                    self.git("config", f"perdure.{what}", "false")
                notices.append("does not allow shallow fetches, so the whole history was fetched")
            if b"filtering not recognized" in complaints and self._allows("filter"):
                self.git("config", "perdure.filter", "false")
                self._forget_filter()
                if self.access and self.access.address.protocol != "file":  # nobody pays for copies on one machine
                    notices.append("does not allow partial fetches, so every file was fetched")
        return f"{self.where} {' and '.join(notices)}" if notices else ""

    def bring(self, oids: Iterable[str]) -> None:
        """Fetch objects by id, all in one exchange."""
        with self.exclusively():
            feed = "".join(f"{oid}\n" for oid in oids).encode()
            quick = ["fetch.negotiationAlgorithm=noop"]
            self._exchange.fetch("--filter=blob:none", "--stdin", settings=quick, feed=feed)

    @property
    def partial(self) -> bool:
        """Whether contents of files may be missing here."""
        try:
            return self.git("config", "--get", "remote.origin.promisor").strip() == b"true"
        except faults.Failed:
            return False

    def read(self, questions: Iterable[str], largest: int | None = None) -> dict[str, bytes]:
        """Return contents by object id (questions may also be "COMMIT:PATH"); what is missing or larger is left out."""
        asked = "".join(f"{question}\n" for question in questions).encode(errors="surrogateescape")
        if not asked:
            return {}
        answer = self.git("cat-file", "--batch", "--buffer", feed=asked)
        return {oid: content for oid, content in objects.batch(answer, largest) if content is not None}

    @contextmanager
    def reader(self) -> Iterator[objects.Reader]:
        """Open a conversation for reading large contents piece by piece."""
        with self._exchange.conversation("cat-file", "--batch") as (questions, answers):
            yield objects.Reader(questions, answers)

    def kinds(self, oids: Sequence[str]) -> dict[str, str]:
        """Return blob, tree, commit or tag for each object that is here."""
        if not oids:
            return {}
        self.prepare()
        answer = self.git(
            "cat-file", "--batch-check=%(objectname) %(objecttype)", feed="".join(f"{oid}\n" for oid in oids).encode()
        )
        pairs = (line.split(" ") for line in answer.decode().splitlines())
        return {oid: kind for oid, kind in pairs if kind != "missing"}

    def is_ancestor(self, old: str, new: str) -> bool:
        """Return whether `new` contains `old` in its history."""
        return self._exchange.holds("merge-base", "--is-ancestor", old, new)

    def build(self, commits: Iterable[stream.Commit]) -> list[str]:
        """Make commits and return their ids, in order. No ref that anybody reads moves."""
        with self.exclusively():
            self.prepare()
            try:
                answer = self.git("fast-import", "--quiet", "--force", "--done", feed=stream.encode(commits))
            except faults.Failed:
                for report in self.directory.glob("fast_import_crash_*"):
                    report.unlink(missing_ok=True)
                raise
            return answer.decode().split()

    def publish(self, updates: Sequence[Update]) -> None:
        """Move refs on the server, all or none, without force. The refs here follow once the server has accepted."""
        with self.exclusively():
            if self.access is None:
                lines = [f"update {one.ref} {one.new} {one.old or NOTHING}\n" for one in updates]
                self.git("update-ref", "--stdin", feed="".join(["start\n", *lines, "prepare\n", "commit\n"]).encode())
            else:
                self._exchange.push("--atomic", "origin", *(f"{one.new}:{one.ref}" for one in updates))
            self._writes += 1
            if self._writes % TIDY_EVERY == 0:
                self.tidy()

    def rehearse(self, ref: str, oid: str) -> None:
        """Ask the server whether it would let us push `oid` to a new `ref`, as far as it tells without a push."""
        if self.access is not None:
            self._exchange.rehearse(f"{oid}:{ref}")

    def remember(self, ref: str, oid: str) -> None:
        """Set a ref that exists only here."""
        with self.exclusively():
            self.git("update-ref", ref, oid)

    def tidy(self) -> None:
        """Pack loose objects when there are many. Failing is no harm: the next time will do."""
        with self.exclusively(), suppress(faults.Failed):
            settings = [word for name, value in TIDYING for word in ("-c", f"{name}={value}")]
            self.git(*settings, "gc", "--auto", "--quiet")

    def _forget_filter(self) -> None:
        """Take back what an attempt at a partial fetch has noted.

        For as long as it is noted, git asks the server for every object that it misses; one that only hands out files (the
        old HTTP protocol) it asks by a fetch that misses the same object, and so on without an end.
        """
        for name in ("remote.origin.promisor", "remote.origin.partialclonefilter"):
            with suppress(faults.Failed):
                self.git("config", "--unset-all", name)

    def _allows(self, what: str) -> bool:
        try:
            return self.git("config", "--get", f"perdure.{what}").strip() != b"false"
        except faults.Failed:
            return True
