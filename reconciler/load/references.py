"""What a document says about others: names that lead nowhere, files that are not there, circles, secrets without a lock."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable

from reconciler.core import model
from reconciler.load import objects, suggest, wording, world
from reconciler.load.documents import Document
from reconciler.load.uses import Use
from reconciler.load.world import World

_Answer = tuple[str, str] | None
"""Message and fix, or None when all is well."""


def check(everything: World) -> None:
    """Look up every use of every document; what is wrong goes into `everything.problems`."""
    fine: set[tuple[str, str, str]] = set()  # what was found before: thousands of Jobs name the same Target and program
    for ref, document in everything.documents.items():
        code = ""
        for use in document.uses:
            role, text, _, _ = use
            scope = ""
            if role == "code":
                code, scope = text, document.origin.file.rpartition("/")[0]
            elif role in _BELOW_CODE:
                scope = code
            if (role, text, scope) in fine:
                continue
            answer = _TABLE[role](everything, ref, document, use)
            if answer is not None and _is_told(document, use):
                continue
            if answer is not None:
                everything.blame(ref, _problem(ref, document, use, answer))
            elif role not in _OWN:
                fine.add((role, text, scope))


def _is_told(document: Document, use: Use) -> bool:
    """Whether the word is wrong by itself already, so that looking it up adds nothing."""
    return use.role != "secrets" and any((use.line, use.column) == (one.line, one.column) for one in document.problems)


def default_store(everything: World) -> str:
    """Return the Store of Jobs that name none: the only one that is declared, or ""."""
    stores = everything.names.get("Store", set())
    return next(iter(stores)) if len(stores) == 1 else ""


def store_of(everything: World, document: Document) -> str:
    """Return the Store that a Job's document names or gets."""
    return next((use.text for use in document.uses if use.role == "store"), "") or default_store(everything)


def engine_of(document: Document) -> str:
    """Return the engine that a Job's document names, or ""."""
    return next((use.text for use in document.uses if use.role == "engine"), "")


def _named(kind: str) -> Callable[[World, model.ObjectRef, Document, Use], _Answer]:
    def look_up(everything: World, _ref: model.ObjectRef, _document: Document, use: Use) -> _Answer:
        known = everything.names.get(kind, ())
        if use.text in known:
            return None
        field = "checkpoint.store" if kind == "Store" else kind.lower()
        fix = suggest.fix(use.text, sorted(known)) or f"declare a {kind} of this name"
        return f"spec.{field}: there is no {kind} {wording.show(use.text)}", fix

    return look_up


def _target(everything: World, ref: model.ObjectRef, document: Document, use: Use) -> _Answer:
    missing = _named("Target")(everything, ref, document, use)
    target, job = everything.targets.get(use.text), document.value
    if missing is not None or target is None or not isinstance(job, model.Job):
        return missing
    if target.swarm is None and job.workload.configs:
        return (
            f"spec.workload.configs: {wording.show(use.text)} is no Swarm, and only a Swarm keeps configs",
            "use volumes, or name a Target that is a Swarm",
        )
    if target.swarm is None or job.workload.image:
        return None
    return (
        f"spec.target: {wording.show(use.text)} is a Swarm, which runs containers, and this Job is a plain process",
        "give the workload an image, or name a Target of hosts",
    )


def _depends_on(everything: World, ref: model.ObjectRef, _document: Document, use: Use) -> _Answer:
    known = everything.jobs.get(ref.tenant, set())
    if use.text in known:
        return None
    elsewhere = sorted(tenant for tenant, names in everything.jobs.items() if use.text in names)
    fix = (
        f"it belongs to tenant {elsewhere[0]}, and dependsOn stays within a tenant"
        if elsewhere
        else suggest.fix(use.text, sorted(known - {ref.name})) or "declare it, or correct the name"
    )
    return f"spec.dependsOn: tenant {ref.tenant} has no Job {wording.show(use.text)}", fix


def _job(everything: World, _ref: model.ObjectRef, _document: Document, use: Use) -> _Answer:
    tenant, name = objects.job_of(use.text)
    if name in everything.jobs.get(tenant, ()):
        return None
    for other, names in sorted(everything.jobs.items()):
        near = name if name in names else suggest.closest(name, names)
        if near:
            fix = f"did you mean {near if other == 'default' else f'{other}/{near}'}?"
            break
    else:
        fix = suggest.fix(use.text, sorted(world.all_names(everything.jobs))) or "declare it, or correct the name"
    return f"spec.job: tenant {tenant} has no Job {wording.show(name)}", fix


def _engine(everything: World, _ref: model.ObjectRef, document: Document, use: Use) -> _Answer:
    if use.text != "none" and not everything.names.get("Store"):
        return (
            f"spec.checkpoint.engine: {use.text} needs a Store, and none is declared",
            "declare a Store, or write engine: none",
        )
    on = _first(document, "target")
    target = everything.targets.get(on.text) if on is not None else None
    if use.text == "application" and target is not None and target.swarm is not None:
        return (
            "spec.checkpoint.engine: application needs folders of the host, which containers on a Swarm do not see",
            "use criu or none, or name a Target of hosts",
        )
    return None


def _secret(everything: World, _ref: model.ObjectRef, document: Document, use: Use) -> _Answer:
    store = everything.stores.get(store_of(everything, document))
    if store is None or store.encryption or engine_of(document) == "none" or use is not _first(document, "secrets"):
        return None
    return (
        f"spec.workload.secrets: checkpoints of a Job with secrets contain them, and the Store {store.name} is not encrypted",
        f"add encryption to Store {store.name} ({store.origin}), or name another Store",
    )


def _code(everything: World, _ref: model.ObjectRef, document: Document, use: Use) -> _Answer:
    path = posixpath.normpath(use.text)
    if link := everything.through_link(path):
        return (
            f"spec.workload.code.path: {wording.show(link)} is a link or a submodule, which is not followed",
            "commit the files themselves",
        )
    if path in (".", document.origin.file) or document.origin.file.startswith(f"{path}/"):
        reason = "every change of it would be another program"
        return (
            f"spec.workload.code.path: {wording.show(use.text)} contains this manifest: {reason}",
            "move the manifest or the program",
        )
    if everything.tree_id(path) is not None:
        return None
    return f"spec.workload.code.path: there is no {wording.show(use.text)} in the repository", _near(path, everything.paths())


def _below_code(everything: World, _ref: model.ObjectRef, document: Document, use: Use) -> _Answer:
    code = _first(document, "code")
    if code is None or everything.tree_id(posixpath.normpath(code.text)) is None:
        return None
    path = posixpath.normpath(f"{code.text}/{use.text}")
    if link := everything.through_link(path):
        return f"spec.workload.code.{use.role}: {wording.show(link)} is a link, which is not followed", "commit the file itself"
    if everything.tree_id(path) is not None:
        return None
    folder = f"{posixpath.normpath(code.text)}/"
    below = [one.removeprefix(folder) for one in everything.paths() if one.startswith(folder)]  # as it has to be written
    return f"spec.workload.code.{use.role}: there is no {wording.show(use.text)} in {wording.show(code.text)}", _near(
        posixpath.normpath(use.text), below
    )


def _near(path: str, paths: Iterable[str]) -> str:
    near = suggest.closest(path, paths)
    return f"did you mean {near}?" if near else "commit it, or correct the path"


def _first(document: Document, role: str) -> Use | None:
    return next((use for use in document.uses if use.role == role), None)


def _problem(ref: model.ObjectRef, document: Document, use: Use, answer: tuple[str, str]) -> model.Problem:
    return model.Problem(
        file=document.origin.file,
        line=use.line,
        column=use.column,
        message=answer[0],
        kind=ref.kind,
        name=ref.name,
        tenant=ref.tenant,
        fix=answer[1],
    )


_TABLE: dict[str, Callable[[World, model.ObjectRef, Document, Use], _Answer]] = {
    "target": _target,
    "pool": _named("Pool"),
    "store": _named("Store"),
    "engine": _engine,
    "secrets": _secret,
    "code": _code,
    "entrypoint": _below_code,
    "requirements": _below_code,
    "dependsOn": _depends_on,
    "job": _job,
}
"""Role of a use → what is asked about it."""

_BELOW_CODE = frozenset({"entrypoint", "requirements"})
"""Roles whose answer depends on the code's path too."""

_OWN = frozenset({"target", "engine", "secrets", "dependsOn", "job"})
"""Roles whose answer depends on the document."""


def unnamed_store(everything: World) -> None:
    """Blame Jobs that must name a Store, because several are declared, and do not."""
    stores = sorted(everything.names.get("Store", ()))
    if len(stores) < 2:
        return
    for ref, document in everything.documents.items():
        if ref.kind == "Job" and engine_of(document) != "none" and _first(document, "store") is None:
            at = _first(document, "engine") or _first(document, "target")
            line, column = (at.line, at.column) if at else (document.origin.line, document.origin.column)
            answer = ("spec.checkpoint.store is missing, and several Stores are declared", suggest.fix("", stores))
            everything.blame(ref, _problem(ref, document, Use("store", "", line, column), answer))


def circles(everything: World, jobs: Iterable[model.Job]) -> None:
    """Blame the Jobs of each circle of dependsOn: none of them could ever start."""
    following = {
        job.ref: [model.ObjectRef(kind="Job", tenant=job.tenant, name=name) for name in job.depends_on]
        for job in jobs
        if job.depends_on
    }
    state: dict[model.ObjectRef, bool] = {}  # False: on the present path; True: done
    for start in following:
        path: list[model.ObjectRef] = []
        waiting = [(start, False)]
        while waiting:
            ref, leaving = waiting.pop()
            if leaving:
                state[ref] = True
                path.pop()
            elif state.get(ref) is False:
                _blame_circle(everything, path[path.index(ref) :])
            elif ref not in state:
                state[ref] = False
                path.append(ref)
                waiting.append((ref, True))
                waiting.extend((other, False) for other in following.get(ref, ()))


def _blame_circle(everything: World, circle: list[model.ObjectRef]) -> None:
    least = circle.index(min(circle))
    circle = circle[least:] + circle[:least]
    shown = " → ".join(ref.name for ref in [*circle, circle[0]])
    declared = [(ref, everything.documents[ref]) for ref in circle if ref in everything.documents]
    for ref, document in declared:
        names = {other.name for other in circle}
        use = next((use for use in document.uses if use.role == "dependsOn" and use.text in names), None)
        if use is not None:
            everything.blame(
                ref, _problem(ref, document, use, (f"spec.dependsOn goes in a circle: {shown}", "remove one of its links"))
            )
