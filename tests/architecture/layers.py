"""The table of layers. A module imports only from lower layers, and entries of one layer never import each other."""

from __future__ import annotations

from tests.architecture import sources
from tests.architecture.sources import Source, Violation

LAYERS: tuple[tuple[str, ...], ...] = (
    ("reconciler", "reconciler.errors", "reconciler.data"),
    ("reconciler.core",),
    ("reconciler.policy",),
    ("reconciler.config", "reconciler.contracts", "reconciler.wire"),
    ("reconciler.seams",),
    (
        "reconciler.source",
        "reconciler.load",
        "reconciler.ledger",
        "reconciler.link",
        "reconciler.targets",
        "reconciler.provisioners",
        "reconciler.engines",
        "reconciler.storage",
        "reconciler.forges",
    ),
    ("reconciler.registry",),
    ("reconciler.desire", "reconciler.observe", "reconciler.apply", "reconciler.annotate", "reconciler.sweep"),
    ("reconciler.loop", "reconciler.gateway"),
    ("reconciler.cli",),
)
"""Lowest first. `reconciler` itself stands for its `__init__`, which holds the version."""

AGENT_MAY_IMPORT = (
    "reconciler",
    "reconciler.errors",
    "reconciler.data",
    "reconciler.core",
    "reconciler.config",
    "reconciler.contracts",
    "reconciler.wire",
    "reconciler.seams",
    "reconciler.engines",
    "reconciler.storage",
)
"""What of the reconciler runs on a host too."""

EMBEDDED = "reconciler.cli.embedded"
"""The one module of the reconciler that imports the agent: it runs one inside the reconciler's process."""


def entry(module: str) -> str | None:
    """The entry of LAYERS that a module of the reconciler belongs to; None when the table has no place for it."""
    if module == "reconciler":
        return module
    name = ".".join(module.split(".")[:2])
    return name if any(name in layer for layer in LAYERS) else None


def check(tree: tuple[Source, ...]) -> list[Violation]:
    """Every import that points upwards, sideways, or between reconciler and agent where it must not."""
    return [
        Violation(source.path, line, f"{source.module} imports {imported}: {problem}")
        for source in sources.production(tree)
        for imported, line in sources.imports(source, tree)
        if (problem := _problem(source.module, imported))
    ] + [
        Violation(source.path, 1, f"{source.module} has no layer: add its package to LAYERS in tests/architecture/layers.py")
        for source in sources.production(tree)
        if source.module.startswith("reconciler") and entry(source.module) is None
    ]


def _problem(importer: str, imported: str) -> str | None:
    importer_root, imported_root = importer.split(".", maxsplit=1)[0], imported.split(".", maxsplit=1)[0]
    if imported_root == "tests":
        return "what ships never imports the tests"
    if {importer_root, imported_root} - {"reconciler", "agent"}:
        return None
    if importer_root == imported_root == "agent":
        return None
    if importer_root == "agent":
        return None if entry(imported) in AGENT_MAY_IMPORT else "the agent may not import this part of the reconciler"
    if imported_root == "agent":
        return None if importer == EMBEDDED else f"only {EMBEDDED} may import the agent"
    return _order(entry(importer), entry(imported))


def _order(importer: str | None, imported: str | None) -> str | None:
    if importer is None or imported is None or importer == imported:
        return None
    above, below = _height(importer), _height(imported)
    if below > above:
        return f"layer {below} is above layer {above}"
    if below == above and above > 0:
        return f"both are in layer {above}, and siblings never import each other"
    return None


def _height(name: str) -> int:
    return next(height for height, layer in enumerate(LAYERS) if name in layer)
