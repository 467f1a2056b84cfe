"""A repository in memory for tests and the simulation, with the same promises as the real one and faults on demand."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from reconciler import errors
from reconciler.contracts.source import Edit, Entry, Protected, Pushed, Rejected, Revision, Stale
from reconciler.source import propose


class FakeTree:
    """`contracts.source.Tree` over a mapping of paths to contents."""

    def __init__(self, revision: str, files: Mapping[str, bytes]) -> None:
        self.revision = revision
        self.files = files

    def entries(self) -> Iterable[Entry]:
        """Return every file in path order."""
        return [
            Entry(path=path, mode="100644", oid=_blob(data), size=len(data))
            for path, data in sorted(self.files.items(), key=lambda item: item[0].encode(errors="surrogateescape"))
        ]

    def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        """Return contents by object id."""
        contents = {_blob(data): data for data in self.files.values()}
        return {oid: contents[oid] for oid in oids if oid in contents}

    def tree_id(self, path: str) -> str | None:
        """Return an id that depends on the content below `path` alone."""
        path = path.strip("/")
        if path in self.files:
            return _blob(self.files[path])
        below = self.below(path)
        return _tree(below) if below or not path else None

    def below(self, path: str) -> dict[str, bytes]:
        """Return the files below a folder, by their path in it."""
        prefix = f"{path}/" if path else ""
        return {name.removeprefix(prefix): data for name, data in self.files.items() if name.startswith(prefix)}

    def found(self, oid: str) -> dict[str, bytes] | None:
        """Return the files of the folder or file with this id."""
        folders = {name.rsplit("/", depth)[0] for name in self.files for depth in range(1, name.count("/") + 1)} | {""}
        for path in (*folders, *self.files):
            if self.tree_id(path) == oid:
                return self.below(path) or {"code": self.files[path]}
        return None


class FakeSource:
    """`contracts.source.Source` in memory. `commit`, `break_off` and `protect` stand for what others do to the server."""

    def __init__(self, ref: str = "main") -> None:
        self._ref = ref
        self._revisions: dict[str, Revision] = {}
        self._trees: dict[str, FakeTree] = {}
        self._parents: dict[str, str] = {}
        self._tip = ""
        self._good = ""
        self._last: Revision | None = None
        self._fault = ("RepositoryEmpty", "the repository has no commit yet")
        self._protected = ""
        self.topics: dict[str, str] = {}

    def commit(self, files: Mapping[str, bytes], trailers: Mapping[str, str] | None = None, parent: str | None = None) -> str:
        """Make a commit with exactly these files the newest one; another `parent` than the tip rewrites history."""
        above = self._tip if parent is None else parent
        text = repr((above, sorted(files.items()), sorted((trailers or {}).items()), len(self._trees)))
        oid = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        lowered = {key.lower(): value for key, value in (trailers or {}).items()}
        self._revisions[oid] = Revision(
            id=oid, ref=self._ref, branch=self._ref, trailers=lowered, author="Somebody <a@b>", subject="a change"
        )
        self._trees[oid] = FakeTree(revision=oid, files=dict(files))
        self._parents[oid] = above
        self._tip = oid
        self.mend()
        return oid

    def break_off(self, reason: str = "SourceUnreachable", detail: str = "the server does not answer") -> None:
        """Let every fetch fail until `mend`."""
        self._fault = (reason, detail)

    def mend(self) -> None:
        """Let fetches succeed again."""
        self._fault = ("", "")

    def protect(self, text: str) -> None:
        """Decline direct pushes with this text."""
        self._protected = text

    def fetch(self) -> Revision | Stale:
        """Return the newest revision, or the fault."""
        reason, detail = self._fault
        if reason:
            return Stale(last=self._last, reason=reason, detail=detail)
        rewritten = bool(self._good) and self._good not in self._history(self._tip)
        if rewritten and self._revisions[self._tip].trailers.get("perdure-allow-rewrite") != "true":
            return Stale(last=self._last, reason="HistoryRewritten", detail=f"history no longer contains {self._good}")
        self._good = self._tip
        self._last = replace(self._revisions[self._tip], rewritten=rewritten)
        return self._last

    def tree(self, revision: str) -> FakeTree:
        """Return the files of a revision."""
        if revision not in self._trees:
            raise errors.Unavailable("this revision is not here", where=revision, remedy="Fetch the repository again.")
        return self._trees[revision]

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield a tar archive of a folder or file of any revision."""
        files = next((found for one in self._trees.values() if (found := one.found(tree)) is not None), None)
        if files is None:
            raise errors.Unavailable("the code is not here", where=tree, remedy="Fetch the repository again.")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, data in sorted(files.items()):
                member = tarfile.TarInfo(path)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        yield buffer.getvalue()

    def propose(self, edit: Edit, base: str) -> Pushed | Rejected | Protected:
        """Commit on top of `base`, if that is still the newest."""
        propose.check(edit)
        if base != self._tip:
            return Rejected(detail="somebody else was first")
        files = dict(self._trees[base].files)
        for path, data in edit.files.items():
            files.pop(path, None)
            files |= {} if data is None else {path: data}
        if files == self._trees[base].files:
            return Pushed(commit=base, branch=edit.branch)
        commit = self.commit(files)
        if not self._protected:
            return Pushed(commit=commit, branch=edit.branch)
        self._tip = base
        if edit.topic:
            self.topics[edit.topic] = commit
        return Protected(detail=self._protected, topic=edit.topic, commit=commit if edit.topic else "")

    def wakeups(self) -> Iterator[None]:
        """Yield nothing: whoever tests wakes the loop."""
        return iter(())

    def _history(self, oid: str) -> Iterator[str]:
        while oid:
            yield oid
            oid = self._parents.get(oid, "")


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()


def _tree(files: Mapping[str, bytes]) -> str:
    text = repr(sorted((path, _blob(data)) for path, data in files.items()))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
