"""The one file of Python: the same bytes each time, and any interpreter of a host runs it."""

from __future__ import annotations

import ast
import importlib.resources
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import agent.runtime
from agent import verdicts
from agent.runtime import pack
from tests.agent.runtime.place import CONTAINER, MARKED, Answers, Place

OLDEST = (3, 8)


def _interpreters() -> list[str]:
    """What this machine has, the tests' own first."""
    names = ["python3", *(f"python3.{minor}" for minor in range(OLDEST[1], 20))]
    found = [shutil.which(name) for name in names]
    home = Path(sys.base_prefix).parent
    beside = [str(path) for path in home.glob("3.*/bin/python3") if home.name == "versions"]
    return [sys.executable, *(path for path in sorted({*filter(None, found), *beside}) if _able(path))]


def _able(path: str) -> bool:
    check = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    return subprocess.run([path, "-IS", "-c", check], check=False, capture_output=True).returncode == 0


def test_the_same_modules_make_the_same_bytes() -> None:
    assert pack.files() == pack.files()


def test_nothing_is_left_out() -> None:
    names = {entry.name.removesuffix(".py") for entry in importlib.resources.files(agent.runtime).iterdir()}
    assert names - {"__init__", "__pycache__", "pack", pack.PROGRAM} == set(pack.MODULES)


@pytest.mark.parametrize("name", pack.MODULES)
def test_its_syntax_is_of_the_oldest_python_that_we_name(name: str) -> None:
    source = importlib.resources.files(agent.runtime) / f"{name}.py"
    ast.parse(source.read_text(), feature_version=OLDEST)


@pytest.mark.skipif(os.geteuid() != 0, reason="containers of ours are made by root only")
@pytest.mark.parametrize("interpreter", _interpreters())
def test_any_interpreter_restores(place: Place, answers: Answers, image: Path, interpreter: str) -> None:
    (place.etc / "programs").write_text(f"{place.runc}\n{interpreter}\n")
    answers.verdict = verdicts.Restore(directory=image)
    place.config(MARKED)
    with place.agent(answers):
        done = place.create()
        assert done.returncode == 0, done.stderr
        for words in (["start"], ["kill"], ["delete"]):
            place.call(*words, CONTAINER)
    assert place.subcommands() == ["restore", "kill", "delete"]
    assert answers.verbs == ["create", "started", "kill", "deleted"]
    assert (place.rootfs / "kept").read_text() == "from the checkpoint"
