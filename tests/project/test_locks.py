"""The locks are complete, pinned by hash, and name no registry."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "requirements.lock"
DEVELOPMENT = ROOT / "requirements-dev.lock"


def requirements(lock: Path) -> dict[str, str]:
    """Name → the whole logical line of each requirement."""
    logical = lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return {re.split(r"[=\[ ]", line)[0].lower(): line for line in logical if line and not line.lstrip().startswith("#")}


def name(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement, maxsplit=1)[0].lower()


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT], ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed(lock: Path) -> None:
    for line in requirements(lock).values():
        assert "==" in line, line
        assert "--hash=sha256:" in line, line


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT], ids=lambda path: path.name)
def test_no_registry_is_named(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links|--trusted-host", text)


def test_the_locks_hold_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    runtime = {name(one) for one in project["project"]["dependencies"] + project["build-system"]["requires"]}
    development = runtime | {name(one) for one in groups["dev"] + groups["build"]}
    assert runtime <= set(requirements(RUNTIME))
    assert development <= set(requirements(DEVELOPMENT))


def test_both_locks_agree() -> None:
    runtime, development = requirements(RUNTIME), requirements(DEVELOPMENT)
    assert {key: development.get(key) for key in runtime} == runtime
