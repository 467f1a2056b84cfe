"""What is wrong with a document that its schema refuses: every violation, with its place and what to write instead.

The `jsonschema` library finds them, and `sentences` says them; doubts about unquoted words come before. It is imported once
there is something to find: that takes a quarter of the time in which a command starts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from reconciler.load import checker, doubts, places, schemas, sentences
from reconciler.load.finding import Finding
from reconciler.load.nodes import Reading
from reconciler.load.schemas import Schema
from reconciler.load.violation import Violation

if TYPE_CHECKING:
    from jsonschema import ValidationError


def accepted(name: str, reading: Reading) -> bool:
    """Return whether a document satisfies the schema `name`, without a word that has two meanings."""
    return schemas.check(name)(reading.root) and not (reading.doubts and doubts.matter(name, reading))


def find(name: str, reading: Reading) -> list[tuple[Violation, Finding]]:
    """Return every violation of the schema `name`, with the finding for it, and the doubts about unquoted words."""
    found = [*doubts.find(name, reading)]
    doubted = {(finding.line, finding.column) for _, finding in found}
    for error in _validator(name).iter_errors(reading.root):
        for violation in sentences.translate(error, reading):
            line, column = places.place(reading, violation.path, key=violation.at_key)
            if (line, column) not in doubted:  # the doubt is the cause of whatever else is wrong there
                found.append((violation, Finding(line=line, column=column, message=violation.message, fix=violation.fix)))
    return found


@functools.cache
def _validator(name: str) -> Any:
    import jsonschema
    from jsonschema import validators

    extend: Any = validators.extend
    made = extend(jsonschema.Draft202012Validator, {"pattern": _pattern})
    return made(schemas.schema(name))


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Schema) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and checker.ecma(pattern).search(instance) is None:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")
