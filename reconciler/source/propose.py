"""A change of the desired state as a commit on top of what was read, pushed without force. No index, no working tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler import errors
from reconciler.contracts.source import Edit, Protected, Pushed, Rejected
from reconciler.seams.git import address, faults, objects, person, stream
from reconciler.seams.git.mirror import Mirror, Update

SCRATCH = "proposal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who commits."""

    name: str = "perdure"
    mail: str = "perdure@localhost"


def somebody() -> Author:
    """Return the person git knows, else ourselves."""
    found = person.author()
    return Author(name=found[0], mail=found[1]) if found else Author()


def push(mirror: Mirror, edit: Edit, base: str, author: Author, at: float) -> Pushed | Rejected | Protected:
    """Commit `edit` on top of `base` at POSIX time `at` and push it to its branch; to its topic branch where that is declined.

    Raises `errors.InvalidInput` for a path or name that cannot be, `errors.Refused` for a checked-out branch,
    and what else the failure means.
    """
    check(edit)
    try:
        with mirror.exclusively():
            [commit] = mirror.build([_commit(mirror, edit, base, author, at)])
        if _same(mirror, base, commit):
            return Pushed(commit=base, branch=edit.branch)
        return _push(mirror, edit, base, commit)
    except faults.Failed as failure:
        raise failure.error() from failure


def check(edit: Edit) -> None:
    """Raise `errors.InvalidInput` when a branch or a path of `edit` cannot be."""
    for name in filter(None, (edit.branch, edit.topic)):
        if problem := address.ref_problem(name):
            raise errors.InvalidInput(f"this branch {problem}", where=address.shown(name)[:200], remedy="Choose another name.")
    for path in edit.files:
        if problem := address.path_problem(path):
            raise errors.InvalidInput(f"this path {problem}", where=address.shown(path)[:200], remedy="Choose another path.")


def _push(mirror: Mirror, edit: Edit, base: str, commit: str) -> Pushed | Rejected | Protected:
    try:
        _to(mirror, edit.branch, base, commit)
    except faults.Failed as failure:
        outcome = _OUTCOMES.get(failure.kind)
        if outcome is None:
            raise
        return outcome(mirror, edit, commit, failure)
    return Pushed(commit=commit, branch=edit.branch)


def _rejected(mirror: Mirror, edit: Edit, commit: str, failure: faults.Failed) -> Rejected:  # noqa: ARG001
    return Rejected(detail=failure.detail)


def _declined(mirror: Mirror, edit: Edit, commit: str, failure: faults.Failed) -> Protected:
    if not edit.topic:
        return Protected(detail=failure.text)
    for topic in (edit.topic, f"{edit.topic}-{commit[:8]}"):
        try:
            _to(mirror, topic, "", commit)
        except faults.Failed as again:
            if again.kind is not faults.Kind.REJECTED:
                break
        else:
            return Protected(detail=failure.text, topic=topic, commit=commit)
    return Protected(detail=failure.text)


def _unanswered(mirror: Mirror, edit: Edit, commit: str, failure: faults.Failed) -> Pushed:
    """The answer was lost: look whether the commit is there."""
    ref = f"refs/heads/{edit.branch}"
    if mirror.listing(ref).refs.get(ref) == commit:
        return Pushed(commit=commit, branch=edit.branch)
    raise failure


_OUTCOMES: dict[faults.Kind, Callable[[Mirror, Edit, str, faults.Failed], Pushed | Rejected | Protected]] = {
    faults.Kind.REJECTED: _rejected,
    faults.Kind.DECLINED: _declined,
    faults.Kind.UNREACHABLE: _unanswered,
    faults.Kind.TIMEOUT: _unanswered,
    faults.Kind.KILLED: _unanswered,
}


def _to(mirror: Mirror, branch: str, old: str, commit: str) -> None:
    mirror.publish([Update(ref=f"refs/heads/{branch}", old=old, new=commit)])


def _commit(mirror: Mirror, edit: Edit, base: str, author: Author, at: float) -> stream.Commit:
    listing = mirror.git("ls-tree", "-z", "--full-tree", base, "--", *(path for path in edit.files))
    modes = {row.path: row.mode for row in objects.rows(listing)}
    for path, mode in modes.items():
        if not mode.startswith("100"):
            raise errors.InvalidInput("this is no plain file, so it is not edited", where=path, remedy="Edit the file itself.")
    return stream.Commit(
        scratch=SCRATCH,
        parent=base,
        name=author.name,
        mail=author.mail,
        at=int(at),
        message=edit.message,
        files={
            path: None if data is None else stream.Blob(data=data, mode=modes.get(path, "100644"))
            for path, data in edit.files.items()
        },
    )


def _same(mirror: Mirror, base: str, commit: str) -> bool:
    trees = mirror.git("rev-parse", f"{base}^{{tree}}", f"{commit}^{{tree}}").split()
    return trees[0] == trees[1]
