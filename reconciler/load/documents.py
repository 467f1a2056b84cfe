"""One file: from its bytes to what its documents declare and what is wrong with them, without looking at any other file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reconciler.core import model
from reconciler.load import nodes, objects, ownership, places, rules, schemas, suggest, text, uses, violations, wording
from reconciler.load.finding import Finding
from reconciler.load.nodes import Reading
from reconciler.load.objects import Value
from reconciler.load.text import Piece
from reconciler.load.uses import Use

_LONGEST_NAME = 253
"""A longer text is no misspelt name, but something that got into its place."""


@dataclass(slots=True, kw_only=True)
class Document:
    """One manifest."""

    ref: model.ObjectRef | None
    """None: it does not say which object it declares."""
    origin: model.Origin
    value: Value | None = None
    """None: it is invalid."""
    uses: tuple[Use, ...] = ()
    problems: tuple[model.Problem, ...] = ()
    settled: tuple[tuple[object, ...], model.Job] | None = None
    """The Job last made of `value` and what it depended on, so that an unchanged Job stays the same object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file as it was parsed."""

    path: str
    oid: str
    documents: tuple[Document, ...] = ()
    unread: tuple[model.Problem, ...] = ()
    """Why (a part of) the file could not be parsed: what else it declares is not known then."""


def parse(path: str, oid: str, data: bytes | None) -> File:
    """Return the manifests of one file. Documents of other programs are left out. Never raises for anything in `data`.

    None is a file that is too large to be read.
    """
    if data is None:
        finding = Finding(line=1, column=1, message="the file is too large to be read", fix="split it")
        return File(path=path, oid=oid, unread=(problem(path, finding),))
    try:
        pieces = text.split(text.decode(data))
    except text.UnreadableError as error:
        return File(path=path, oid=oid, unread=(problem(path, error.finding),))
    documents: list[Document] = []
    unread: list[model.Problem] = []
    for piece in pieces:
        if text.too_large(piece):
            finding = Finding(line=piece.line + 1, column=1, message="the document is larger than 1 MiB", fix="split it")
            unread.append(problem(path, finding))
            continue
        reading = nodes.read(piece.text)
        if not ownership.ours(reading):
            continue
        document = _document(path, piece, reading)
        documents.append(document)
        if not reading.complete:
            unread.extend(document.problems)
    return File(path=path, oid=oid, documents=tuple(documents), unread=tuple(unread))


def _document(path: str, piece: Piece, reading: Reading) -> Document:
    root = reading.root
    line, column = places.place(reading, ())
    origin = model.Origin(file=path, line=line + piece.line, column=column)
    ref = _ref(root) if reading.complete else None  # half a document may name anything
    kind = ref.kind if ref else places.value(root, ("kind",))
    known = isinstance(kind, str) and kind in schemas.KINDS
    findings = list(reading.findings)
    if reading.complete:
        findings += _schema_findings(kind, reading, findings) if known else _kind_findings(root, reading)
    problems = tuple(problem(path, one, piece.line, ref) for one in sorted(set(findings)))
    value = objects.convert(kind, root, origin) if known and reading.complete and not problems else None
    found = uses.find(kind, reading, piece.line) if known else ()
    return Document(ref=ref, origin=origin, value=value, uses=found, problems=problems)


def _schema_findings(kind: str, reading: Reading, earlier: list[Finding]) -> Iterator[Finding]:
    """What the schema and the rules say, but only once a place: the first word about it is the nearest to its cause."""
    root = reading.root
    said = {(one.line, one.column) for one in earlier}
    later = {violation.path: violation for violation in rules.not_yet(kind, root)}
    instead = {path[:-1] for path in later}
    for violation in [*later.values(), *(found for rule in rules.TABLE[kind] for found in rule(root))]:
        line, column = places.place(reading, violation.path, key=violation.at_key)
        yield Finding(line=line, column=column, message=violation.message, fix=violation.fix)
    if violations.accepted(kind, reading):
        return
    for violation, finding in violations.find(kind, reading):
        hidden = violation.path in later or (violation.missing and violation.path in instead)
        if (finding.line, finding.column) not in said and not hidden:
            yield finding


def _kind_findings(root: Any, reading: Reading) -> Iterator[Finding]:
    kind = places.value(root, ("kind",))
    line, column = places.place(reading, ("kind",))
    if isinstance(root, list):
        yield Finding(
            line=line, column=column, message="a document is one manifest, this one is a list", fix="separate them by ---"
        )
    elif kind is None:
        yield Finding(line=line, column=column, message="kind is missing", fix=suggest.fix("", schemas.KINDS))
    elif isinstance(kind, str) and kind in rules.KINDS_NOT_YET:
        yield Finding(line=line, column=column, message=f"kind: {kind} is not yet in this version", fix="remove the document")
    else:
        fix = suggest.fix(kind, schemas.KINDS) if isinstance(kind, str) else suggest.fix("", schemas.KINDS)
        yield Finding(line=line, column=column, message=f"kind: there is no kind {wording.show(kind)}", fix=fix)
        # What every kind has in common is looked at all the same.
        yield from (found for one, found in violations.find(schemas.KINDS[0], reading) if one.path == ("apiVersion",))


def _ref(root: Any) -> model.ObjectRef | None:
    kind, name = places.value(root, ("kind",)), places.value(root, ("metadata", "name"))
    if not (isinstance(kind, str) and kind in schemas.KINDS and _names(name)):
        return None
    tenant = places.value(root, ("spec", "tenant")) if kind == "Job" else ""
    return model.ObjectRef(kind=kind, name=name, tenant=tenant if tenant == "" or _names(tenant) else "default")


def _names(value: Any) -> bool:
    """Whether a text can be the name of an object, or of one with a small mistake in it."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME


def problem(path: str, finding: Finding, lines: int = 0, ref: model.ObjectRef | None = None) -> model.Problem:
    """Return a finding as a problem of the file `path`, in a document that begins after `lines` lines."""
    return model.Problem(
        file=path,
        line=finding.line + lines,
        column=finding.column,
        message=finding.message,
        kind=ref.kind if ref else "",
        name=ref.name if ref else "",
        tenant=ref.tenant if ref else "",
        fix=finding.fix,
    )
