"""Code that nothing which ships uses. `python -m tests.architecture.unused` prints it."""

from __future__ import annotations

import sys

import vulture  # type: ignore[import-untyped]

from tests.architecture import sources
from tests.architecture.sources import Source, Violation

KINDS = frozenset({"class", "function", "import", "method", "property", "unreachable_code"})
"""Kinds that are always reported. Of variables only the module's own are: fields of a value that is stored or sent, and
members of an enumeration, are read by whoever reads the record."""

DECORATORS = ["@*.command", "@*.group", "@*.result_callback", "@*.callback", "@*.filter"]

WHITELIST = {
    "format_commands": "click, when it prints the list of commands",
    "move": "the table of commands in reconciler/cli/main.py",
    "resume": "the table of commands in reconciler/cli/main.py",
    "restore_dir": "programs that import agent/contract/perdure_job.py",
}
"""Names that something outside the sources uses: the name, and what uses it. A row that is no longer needed turns the
test red."""


def check(tree: tuple[Source, ...], whitelist: frozenset[str] = frozenset(WHITELIST)) -> list[Violation]:
    """Functions, classes, methods, properties, constants and imports of what ships that nothing which ships uses.

    Use by tests does not count. A shipped fake is there for tests, so what it defines is not reported.
    """
    shipped = sources.production(tree)
    constants = {(source.path, node.lineno) for source in shipped for node in source.tree.body}
    return [
        Violation(path, item.first_lineno, item.message)
        for item in _scan(shipped)
        if (path := item.filename.as_posix()) and item.filename.name != "fake.py" and item.name not in whitelist
        if item.typ in KINDS or (item.typ == "variable" and (path, item.first_lineno) in constants)
    ]


def _scan(tree: tuple[Source, ...]) -> list[vulture.core.Item]:
    finder = vulture.Vulture(ignore_decorators=DECORATORS)
    for source in tree:
        finder.scan(source.text, filename=source.path)
    items: list[vulture.core.Item] = finder.get_unused_code(min_confidence=60)
    return items


if __name__ == "__main__":
    found = check(sources.repository())
    for violation in found:
        print(violation)
    sys.exit(bool(found))
