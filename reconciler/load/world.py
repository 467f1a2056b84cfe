"""All documents of one revision side by side, and what else of it they may name."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.contracts.source import Tree
from reconciler.core import model
from reconciler.load.documents import Document, File


@dataclass(slots=True)
class World:
    """What the documents of a revision are checked against. `problems` grows while they are."""

    tree: Tree
    links: frozenset[str]
    documents: dict[model.ObjectRef, Document] = field(default_factory=dict)
    """Identified documents; of two that declare one object, the first."""
    problems: list[model.Problem] = field(default_factory=list)
    broken: dict[model.ObjectRef, str] = field(default_factory=dict)
    """Objects that are invalid at this revision, with the first problem's text."""
    names: dict[str, set[str]] = field(default_factory=dict)
    """Kind → names that are declared, valid or not, or stand from before: a reference to them leads somewhere."""
    jobs: dict[str, set[str]] = field(default_factory=dict)
    """Tenant → names of Jobs, likewise."""
    stores: dict[str, model.StoreSpec] = field(default_factory=dict)
    targets: dict[str, model.TargetSpec] = field(default_factory=dict)
    _paths: frozenset[str] = frozenset()
    _ids: dict[str, str | None] = field(default_factory=dict)

    def blame(self, ref: model.ObjectRef, problem: model.Problem) -> None:
        """Record what is wrong with one object."""
        self.problems.append(problem)
        self.broken.setdefault(ref, str(problem))

    def know(self, ref: model.ObjectRef) -> None:
        """Record that an object is declared or stands from before."""
        if ref.kind == "Job":
            self.jobs.setdefault(ref.tenant, set()).add(ref.name)
        else:
            self.names.setdefault(ref.kind, set()).add(ref.name)

    def tree_id(self, path: str) -> str | None:
        """Return the Git object id of a path of the revision, asked for once."""
        if path not in self._ids:
            self._ids[path] = self.tree.tree_id(path)
        return self._ids[path]

    def paths(self) -> frozenset[str]:
        """Return every file and folder of the revision."""
        if not self._paths:
            entries = {entry.path for entry in self.tree.entries()}
            self._paths = frozenset(entries | {posixpath.dirname(path) for path in entries} - {""})
        return self._paths

    def through_link(self, path: str) -> str:
        """Return the link or submodule that `path` is or leads through, or ""."""
        while path and self.links:
            if path in self.links:
                return path
            path = posixpath.dirname(path)
        return ""


def gather(tree: Tree, links: frozenset[str], files: Sequence[File]) -> World:
    """Return the world of a revision, with the problems that documents have by themselves and with each other."""
    world = World(tree=tree, links=links)
    for file in files:
        for document in file.documents:
            world.problems.extend(document.problems)
            if document.ref is not None:
                _declare(world, document.ref, document)
        own = {problem for document in file.documents for problem in document.problems}
        world.problems.extend(problem for problem in file.unread if problem not in own)
    return world


def _declare(world: World, ref: model.ObjectRef, document: Document) -> None:
    first = world.documents.setdefault(ref, document)
    world.know(ref)
    if document.problems:
        world.broken.setdefault(ref, str(document.problems[0]))
    if first is not document:
        origin = document.origin
        world.blame(
            ref,
            model.Problem(
                file=origin.file,
                line=origin.line,
                column=origin.column,
                message=f"{ref} is declared a second time, first at {first.origin}",
                kind=ref.kind,
                name=ref.name,
                tenant=ref.tenant,
                fix="remove one of them, or give it another name",
            ),
        )
    elif isinstance(document.value, model.StoreSpec):
        world.stores[ref.name] = document.value
    elif isinstance(document.value, model.TargetSpec):
        world.targets[ref.name] = document.value


def all_names(tenants: Mapping[str, Iterable[str]]) -> list[str]:
    """Return Jobs of all tenants as a Checkpoint names them."""
    return [name if tenant == "default" else f"{tenant}/{name}" for tenant, names in tenants.items() for name in names]
