"""Change the desired state by a commit: read the newest revision, edit manifests' texts, load the result, push without force.

When somebody else was first, the edit is redone on what is there now. The user's own tree and index are never touched.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from reconciler import errors, load
from reconciler.cli import draft, looking, selection, view
from reconciler.contracts import source
from reconciler.core import codec, model
from reconciler.seams import clock

TRIES = 16
"""How often an edit is redone on what somebody else has pushed meanwhile."""

PAUSE = 0.2
"""Longest seconds before it is redone the first time; grows with each."""

Change = Callable[[draft.Draft], None]
"""Edits the manifests of a Job; leaving them as they are means that there is nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of an edit."""

    job: model.Job
    """As it is declared by the edit."""
    patch: str
    desired: model.Desired
    """What the edited revision declares."""
    seen: view.View
    """How things stood when the edit was made."""
    commit: str = ""
    branch: str = ""
    """Empty: the commit is no push but the state of a working folder."""
    topic: str = ""
    """The branch that holds the commit where the real one is protected."""
    detail: str = ""
    """What the server said about that."""

    @property
    def name(self) -> str:
        """What a person calls the job."""
        return selection.text((self.job.tenant, self.job.name, 0))


def propose(looker: looking.Looker, name: str, verb: str, change: Change, *, dry_run: bool) -> Done:
    """Make `change` to the manifests of the Job called `name` and push it.

    Raises `errors.UsageError` for an unknown job, `errors.InvalidInput` with the problems that the edit would bring,
    `errors.Refused` for what the server or a manifest's shape does not allow, `errors.Unavailable` when the server does not
    answer.
    """
    seen, time = looker.look(), clock.System()
    rejected = ""
    for number in range(1, TRIES + 1):
        revision = _fresh(looker)
        tree = looker.source.tree(revision.id)
        before = load.revision(tree, cache=looker.parsed)
        sketch = draft.Draft(tree, before, _job(before, seen, name))
        change(sketch)
        after = _valid(before, load.revision(sketch.tree(), cache=looker.parsed))
        job = after.jobs[sketch.job.ref]
        done = Done(job=job, patch=sketch.patch(), desired=after, seen=seen)
        if dry_run or not done.patch:
            return done
        edit = source.Edit(
            files=sketch.files(),
            message=f"{verb.capitalize()} {done.name}\n\nBy `perdure {verb}`.\n",
            branch=revision.branch,
            topic=f"perdure/{verb}-{job.name}-{codec.digest([revision.id, done.patch])[7:15]}",
        )
        match _push(looker, edit, revision):
            case source.Pushed(commit=commit, branch=branch):
                return dataclasses.replace(done, commit=commit, branch=branch)
            case source.Protected() as answer:
                return _protected(done, revision.branch, answer)
            case source.Rejected(detail=detail):
                rejected = detail
        time.wait(random.uniform(0, PAUSE * number))
    raise errors.Unavailable(f"the push was rejected {TRIES} times in a row: {rejected}", remedy="Try again.")


def _fresh(looker: looking.Looker) -> source.Revision:
    fetched = looker.source.fetch()
    if isinstance(fetched, source.Stale):
        raise errors.Unavailable(
            f"the repository cannot be read: {fetched.detail}", remedy="`perdure doctor` says what is wrong."
        )
    return fetched


def _job(declared: model.Desired, seen: view.View, name: str) -> model.Job:
    """Return the Job that `name` means. Raises `errors.UsageError`, and `errors.InvalidInput` for one that is not valid now."""
    if "[" in name:
        raise errors.UsageError(f"{name} is one replica", where="JOB", remedy="A job is changed as a whole: leave out […].")
    for ref, problem in declared.frozen.items():
        if ref.kind == "Job" and name in (ref.name, f"{ref.tenant}/{ref.name}"):
            raise errors.InvalidInput(f"{ref} is not valid as it is now:\n  {problem}", remedy="Mend that first.")
    if declared.refused:
        raise errors.InvalidInput(
            f"the newest revision is not applied at all:\n  {declared.refused}", remedy="Mend that first."
        )
    found = selection.one(name, selection.subjects(seen.instance, declared, seen.snapshot.records))
    job = next((each.job for each in found if each.job is not None), None)
    if job is None:
        raise errors.UsageError(f"job {name} is not declared any more", remedy="Add its manifest again and push.")
    return job


def _valid(before: model.Desired, after: model.Desired) -> model.Desired:
    """Return `after` unless it has problems that `before` has not: those are refused before anybody else sees them."""
    known = Counter(_unplaced(problem) for problem in before.problems)
    brought: list[model.Problem] = []
    for problem in after.problems:
        known[_unplaced(problem)] -= 1
        if known[_unplaced(problem)] < 0:
            brought.append(problem)
    if brought:
        texts = "\n  ".join(map(str, brought))
        raise errors.InvalidInput(
            f"with this change the manifests would not be valid:\n  {texts}", remedy="Nothing was changed."
        )
    return after


def _unplaced(problem: model.Problem) -> tuple[str, ...]:
    """Return what stays the same about a problem when lines above it come or go."""
    return (problem.file, problem.kind, problem.tenant, problem.name, re.sub(r":\d+:\d+", "", problem.message))


def _push(
    looker: looking.Looker, edit: source.Edit, base: source.Revision
) -> source.Pushed | source.Rejected | source.Protected:
    if not base.branch and looker.mirror.access is not None:
        raise errors.UsageError(
            f"{base.ref} is a tag or a commit, which stays as it is", where="--ref", remedy="Name a branch with --ref."
        )
    try:
        return looker.source.propose(edit, base.id)
    except errors.Refused as refusal:
        raise errors.Refused(refusal.message, where=refusal.where, remedy=f"{refusal.remedy} {BY_HAND}") from refusal


BY_HAND = "Or commit it there yourself: `--dry-run` prints the patch, `git apply --index` takes it."


def _protected(done: Done, branch: str, answer: source.Protected) -> Done:
    if not answer.topic:
        raise errors.Refused(f"the server refuses to take a commit on {branch}: {answer.detail}", remedy=BY_HAND)
    return dataclasses.replace(done, commit=answer.commit, branch=branch, topic=answer.topic, detail=answer.detail)
