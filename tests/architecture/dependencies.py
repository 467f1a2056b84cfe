"""What ships imports only what pyproject.toml declares, and pyproject.toml declares only what is imported."""

from __future__ import annotations

import re
import sys
import tomllib

from tests.architecture import sources
from tests.architecture.sources import ROOT, Source, Violation

IMPORT_NAMES = {"gitpython": "git", "grpcio": "grpc", "protobuf": "google", "pyyaml": "yaml"}
"""Where the name to import differs from the name to install."""

GENERATED = re.compile(r"^(?:from|import) (google)\b", re.MULTILINE)
"""What generated code imports; its sources are not among those that are checked."""

STANDALONE: tuple[str, ...] = ("agent.runtime",)
"""Modules that run without our environment, on nothing but the standard library."""


def declared() -> frozenset[str]:
    """The import names of the runtime dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = (re.split(r"[^\w-]", line, maxsplit=1)[0].lower() for line in project["dependencies"])
    return frozenset(IMPORT_NAMES.get(name, name) for name in names)


def undeclared(tree: tuple[Source, ...], known: frozenset[str]) -> list[Violation]:
    """Imports of something that an installation would not bring along."""
    return [
        Violation(source.path, line, f"{source.module} imports {name}, which pyproject.toml does not declare for it")
        for source in sources.production(tree)
        for name, line in _foreign(source, tree)
        if name not in known or source.module.startswith(STANDALONE)
    ]


def unneeded(tree: tuple[Source, ...], known: frozenset[str]) -> list[Violation]:
    """Declared dependencies that nothing imports."""
    used = {name for source in sources.production(tree) for name, _ in _foreign(source, tree)}
    for path in (ROOT / "reconciler" / "wire").glob("*_pb2.py"):
        used |= set(GENERATED.findall(path.read_text(encoding="utf-8")))
    return [Violation("pyproject.toml", 1, f"nothing imports the dependency {name}") for name in sorted(known - used)]


def _foreign(source: Source, tree: tuple[Source, ...]) -> list[tuple[str, int]]:
    return [
        (name.split(".")[0], line)
        for name, line in sources.imports(source, tree)
        if name.split(".")[0] not in sys.stdlib_module_names and not _own(source, name)
    ]


def _own(source: Source, name: str) -> bool:
    """Whether an imported module is part of what the importer is installed with."""
    home = next((one for one in STANDALONE if source.module.startswith(one)), "")
    return name.startswith(home) if home else name.partition(".")[0] in ("reconciler", "agent")
