"""Parsed sources, the only thing the rules look at."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("reconciler", "agent", "tests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One Python file."""

    module: str
    """Dotted name; a package's `__init__` has the package's name."""

    path: str
    """Relative to the repository's root."""

    text: str = field(repr=False)
    tree: ast.Module = field(repr=False, compare=False)

    @property
    def is_package(self) -> bool:
        """Whether this is an `__init__`."""
        return self.path.endswith("__init__.py")


class Violation(NamedTuple):
    """A place where a rule is broken, and the sentence that says how."""

    path: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}"


def source(path: str, text: str) -> Source:
    """Parses one file; `path` is relative to the root and gives the module's name."""
    parts = path.removesuffix(".py").split("/")
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Source(module=module, path=path, text=text, tree=ast.parse(text, filename=path))


@functools.cache
def repository() -> tuple[Source, ...]:
    """Every source of the packages and their tests. Generated code is left out; links are not followed."""
    return tuple(
        source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "_pb2" not in path.name and not any(parent.is_symlink() for parent in path.parents)
    )


def production(tree: tuple[Source, ...]) -> tuple[Source, ...]:
    """The sources that ship."""
    return tuple(one for one in tree if not one.module.startswith("tests"))


def imports(importer: Source, tree: tuple[Source, ...]) -> Iterator[tuple[str, int]]:
    """Every import of a source, wherever it stands, as (module, line).

    `from package import name` is the module `package.name` where that is one of `tree`, else `package`.
    A relative import is given as it is written, with its dots.
    """
    known = _modules(tree)
    for node in ast.walk(importer.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in known else base), node.lineno


@functools.lru_cache(maxsize=8)
def _modules(tree: tuple[Source, ...]) -> frozenset[str]:
    return frozenset(one.module for one in tree)


def dotted(node: ast.expr) -> str:
    """`a.b.c` for the expression a.b.c, and for a call of it; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attribute):
            inner = dotted(value)
            return f"{inner}.{attribute}" if inner else ""
        case ast.Call(func=function):
            return dotted(function)
    return ""
