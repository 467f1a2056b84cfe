"""A branch, tag or commit of a Git repository, by path, file://, ssh:// or https://.

The mirror keeps three kinds of refs: `refs/perdure/source/…` what was fetched last, `refs/perdure/seen/…` the last revision
whose history was not rewritten, and the ledger's own. Whatever happens to the server, the last good revision stays readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from reconciler import errors
from reconciler.contracts.clock import Clock
from reconciler.contracts.source import Edit, Protected, Pushed, Rejected, Revision, Stale
from reconciler.seams.git import address, faults
from reconciler.seams.git.mirror import Mirror
from reconciler.source import archive, propose, tree, wakeups

REASONS = {
    faults.Kind.HOST_KEY: "SourceUnauthorized",
    faults.Kind.UNAUTHORIZED: "SourceUnauthorized",
    faults.Kind.FOREIGN: "SourceUnauthorized",
    faults.Kind.ALGORITHM: "SourceUnsupported",
    faults.Kind.MISSING: "BranchMissing",
}
"""Row of `reasons.TABLE` by fault; every other one means that the source could not be reached."""

BRANCHES = "refs/heads/"

_ABBREVIATED = re.compile(r"[0-9a-f]{4,39}")
"""What may be meant for a commit: a server is asked for one by its whole id only."""

ACCEPTS_REWRITE = "perdure-allow-rewrite"
"""Trailer by which a commit accepts that history was rewritten below it."""

_FIELDS = "%x00".join(("%H", "%an <%ae>", "%s", "%(trailers:only=true,unfold=true)"))


class RepositorySource:
    """`contracts.source.Source` over a mirror.

    When history was rewritten (a force-push) the last good revision stands, until history contains it again or the newest
    commit carries the trailer `Perdure-Allow-Rewrite: true`; that revision is then `rewritten`.
    """

    def __init__(
        self, mirror: Mirror, ref: str, clock: Clock, poll: float = 30.0, author: propose.Author | None = None
    ) -> None:
        if problem := address.ref_problem(ref):
            raise errors.UsageError(
                f"this branch, tag or commit {problem}",
                where=address.shown(ref)[:200] or "source.ref",
                remedy="Name another one.",
            )
        self._mirror = mirror
        self._ref = ref
        self._clock = clock
        self._poll = poll
        self._author = author
        self._last: Revision | None = None
        self._described_at = ""
        """What the server had when `_last` was read."""

    def fetch(self) -> Revision | Stale:
        """Bring the newest revision here, or say why that cannot be."""
        try:
            found = self._mirror.healed(self._newest)
        except faults.Failed as failure:
            return self._stale(REASONS.get(failure.kind, "SourceUnreachable"), failure.detail)
        except errors.Refused as refusal:
            return self._stale("BranchMissing", refusal.line)
        except (errors.PerdureError, OSError) as error:
            return self._stale("SourceUnreachable", str(error))
        if isinstance(found, Revision):
            self._last = found
        return found

    def tree(self, revision: str) -> tree.RevisionTree:
        """Return the files of a revision that is here."""
        if not address.is_object_id(revision) or revision not in self._mirror.kinds([revision]):
            raise errors.Unavailable("this revision is not here", where=revision[:80], remedy="Fetch the repository again.")
        return tree.RevisionTree(self._mirror, revision)

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield a tar archive of a tree or blob; the member of a blob is named "code"."""
        return archive.stream(self._mirror, tree)

    def propose(self, edit: Edit, base: str) -> Pushed | Rejected | Protected:
        """Commit and push without force."""
        author = self._author or propose.somebody()
        return propose.push(self._mirror, edit, base, author, self._clock.now())

    def wakeups(self) -> Iterator[None]:
        """Yield about every poll interval, and at once when a branch of a repository on this machine moves."""
        access = self._mirror.access
        path = access.address.path if access else None
        return wakeups.stream(self._clock, self._poll, wakeups.refs(path) if path else None)

    def _stale(self, reason: str, detail: str) -> Stale:
        if self._last is None:
            self._last = self._remembered()
        return Stale(last=self._last, reason=reason, detail=detail)

    def _newest(self) -> Revision | Stale:
        if address.is_object_id(self._ref):
            return self._commit()
        names = [self._ref] if self._ref.startswith("refs/") else [f"{BRANCHES}{self._ref}", f"refs/tags/{self._ref}"]
        listing = self._mirror.listing(*names)
        full = next((name for name in names if name in listing.refs), "")
        if not full:
            return self._missing(listing.head)
        fetched, seen = _local(full)
        here = self._mirror.refs(fetched, seen)
        notice = ""
        if here.get(fetched) != listing.refs[full]:
            notice = self._bring(full, fetched, fresh=fetched not in here)
        elif self._last is not None and self._described_at == listing.refs[full]:
            return replace(self._last, notice="")
        branch = full.removeprefix(BRANCHES) if full.startswith(BRANCHES) else ""
        found = self._judged(replace(self._described(fetched), branch=branch, notice=notice), seen, here.get(seen, ""))
        if isinstance(found, Revision):
            self._described_at = listing.refs[full]
        return found

    def _bring(self, full: str, fetched: str, *, fresh: bool) -> str:
        refspec = f"+{full}:{fetched}"
        try:
            return self._mirror.fetch([refspec], shallow=fresh, partial=True)
        except faults.Failed as failure:
            if fresh or failure.kind is not faults.Kind.TIMEOUT:
                raise
        # A rewritten history can be as long as the repository: the newest commit alone is bounded.
        return self._mirror.fetch([refspec], shallow=True, partial=True)

    def _judged(self, revision: Revision, seen: str, good: str) -> Revision | Stale:
        """Compare with the last good revision, and remember this one instead unless history was rewritten."""
        if good == revision.id:
            return revision
        rewritten = bool(good) and not self._mirror.is_ancestor(good, revision.id)
        if rewritten and revision.trailers.get(ACCEPTS_REWRITE, "").lower() != "true":
            detail = (
                f"the history of “{self._ref}” in {self._mirror.where} was rewritten: it no longer contains {good[:12]}, which "
                f"stands. Push that back, or accept with a commit that carries the trailer `Perdure-Allow-Rewrite: true`."
            )
            return self._stale("HistoryRewritten", detail)
        self._mirror.remember(seen, revision.id)
        return replace(revision, rewritten=rewritten)

    def _commit(self) -> Revision | Stale:
        self._mirror.prepare()
        if self._mirror.kinds([self._ref]).get(self._ref) == "commit":
            return self._last or self._described(self._ref)
        kept = f"refs/perdure/seen/commits/{self._ref}"
        try:
            notice = self._mirror.fetch([f"{self._ref}:{kept}"], shallow=True, partial=True)
        except faults.Failed as failure:
            if failure.kind not in (faults.Kind.UNSUPPORTED, faults.Kind.MISSING):
                raise
            everything = [f"+refs/{kind}/*:refs/perdure/source/{kind}/*" for kind in ("heads", "tags")]
            notice = self._mirror.fetch(everything, shallow=False, partial=True)
            if self._ref not in self._mirror.kinds([self._ref]):
                return self._stale("BranchMissing", f"{self._mirror.where} does not have the commit {self._ref}")
            self._mirror.remember(kept, self._ref)
        return replace(self._described(kept), notice=notice)

    def _missing(self, head: str) -> Stale:
        where, branches = self._mirror.where, self._mirror.listing().refs
        if not branches:
            empty = self._stale("RepositoryEmpty", f"{where} has no commit yet. Push one to “{self._ref}”.")
            if empty.last is None:
                return empty
            gone = (
                f"{where} has no branch any more, and “{self._ref}” was at {empty.last.id[:12]}, which stands. Push it again."
            )
            return self._stale("BranchMissing", gone)
        default = head.removeprefix("refs/heads/")
        known = default if head in branches else next(iter(sorted(branches))).removeprefix("refs/heads/")
        remedy = "Name that one, as source.ref or by a flag, or push the other."
        if _ABBREVIATED.fullmatch(self._ref):
            remedy = "A commit is named by all 40 digits of its id."
        detail = f"{where} has no branch or tag “{self._ref}”; it has “{known}”. {remedy}"
        return self._stale("BranchMissing", detail)

    def _remembered(self) -> Revision | None:
        """The last good revision of an earlier process."""
        refs = [_local(f"refs/{kind}/{self._ref}")[1] for kind in ("heads", "tags")]
        try:
            here = self._mirror.refs(*refs, f"refs/perdure/seen/commits/{self._ref}")
            return self._described(next(iter(here))) if here else None
        except (faults.Failed, errors.PerdureError, OSError):
            return None

    def _described(self, name: str) -> Revision:
        """Return what a commit says. Raises `errors.Refused` for anything else that a tag or an id may name."""
        said = self._mirror.git("log", "-1", "--encoding=UTF-8", f"--format={_FIELDS}", "--end-of-options", name, "--")
        if not said:
            raise errors.Refused(
                f"“{self._ref}” in {self._mirror.where} is no commit", remedy="Name a branch, or a tag of a commit."
            )
        oid, author, subject, trailers = said.decode(errors="replace").rstrip("\n").split("\0")
        pairs = (line.partition(":") for line in trailers.splitlines() if ":" in line)
        return Revision(
            id=oid,
            ref=self._ref,
            author=author,
            subject=subject,
            trailers={key.strip().lower(): value.strip() for key, _, value in pairs},
        )


def _local(full: str) -> tuple[str, str]:
    """Return the refs of ours for what was fetched as `full`: the newest, and the last good one."""
    name = full.removeprefix("refs/")
    return f"refs/perdure/source/{name}", f"refs/perdure/seen/{name}"
