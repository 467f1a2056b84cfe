"""The pure layers: values in, values out. Time, ids and everything observed are arguments."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture import sources
from tests.architecture.sources import Source, Violation

PURE = ("reconciler.core", "reconciler.policy")

# fmt: off
MAY_IMPORT = frozenset(
    {
        "__future__", "abc", "base64", "bisect", "builtins", "collections", "collections.abc", "contextlib",
        "copy", "dataclasses", "datetime", "decimal", "difflib", "enum", "fractions", "functools", "graphlib",
        "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "msgspec", "operator",
        "posixpath", "re", "statistics", "string", "struct", "textwrap", "types", "typing", "unicodedata",
    }
)
# fmt: on
"""A list of what is allowed, since nobody can list everything that is not: what has no clock, randomness, file,
network or log."""

MAY_IMPORT_FROM = {"pathlib": frozenset({"PurePath", "PurePosixPath"})}
"""Modules of which only some names are pure."""

FORBIDDEN_CALLS = {
    **dict.fromkeys(("open", "input", "print", "breakpoint"), "talks to the outside"),
    **dict.fromkeys(("eval", "exec", "__import__", "compile"), "hides what it does"),
    **dict.fromkeys(("hash", "id"), "differs from process to process"),
}

CLOCKS = frozenset({"now", "utcnow", "today"})


def check(tree: tuple[Source, ...]) -> list[Violation]:
    """Everything in a pure layer that reads a clock, chance, a file, the network or a log."""
    return [
        Violation(source.path, line, f"{source.module} is pure, but {problem}")
        for source in tree
        if source.module.startswith(PURE)
        for line, problem in _problems(source)
    ]


def _problems(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if not _allowed(alias.name):
                        yield node.lineno, f"imports {alias.name}"
            case ast.ImportFrom(module=module, level=0) if module is not None and not _allowed(module):
                for alias in node.names:
                    if alias.name not in MAY_IMPORT_FROM.get(module, ()):
                        yield node.lineno, f"imports {alias.name} from {module}"
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                yield node.lineno, f"calls {name}(), which {FORBIDDEN_CALLS[name]}"
            case ast.Attribute(attr=attribute, value=value) if attribute in CLOCKS:
                if sources.dotted(value).rpartition(".")[2] in ("datetime", "date"):
                    yield node.lineno, f"reads the clock ({sources.dotted(node)}); take the time as an argument"
            case ast.Global():
                yield node.lineno, f"changes the global {', '.join(node.names)}"


def _allowed(module: str) -> bool:
    return module in MAY_IMPORT or module.split(".", maxsplit=1)[0] == "reconciler"  # which part of it, the layers say
