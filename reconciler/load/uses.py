"""What a document says about things outside it: other objects and files of the repository, with the place of each word."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.load import places
from reconciler.load.nodes import Event, Mapping, Reading, Sequence
from reconciler.load.places import Path


class Use(NamedTuple):
    """One word that must be looked up elsewhere. `role` is a name of the table."""

    role: str
    text: str
    line: int
    column: int


_ROLES: dict[str, tuple[tuple[Path, tuple[tuple[str, str], ...]], ...]] = {
    "Job": (
        (("spec",), (("target", "target"), ("pool", "pool"), ("dependsOn", "dependsOn"))),
        (("spec", "checkpoint"), (("store", "store"), ("engine", "engine"))),
        (("spec", "workload"), (("secrets", "secrets"),)),
        (("spec", "workload", "code"), (("path", "code"), ("entrypoint", "entrypoint"), ("requirements", "requirements"))),
    ),
    "Checkpoint": ((("spec",), (("job", "job"),)),),
}
"""Kind → where fields stand that name something, and the role of each; an item of a list is a use of its own."""


def find(kind: str, reading: Reading, lines: int) -> tuple[Use, ...]:
    """Return the uses of a document that begins after `lines` lines of its file; it may have any form."""
    found: list[Use] = []
    for path, fields in _ROLES.get(kind, ()):
        parent = places.value(reading.root, path)
        if not isinstance(parent, Mapping):
            continue
        for field, role in fields:
            value = parent.get(field)
            if isinstance(value, str):
                found.append(_use(role, value, parent.marks[field][1], lines))
            elif isinstance(value, Sequence):
                items = zip(value, value.marks, strict=True)
                found.extend(_use(role, item, event, lines) for item, event in items if isinstance(item, str))
    return tuple(found)


def _use(role: str, text: str, event: Event, lines: int) -> Use:
    mark = event.start_mark
    return Use(role, text, mark.line + 1 + lines, mark.column + 1)
