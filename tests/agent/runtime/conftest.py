"""A place of its own for every test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.runtime.place import ROOT, TASK, Answers, Place


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
    if not ROOT:
        pytest.skip("containers of ours are made by root only, and not by one that is another user outside")


@pytest.fixture
def image(place: Place) -> Path:
    """A directory as the agent fills it."""
    folder = place.folder / "image"
    (folder / "criu").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "container.json").write_text(
        json.dumps({"v": 1, "mounts": ["/dev/shm", "/etc/hosts", "/run/secrets"], "seccomp": "", "network": True})
    )
    (folder / "credentials.json").write_text(json.dumps({"v": 1, "tasks": [TASK]}))
    (folder / "layer").mkdir()
    (folder / "layer" / "0").write_text("from the checkpoint")
    entry = {"path": "kept", "kind": "file", "mode": 0o640, "uid": 7, "gid": 8, "mtime": 1_000_000_000, "data": 0, "size": 19}
    (folder / "layer.json").write_text(json.dumps({"v": 1, "deleted": ["gone"], "entries": [entry]}))
    (folder / "shm").mkdir()
    (folder / "shm.json").write_text(
        json.dumps({"v": 1, "deleted": [], "entries": [{**entry, "path": "memory", "size": 4096, "data": 1}]})
    )
    (folder / "shm" / "1").write_text("shared")
    return folder
