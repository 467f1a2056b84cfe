"""What is slow to make is made once, whole or not at all, and thrown away when nobody has used it for long."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import ability, cache, recipe
from tests.lab.lab import CHECKOUT

BUILDER = """
import sys
from pathlib import Path
from tests.lab import cache
cache.PLACE = Path(sys.argv[1])
def make(place):
    with (cache.PLACE / "made").open("a") as made:
        made.write("once\\n")
    (place / "part").write_text("whole")
    if sys.argv[2] == "slow":
        print("halfway", flush=True)
        input()
print((cache.build("thing", make) / "part").read_text(), flush=True)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "PLACE", tmp_path)
    return tmp_path


def builder(place: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(place), how]
    return subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_builder_waits_for_the_first(place: Path) -> None:
    with builder(place, "slow") as first:
        assert first.stdout
        assert first.stdout.readline() == "halfway\n"
        assert not (place / "thing").exists()
        with builder(place, "quick") as second:
            answers = [first.communicate("\n")[0], second.communicate()[0]]
    assert answers == ["whole\n", "whole\n"]
    assert (place / "made").read_text() == "once\n"


def test_what_a_killed_builder_leaves_is_made_again(place: Path) -> None:
    with builder(place, "slow") as first:
        assert first.stdout
        first.stdout.readline()
        first.kill()
    assert cache.build("thing", lambda folder: (folder / "part").touch()) == place / "thing"
    assert sorted(path.name for path in place.iterdir()) == ["build.lock", "made", "thing"]


def test_a_build_that_fails_is_not_there(place: Path) -> None:
    with pytest.raises(ability.LabUnable, match="the reason"):
        cache.build("thing", lambda folder: cache.command(["sh", "-c", "echo the reason; exit 3"]))
    assert not (place / "thing").exists()


def test_what_nobody_uses_goes(place: Path) -> None:
    for name in ("old", "new"):
        cache.build(name, lambda folder: None)
    os.utime(place / "old", (0, 0))
    (place / "slots").mkdir()
    os.utime(place / "slots", (0, 0))
    cache.prune()
    assert sorted(path.name for path in place.iterdir()) == ["build.lock", "new", "slots"]


def test_a_digest_names_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe.digest()
    monkeypatch.setattr(recipe, "FORMAT", recipe.FORMAT + 1)
    assert recipe.digest() != before
