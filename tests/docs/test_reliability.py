"""The page on reliability names tests that exist, and a few facts that no other test is about."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.host import Host, python
from tests.docs import pages
from tests.simulation import tour

PAGE = pages.ROOT / "docs" / "reliability.md"
TESTS = pages.ROOT / "tests"
ROWS = (
    *(f"T1 {number}" for number in range(1, 18)),
    *(f"T3 {number}" for number in range(33, 53)),
    *(f"T4 {number}" for number in range(53, 65)),
    *(f"T5 {number}" for number in range(68, 86)),
    *(f"T6 {number}" for number in range(86, 101)),
    *(f"T8 {number}" for number in (113, 116, 117, 118, 121)),
)


def rows() -> dict[str, str]:
    """Return what each row names as its evidence."""
    found = re.findall(r"^\| (T\d \d+) \|.*\| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    return dict(found)


def test_every_row_is_there() -> None:
    assert set(rows()) == set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_the_evidence_exists(row: str) -> None:
    evidence = rows()[row]
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", evidence)
    plans, bad = re.findall(r"plan `([\w-]+)`", evidence), re.findall(r"bad `(\w+)`", evidence)
    assert [f"{file}::{name}" for file, name in named if name not in functions(TESTS / file)] == []
    assert [name for name in plans if not (TESTS / "core" / "plans" / name).is_dir()] == []
    assert [name for name in bad if not (TESTS / "load" / "bad" / f"{name}.yaml").is_file()] == []
    assert named or plans or bad or "later: " in evidence


def test_the_number_of_points_is_the_tours() -> None:
    told = re.search(r"one after the other: (\d+) points", PAGE.read_text())
    assert told is not None
    assert int(told[1]) == len(tour.points())


@functools.cache
def functions(file: Path) -> frozenset[str]:
    """Return the names of the tests in a file; none when there is no such file."""
    if not file.is_file():
        return frozenset()
    return frozenset(node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


def test_arguments_arrive_as_they_are_written(host: Host) -> None:
    hostile = ["$(touch here)", "`id`", "a; b", "* ?", "-rf", "'\"", "two\nlines", "", "ü"]
    program = "import os, sys; print(sys.argv[1:], os.environ['ODD'], os.listdir('.'))"
    with host.up():
        what = host.attempt([python(), "-c", program, *hostile], workload={"env": {"ODD": hostile[0]}})
        ref = host.assign(what)
        assert host.ended(ref).code == 0
        host.logged(ref, f"{hostile} {hostile[0]} []")


def test_nothing_of_ours_loads_what_a_program_saved() -> None:
    loaders = {"pickle", "marshal", "shelve", "dill", "joblib", "torch", "numpy"}
    found = set()
    touching = ("agent", "reconciler/engines", "reconciler/storage", "reconciler/targets", "reconciler/link")
    for source in (path for package in touching for path in (pages.ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {f"{source.name}: {name}" for name in names if name.partition(".")[0] in loaders}
    assert found == set()
