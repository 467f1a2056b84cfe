"""Files and folders that the pages for contributors name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import pages

NAMED = re.compile(r"`((?:reconciler|agent|tests|docs|schemas|scripts|manifests|examples)/[\w./-]+)`")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/explanation/simulation.md"])
def test_what_is_named_is_there(page: str) -> None:
    named = set(NAMED.findall((pages.ROOT / page).read_text()))
    assert {path for path in named if not exists(path)} == set()


def exists(path: str) -> bool:
    """Return whether a path leads to a file, a folder, or a module named without its suffix."""
    place: Path = pages.ROOT / path
    return place.exists() or place.with_suffix(".py").exists()
