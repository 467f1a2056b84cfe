"""Which files of a tree are manifests, and which entries of it cannot be read safely."""

from __future__ import annotations

import dataclasses
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from reconciler.contracts.source import Entry, Tree
from reconciler.core import model
from reconciler.load import documents, ignore, nodes, places, schemas, suggest, text, violations, wording
from reconciler.load.finding import Finding
from reconciler.load.ignore import Ignore
from reconciler.load.violation import Violation

FILE = "perdure.yaml"
"""May hold only `paths`."""

_MISNAMED = "perdure.yml"

FILE_BYTES = 64 << 20
"""Largest file that is read: some sixty thousand manifests."""

_SUFFIXES = (".yaml", ".yml")
_LINK, _SUBMODULE = "120000", "160000"
_NOT_FILES = (_LINK, _SUBMODULE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What of a tree is read."""

    entries: tuple[Entry, ...] = ()
    unread: tuple[model.Problem, ...] = ()
    """Entries that would be read and cannot be: links, submodules, names that mislead."""
    problems: tuple[model.Problem, ...] = ()
    """What is wrong with `perdure.yaml`: then it is not known what the revision means, and nothing of it counts."""
    links: frozenset[str] = frozenset()
    """Every link and submodule of the tree, read or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One reason not to read a file by its name."""

    applies: Callable[[str], bool]
    message: str


_ORDINARY = re.compile(r"(?:[\w.][\w.-]*/)*[\w.][\w.-]*", re.ASCII)
"""Paths that need no closer look."""

_HOSTILE = (
    _Row(
        applies=lambda path: any("\ud800" <= char <= "\udfff" for char in path),
        message="the file's name is not UTF-8",
    ),
    _Row(
        applies=lambda path: any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") for char in path),
        message="the file's name contains characters that are not shown",
    ),
    _Row(
        applies=lambda path: any(part.startswith("-") for part in path.split("/")),
        message="the file's name, or its folder's, begins with a hyphen: programs take it for an option",
    ),
    _Row(applies=lambda path: "\\" in path, message="the file's name contains a backslash"),
)


def select(tree: Tree) -> Selection:
    """Return the manifests of a tree in path order, without reading them.

    With something wrong with `perdure.yaml` those below the paths that it names all the same, or else of the whole tree: what
    else is wrong is then told as well.
    """
    entries = list(tree.entries())
    special = {entry.path: entry for entry in entries if entry.path in (FILE, ignore.FILE)}
    links = frozenset(entry.path for entry in entries if entry.mode in _NOT_FILES)
    problems = [
        *(_problem(_MISNAMED, "the file is not read under this name", f"rename it {FILE}") for _ in _misnamed(entries)),
        *(_problem(path, "a link is not followed", "write the file itself") for path in sorted(links & special.keys())),
    ]
    readable = {path: entry for path, entry in special.items() if path not in links}
    contents = tree.read([entry.oid for entry in readable.values()]) if readable else {}
    named, wrong_paths = _paths(contents.get(readable[FILE].oid)) if FILE in readable else ({}, ())
    paths = () if "." in named else tuple(named)
    hidden = Ignore(contents.get(readable[ignore.FILE].oid, b"").decode(errors="replace") if ignore.FILE in readable else "")
    chosen = [entry for entry in entries if _chosen(entry, paths, hidden)]
    folders = _folders_with_manifests(entries) if links else frozenset()
    refused = tuple(problem for entry in chosen if (problem := _refusal(entry, tree, folders)))
    wrong = {problem.file for problem in refused}
    return Selection(
        entries=tuple(
            entry for entry in chosen if entry.mode not in _NOT_FILES and (not wrong or printable(entry.path) not in wrong)
        ),
        unread=refused,
        problems=(*problems, *wrong_paths, *_absent(named, entries)),
        links=links,
    )


def _misnamed(entries: Iterable[Entry]) -> Iterable[Entry]:
    return (entry for entry in entries if entry.path == _MISNAMED)


def _chosen(entry: Entry, paths: tuple[str, ...], hidden: Ignore) -> bool:
    path = entry.path
    if not (path.lower().endswith(_SUFFIXES) or entry.mode in _NOT_FILES) or path in (FILE, _MISNAMED, ignore.FILE):
        return False
    if paths and not any(path == one or path.startswith(f"{one}/") or one.startswith(f"{path}/") for one in paths):
        return False
    return not (hidden.hides_folder(path) if entry.mode == _SUBMODULE else hidden.hides(path))


def _is_manifest(entry: Entry) -> bool:
    return entry.mode not in _NOT_FILES and entry.path.lower().endswith(_SUFFIXES)


def _refusal(entry: Entry, tree: Tree, folders: frozenset[str]) -> model.Problem | None:
    if entry.mode == _SUBMODULE:
        return _problem(entry.path, "a submodule is not read", f"commit its files, or name it in {ignore.FILE}")
    if entry.mode == _LINK:
        target = tree.read([entry.oid]).get(entry.oid, b"").decode(errors="replace").strip("/")
        if entry.path.lower().endswith(_SUFFIXES) or _resolved(entry.path, target) in folders:
            return _problem(entry.path, "a link is not followed", f"commit the file itself, or name it in {ignore.FILE}")
        return None
    if not _ORDINARY.fullmatch(entry.path):
        for row in _HOSTILE:
            if row.applies(entry.path):
                return _problem(entry.path, row.message, f"rename it, or name its folder in {ignore.FILE}")
    if entry.size is not None and entry.size > FILE_BYTES:
        return _problem(entry.path, "the file is larger than 64 MiB", "split it")
    return None


def _resolved(path: str, target: str) -> str:
    """Where a link inside the tree leads, "" when it leads out of it."""
    parts = path.split("/")[:-1]
    for part in target.split("/"):
        if part == ".." and not parts:
            return ""
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _folders_with_manifests(entries: Iterable[Entry]) -> frozenset[str]:
    found: set[str] = set()
    for entry in entries:
        if _is_manifest(entry):
            folder = entry.path.rpartition("/")[0]
            while folder and folder not in found:
                found.add(folder)
                folder = folder.rpartition("/")[0]
    return frozenset(found)


def _paths(data: bytes | None) -> tuple[dict[str, tuple[int, int]], tuple[model.Problem, ...]]:
    """Return the paths that `perdure.yaml` names and where, as far as that can be used, and what is wrong with it."""
    if data is None:
        return {}, (_problem(FILE, "the file is too large to be read", "it needs a few lines only"),)
    try:
        pieces = text.split(text.decode(data))
    except text.UnreadableError as error:
        return {}, (documents.problem(FILE, error.finding),)
    if len(pieces) > 1:
        finding = Finding(line=pieces[1].line + 1, column=1, message="more than one document", fix="keep one")
        return {}, (documents.problem(FILE, finding),)
    if not pieces:
        return {}, ()
    if text.too_large(pieces[0]):
        return {}, (_problem(FILE, "the document is larger than 1 MiB", "it needs a few lines only"),)
    reading, before = nodes.read(pieces[0].text), pieces[0].line
    findings = list(reading.findings)
    if reading.complete and not violations.accepted(schemas.LAYOUT, reading):
        findings += [_elsewhere(violation, finding) for violation, finding in violations.find(schemas.LAYOUT, reading)]
    problems = tuple(documents.problem(FILE, one, before) for one in sorted(set(findings)))
    named = places.value(reading.root, ("paths",)) if reading.complete else None
    if problems and not _usable(named):
        return {}, problems
    found = {posixpath.normpath(path): places.place(reading, ("paths", index)) for index, path in enumerate(named or ())}
    return {path: (line + before, column) for path, (line, column) in found.items()}, problems


def _elsewhere(violation: Violation, finding: Finding) -> Finding:
    """Say of what configures the reconciler where it belongs: not into what those who can push may change."""
    name = violation.path[0] if len(violation.path) == 1 else ""
    if name == "paths" or name not in schemas.schema(schemas.CONFIG)["properties"]:
        return finding
    fix = "only paths may stand here: the reconciler is configured by the file that --config names"
    return dataclasses.replace(finding, fix=fix)


def _usable(named: object) -> bool:
    """Whether `paths` can be taken at its word although something else in the file is wrong."""
    return isinstance(named, list) and all(isinstance(path, str) and not {"", ".."} & set(path.split("/")) for path in named)


def _absent(named: Mapping[str, tuple[int, int]], entries: Iterable[Entry]) -> Iterable[model.Problem]:
    """A path that leads nowhere: a folder that was renamed must not look like one that was emptied."""
    if not named:
        return
    present = {"."}
    for entry in entries:
        path = entry.path
        while path and path not in present:
            present.add(path)
            path = path.rpartition("/")[0]
    for path in sorted(named.keys() - present):
        near = suggest.closest(path, present)
        fix = f"did you mean {near}?" if near else "correct it, or remove it"
        line, column = named[path]
        message = f"paths: there is no {wording.show(path)} in the repository"
        yield documents.problem(FILE, Finding(line=line, column=column, message=message, fix=fix))


def _problem(path: str, message: str, fix: str) -> model.Problem:
    return documents.problem(printable(path), Finding(line=1, column=1, message=message, fix=fix))


def printable(path: str) -> str:
    """Return a path as problems have it: characters that are no text, or are not shown, as escapes."""
    return path if path.isprintable() else ascii(path)[1:-1]
