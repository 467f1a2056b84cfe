"""Change the desired state by a commit: read the newest revision, edit one manifest's text, push without force.

When somebody else was first, the edit is redone on what is there now. The user's own tree and index are never touched.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler import errors
from reconciler.cli import looking, selection
from reconciler.contracts import source
from reconciler.core import codec, model

TRIES = 8
"""How often an edit is redone on what somebody else has pushed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A Job's manifest at one revision."""

    job: model.Job
    text: str
    document: int
    """Which document of its file, from 0."""

    @property
    def file(self) -> str:
        """The manifest's path in the repository."""
        return self.job.origin.file


Edited = dict[str, bytes | None]
Change = Callable[[Place], Edited]
"""From a Job's manifest to the files to write; an empty answer means that there is nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of an edit."""

    patch: str
    commit: str = ""
    branch: str = ""
    topic: str = ""
    """The branch that holds the commit where the real one is protected."""
    detail: str = ""


def propose(looker: looking.Looker, name: str, verb: str, change: Change, *, dry_run: bool) -> Done:
    """Make `change` to the manifest of the Job called `name` and push it.

    Raises `errors.UsageError` for an unknown job, `errors.Refused` for what the server or the manifest's shape does not allow,
    `errors.Unavailable` when the server does not answer.
    """
    rejected = ""
    for _ in range(TRIES):
        seen = looker.look()
        revision = _fresh(looker)
        job = _job(selection.one(name, seen.subjects()), name)
        tree = looker.source.tree(revision.id)
        place = _place(tree, job)
        edited = change(place)
        patch = _patch(tree, edited)
        if dry_run or not patch:
            return Done(patch=patch)
        called = selection.text((job.tenant, job.name, 0))
        edit = source.Edit(
            files=edited,
            message=f"{verb.capitalize()} {called}\n\nBy `perdure {verb}`.\n",
            branch=revision.ref,
            topic=f"perdure/{verb}-{job.name}-{codec.digest([revision.id, patch])[7:15]}",
        )
        match looker.source.propose(edit, revision.id):
            case source.Pushed(commit=commit, branch=branch):
                return Done(patch=patch, commit=commit, branch=branch)
            case source.Protected(detail=detail, topic=topic, commit=commit):
                return _protected(patch, revision.ref, detail, topic, commit)
            case source.Rejected(detail=detail):
                rejected = detail
    raise errors.Unavailable(f"others pushed first {TRIES} times: {rejected}", remedy="Try again.")


def _protected(patch: str, branch: str, detail: str, topic: str, commit: str) -> Done:
    if not topic:
        raise errors.Refused(
            f"the server refuses to take a commit on {branch}: {detail}",
            remedy="Save the patch of `--dry-run`, and propose it as the server asks for.",
        )
    return Done(patch=patch, commit=commit, branch=branch, topic=topic, detail=detail)


def _fresh(looker: looking.Looker) -> source.Revision:
    fetched = looker.source.fetch()
    if isinstance(fetched, source.Stale):
        raise errors.Unavailable(
            f"the repository cannot be read: {fetched.detail}", remedy="`perdure doctor` says what is wrong."
        )
    return fetched


def _job(found: tuple[selection.Subject, ...], name: str) -> model.Job:
    job = next((each.job for each in found if each.job is not None), None)
    if job is None:
        raise errors.UsageError(f"job {name} is not declared any more", remedy="Add its manifest again and push.")
    return job


def _place(tree: source.Tree, job: model.Job) -> Place:
    from reconciler.load import rewrite

    oid = next((entry.oid for entry in tree.entries() if entry.path == job.origin.file), None)
    if oid is None:
        raise errors.Unavailable("the manifest's file is not there any more", where=job.origin.file, remedy="Try again.")
    text = tree.read([oid])[oid].decode("utf-8")
    return Place(job=job, text=text, document=rewrite.document_at(text, job.origin.line))


def _patch(tree: source.Tree, edited: Edited) -> str:
    """Return the edit as `git apply` takes it."""
    oids = {entry.path: entry.oid for entry in tree.entries() if entry.path in edited}
    before = tree.read(oids.values())
    lines: list[str] = []
    for path, data in sorted(edited.items()):
        old = before[oids[path]].decode().splitlines(keepends=True) if path in oids else []
        new = data.decode().splitlines(keepends=True) if data is not None else []
        old_name = f"a/{path}" if path in oids else "/dev/null"
        new_name = f"b/{path}" if data is not None else "/dev/null"
        for line in difflib.unified_diff(old, new, old_name, new_name):
            lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)


def fields(changes: Mapping[tuple[str, ...], object]) -> Change:
    """Return the change that sets fields of the manifest; None removes one."""
    from reconciler.load import rewrite

    def change(place: Place) -> Edited:
        text = place.text
        for path, value in changes.items():
            if value is None:
                text = rewrite.remove_field(text, place.document, path)
            elif isinstance(value, (str, int, dict)):
                text = rewrite.set_field(text, place.document, path, value)
        return {place.file: text.encode()} if text != place.text else {}

    return change


def beside(place: Place, name: str) -> str:
    """Return the path of a new file in the folder of a manifest."""
    return posixpath.join(posixpath.dirname(place.file), name)
