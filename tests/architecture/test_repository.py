"""The sources keep every rule of the architecture."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.architecture import dependencies, layers, purity, shape, sources, unused
from tests.architecture.sources import Source, Violation

Rule = Callable[[tuple[Source, ...]], list[Violation]]

RULES: tuple[tuple[str, Rule], ...] = (
    ("layers", layers.check),
    ("purity", purity.check),
    ("module_sizes", shape.module_sizes),
    ("function_sizes", shape.function_sizes),
    ("parameters", shape.parameters),
    ("module_names", shape.module_names),
    ("docstrings", shape.docstrings),
    ("values", shape.values),
    ("unfinished", shape.unfinished),
    ("sleeps", shape.sleeps),
    ("imports_of_names", shape.imports_of_names),
    ("undeclared_dependencies", lambda tree: dependencies.undeclared(tree, dependencies.declared())),
    ("unneeded_dependencies", lambda tree: dependencies.unneeded(tree, dependencies.declared())),
    ("unused", unused.check),
)


@pytest.mark.parametrize("rule", [pytest.param(rule, id=name) for name, rule in RULES])
def test_the_sources_keep_the_rule(rule: Rule) -> None:
    violations = rule(sources.repository())
    if violations:
        pytest.fail("\n".join(str(one) for one in sorted(violations)), pytrace=False)


def test_the_whitelist_of_unused_code_has_no_row_too_many() -> None:
    needed = "\n".join(one.problem for one in unused.check(sources.repository(), whitelist=frozenset()))
    assert [name for name in unused.WHITELIST if f"'{name}'" not in needed] == []


def test_every_layer_is_named_once() -> None:
    names = [name for layer in layers.LAYERS for name in layer]
    assert len(names) == len(set(names))


def test_the_sources_are_really_looked_at() -> None:
    modules = {source.module for source in sources.repository()}
    assert {"reconciler.errors", "reconciler.core", "agent", "tests.architecture.sources"} <= modules
    assert not any(module.startswith("reconciler.data.") for module in modules), "links must not be followed"
