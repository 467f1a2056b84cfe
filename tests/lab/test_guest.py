"""On a kernel with cgroup v2: what this machine's own cannot show, and that the lab's nodes run there as well."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.lab import recipe
from tests.lab.guest import Guest, Outcome
from tests.lab.lab import CHECKOUT, Lab


@pytest.fixture(scope="module")
def outcome(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the guest printed; booting it is dear, so it does everything in one go."""
    given = tmp_path_factory.mktemp("given")
    for name in ("__init__.py", "conditions.py"):
        (given / "tests").mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / "tests" / name, given / "tests" / name)
    for path in (CHECKOUT / "tests" / "lab").glob("*.*"):
        (given / "tests" / "lab").mkdir(exist_ok=True)
        shutil.copy(path, given / "tests" / "lab" / path.name)
    files: dict[str, str | Path] = {"checkout": given, recipe.TINY_IMAGE: lab.cache.image(recipe.TINY_IMAGE)}
    return Guest().run("cd /given/checkout; PYTHONDONTWRITEBYTECODE=1 python3 -m tests.lab.inside_guest || exit 7", files=files)


@pytest.fixture(scope="module")
def found(outcome: Outcome) -> dict[str, Any]:
    assert outcome.status == 0, outcome.output
    answer: dict[str, Any] = json.loads(outcome.output.splitlines()[-1])
    return answer


def test_nodes_there_have_cgroup_v2_with_its_controllers(found: dict[str, Any]) -> None:
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(found["controllers"])


def test_criu_is_good_and_tracks_dirty_pages(found: dict[str, Any]) -> None:
    assert "Looks good" in found["criu"]
    assert "mem_dirty_track is supported" in found["soft dirty"]


def test_apparmor_is_there(found: dict[str, Any]) -> None:
    assert "apparmor" in found["security"]


def test_a_container_of_docker_is_dumped_and_goes_on(found: dict[str, Any]) -> None:
    assert found["images"]
    assert found["limit"] == str(64 << 20)


def test_the_lab_leaves_nothing_there(found: dict[str, Any]) -> None:
    assert found["left"] == []
