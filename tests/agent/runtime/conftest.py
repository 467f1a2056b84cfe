"""A place of its own for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.runtime.place import Answers, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.clean()


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def root() -> None:
    """For tests that mount and make namespaces."""
    if os.geteuid() != 0:
        pytest.skip("containers of ours are made by root only")
