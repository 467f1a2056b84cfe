"""A test of the tests: each rule turns red on a planted violation, and stays green beside it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.architecture import dependencies, layers, purity, shape, sources, unused
from tests.architecture.sources import Source, Violation

HEADER = '"""A planted module."""\n'


def planted(**files: str) -> tuple[Source, ...]:
    """Sources from text; a key is a path with `__` for a slash: `reconciler__core__model`."""
    return tuple(sources.source(key.replace("__", "/") + ".py", HEADER + text) for key, text in files.items())


def problems(violations: list[Violation]) -> str:
    return "\n".join(one.problem for one in violations)


IMPORTS_REFUSED = {
    "core_reads_an_adapter": ("reconciler/core/plan.py", "from reconciler.storage import path"),
    "core_reads_a_contract": ("reconciler/core/plan.py", "import reconciler.contracts.store"),
    "adapter_reads_the_loop": ("reconciler/ledger/refs.py", "from reconciler.loop import stages"),
    "adapters_are_siblings": ("reconciler/ledger/refs.py", "from reconciler.source import repository"),
    "seams_read_an_adapter": ("reconciler/seams/clock.py", "from reconciler.ledger import wire"),
    "inside_a_function": ("reconciler/core/plan.py", "def f():\n    from reconciler.cli import main"),
    "only_for_types": ("reconciler/core/plan.py", "if TYPE_CHECKING:\n    from reconciler.cli import main"),
    "package_without_a_layer": ("reconciler/sidecar/main.py", ""),
    "reconciler_reads_the_agent": ("reconciler/loop/stages.py", "from agent import spool"),
    "agent_reads_the_loop": ("agent/spool.py", "from reconciler.loop import stages"),
    "agent_reads_the_ledger": ("agent/spool.py", "from reconciler.ledger import refs"),
    "product_reads_the_tests": ("reconciler/loop/stages.py", "from tests import conditions"),
}

IMPORTS_ALLOWED = {
    "downwards": ("reconciler/ledger/refs.py", "from reconciler.core import model"),
    "inside_one_package": ("reconciler/ledger/refs.py", "from reconciler.ledger import wire"),
    "the_version": ("reconciler/cli/main.py", "from reconciler import __version__"),
    "agent_reads_a_contract": ("agent/spool.py", "from reconciler.contracts import store"),
    "agent_reads_itself": ("agent/spool.py", "from agent import journal"),
    "the_embedded_agent": ("reconciler/cli/embedded.py", "from agent import spool"),
    "others": ("reconciler/core/model.py", "import msgspec"),
}


@pytest.mark.parametrize(("path", "text"), IMPORTS_REFUSED.values(), ids=IMPORTS_REFUSED)
def test_layers_refuse(path: str, text: str) -> None:
    assert layers.check((sources.source(path, text),))


@pytest.mark.parametrize(("path", "text"), IMPORTS_ALLOWED.values(), ids=IMPORTS_ALLOWED)
def test_layers_allow(path: str, text: str) -> None:
    assert not layers.check((sources.source(path, text),))


IMPURE = {
    "time": "import time",
    "random": "import random",
    "uuid": "from uuid import uuid4",
    "os": "import os",
    "os_path": "import os.path",
    "socket": "import socket",
    "subprocess": "import subprocess",
    "logging": "import logging",
    "structlog": "import structlog",
    "threading": "import threading",
    "path": "from pathlib import Path",
    "whole_pathlib": "import pathlib",
    "now": "import datetime\nx = datetime.datetime.now()",
    "now_of_the_class": "from datetime import datetime\nx = datetime.now",
    "today": "from datetime import date\nx = date.today()",
    "open": "x = open('f')",
    "print": "print('x')",
    "hash": "x = hash('a')",
    "global": "def f():\n    global x\n    x = 1",
}

PURE = {
    "values": "import dataclasses\nimport json\nfrom collections.abc import Mapping",
    "paths_as_text": "from pathlib import PurePosixPath",
    "given_time": "import datetime\ndef f(now: datetime.datetime) -> datetime.datetime:\n    return now",
    "own_now": "def f(world):\n    return world.now",
    "msgspec": "import msgspec",
}


@pytest.mark.parametrize("text", IMPURE.values(), ids=IMPURE)
@pytest.mark.parametrize("path", ["reconciler/core/plan.py", "reconciler/policy/quota.py"])
def test_purity_refuses(path: str, text: str) -> None:
    assert purity.check((sources.source(path, text),))


@pytest.mark.parametrize("text", PURE.values(), ids=PURE)
def test_purity_allows(text: str) -> None:
    assert not purity.check((sources.source("reconciler/core/plan.py", text),))


def test_purity_is_for_the_pure_layers_only() -> None:
    assert not purity.check((sources.source("reconciler/seams/clock.py", "import time"),))


def lines(count: int) -> str:
    return "    pass\n" * count


SHAPES: dict[str, tuple[Callable[[tuple[Source, ...]], list[Violation]], str, str, str]] = {
    "module_sizes": (shape.module_sizes, "reconciler/loop/a.py", "x = 1\n" * 501, "x = 1\n" * 500),
    "function_sizes": (
        shape.function_sizes,
        "tests/loop/test_a.py",
        "def f():\n" + lines(70),
        "def f():\n" + lines(69),
    ),
    "methods": (
        shape.function_sizes,
        "agent/a.py",
        "class A:\n  async def f(self):\n" + lines(70),
        "class A:\n  x = 1",
    ),
    "parameters": (shape.parameters, "agent/a.py", "def f(a, b, c, d, e, f, g): ...", "def f(a, b, c, d, e, f): ..."),
    "keyword_parameters": (
        shape.parameters,
        "agent/a.py",
        "def f(a, b, *c, d, e, f, **g): ...",
        "def f(a, *, b, c): ...",
    ),
    "parameters_of_a_method": (
        shape.parameters,
        "agent/a.py",
        "class A:\n    def f(self, a, b, c, d, e, f, g): ...",
        "class A:\n    def f(self, a, b, c, d, e, f): ...",
    ),
    "parameters_of_a_command": (
        shape.parameters,
        "reconciler/cli/a.py",
        "@cache\ndef f(a, b, c, d, e, f, g): ...",
        "@main.command()\n@click.option('-a')\ndef f(a, b, c, d, e, f, g): ...",
    ),
    "docstrings": (shape.docstrings, "agent/a.py", "x = 1", '"""Says what it is for."""'),
    "values_bare": (shape.values, "reconciler/core/a.py", "@dataclass\nclass A: ...", "class A: ..."),
    "values_partly": (
        shape.values,
        "reconciler/contracts/a.py",
        "@dataclasses.dataclass(frozen=True, slots=True)\nclass A: ...",
        "@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)\nclass A: ...",
    ),
    "values_switched_off": (
        shape.values,
        "reconciler/core/a.py",
        "@dataclass(frozen=False, slots=True, kw_only=True)\nclass A: ...",
        "@dataclass(frozen=True, slots=True, kw_only=True)\nclass A: ...",
    ),
    "mark": (shape.unfinished, "agent/a.py", "x = 1  # TODO: two", "x = 'TODO'"),
    "not_implemented": (
        shape.unfinished,
        "agent/a.py",
        "def f():\n    raise NotImplementedError",
        "def f():\n    return 1",
    ),
    "no_body": (
        shape.unfinished,
        "agent/a.py",
        "def f():\n    ...",
        "class A(Protocol):\n    def f(self):\n        ...",
    ),
    "sleeps": (shape.sleeps, "tests/a.py", "time.sleep(1)", "conditions.eventually(f)"),
}


@pytest.mark.parametrize(("rule", "path", "bad", "good"), SHAPES.values(), ids=SHAPES)
def test_shape(rule: Callable[[tuple[Source, ...]], list[Violation]], path: str, bad: str, good: str) -> None:
    assert rule((sources.source(path, bad),))
    assert not rule((sources.source(path, good),))


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "base", "manager", "_util", "managers"])
def test_names_that_say_nothing(name: str) -> None:
    assert shape.module_names((sources.source(f"agent/{name}.py", ""),))
    assert shape.module_names((sources.source(f"agent/{name}/__init__.py", ""),))
    assert not shape.module_names((sources.source("agent/database.py", ""),))


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("from reconciler.core.model import load_jobs", True),
        ("from reconciler.core.model import LIMIT", True),
        ("from reconciler.core.model import Job", False),
        ("from reconciler.core import model", False),
        ("from reconciler import __version__", False),
        ("from dataclasses import dataclass", False),
    ],
)
def test_imports_of_names(text: str, refused: bool) -> None:
    tree = planted(reconciler__core__model="", reconciler__core__plan=text)
    assert bool(shape.imports_of_names(tree)) is refused


def test_dependencies() -> None:
    tree = planted(reconciler__load__events="import os\nimport yaml\nimport numpy.linalg", agent__journal="import click")
    assert "imports numpy" in problems(dependencies.undeclared(tree, frozenset({"yaml", "click"})))
    assert not dependencies.undeclared(tree, frozenset({"yaml", "numpy", "click"}))
    assert "dependency rich" in problems(dependencies.unneeded(tree, frozenset({"yaml", "numpy", "click", "rich"})))
    assert not dependencies.unneeded(tree, frozenset({"yaml", "numpy", "click"}))


def test_a_standalone_module_has_only_the_standard_library() -> None:
    everything = frozenset({"yaml"})
    assert dependencies.undeclared(planted(agent__runtime__runc="import yaml"), everything)
    assert dependencies.undeclared(planted(agent__runtime__runc="from reconciler.core import model"), everything)
    assert not dependencies.undeclared(planted(agent__runtime__runc="import os, json"), everything)
    own = planted(agent__runtime__runc="from agent.runtime import call", agent__runtime__call="", agent__journal="")
    assert not dependencies.undeclared(own, everything)
    other = planted(agent__runtime__runc="from agent import journal", agent__journal="")
    assert dependencies.undeclared(other, everything)


def test_unused_code_is_found_and_use_by_tests_does_not_count() -> None:
    tree = planted(
        reconciler__loop__stages="LIMIT = 3\ndef forgotten(): return 1\ndef needed(): return forgotten.x\n",
        reconciler__loop__run="import json\ndef tested(): return 2\n\ndef whitelisted(): return 3\n",
        tests__loop__test_run="from reconciler.loop import run\nrun.tested()\n",
    )
    found = problems(unused.check(tree, whitelist=frozenset({"whitelisted"})))
    assert [name for name in ("LIMIT", "needed", "json", "tested") if f"'{name}'" not in found] == []
    assert "whitelisted" not in found


def test_a_shipped_fake_counts_as_used() -> None:
    assert not unused.check(planted(reconciler__storage__fake="def fake_store(): return 1\n"))
