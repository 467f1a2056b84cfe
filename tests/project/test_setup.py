"""`scripts/setup` names what a machine lacks, with the command that installs it, before it changes anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests import programs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the script, so that whatever it does is seen beside it."""
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup", folder / "scripts" / "setup")
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the shell's own tools and nothing else."""
    return programs.only(tmp_path / "tools", ("sh", "dirname", "env"))


def provide(tools: Path, tool: str, script: str) -> None:
    (tools / tool).write_text(f"#!/bin/sh\n{script}\n")
    (tools / tool).chmod(0o755)


def setup(checkout: Path, tools: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / "scripts" / "setup"), "runtime"],
        env={"PATH": str(tools), "HOME": os.environ["HOME"], **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


MANAGERS = {
    "apt-get": ("apt-get install -y git", "apt-get install -y python3 python3-venv"),
    "dnf": ("dnf install -y git", "dnf install -y python3.11"),
    "brew": ("brew install git", "brew install python@3.13"),
}


@pytest.mark.parametrize(("manager", "commands"), MANAGERS.items(), ids=MANAGERS)
def test_a_bare_machine_is_told_everything_at_once(
    checkout: Path, tools: Path, manager: str, commands: tuple[str, str]
) -> None:
    provide(tools, manager, "exit 0")
    result = setup(checkout, tools)
    assert result.returncode == 1
    assert [command for command in commands if command not in result.stderr] == []
    assert not (checkout / ".venv").exists()


def test_an_unknown_machine_is_shown_every_command(checkout: Path, tools: Path) -> None:
    result = setup(checkout, tools)
    assert [name for name in MANAGERS if name.removesuffix("-get") not in result.stderr] == []


def test_an_old_python_is_not_taken(checkout: Path, tools: Path) -> None:
    provide(tools, "git", "exit 0")
    provide(tools, "python3", "exit 1")
    result = setup(checkout, tools)
    assert result.returncode == 1
    assert "Python 3.11 or newer is missing" in result.stderr
    assert "git is missing" not in result.stderr


def test_a_python_without_venv_is_named_with_its_version(checkout: Path, tools: Path) -> None:
    provide(tools, "git", "exit 0")
    provide(tools, "apt-get", "exit 0")
    provide(tools, "python3", f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"')
    result = setup(checkout, tools)
    assert result.returncode == 1
    wanted = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert f"apt-get install -y {wanted}" in result.stderr
    assert not (checkout / ".venv").exists()


def test_the_newest_working_python_is_taken(checkout: Path, tools: Path) -> None:
    provide(tools, "git", "exit 0")
    provide(tools, "python3.14", "exit 127")  # a version manager's shim of a version that is not installed
    provide(tools, "python3.13", f'case "$1$2" in -m*) echo "took 3.13" >&2; exit 9;; esac; exec {sys.executable} "$@"')
    provide(tools, "python3", "exit 8")
    assert "took 3.13" in setup(checkout, tools).stderr


def test_where_the_checkout_lies_is_written_without_its_path() -> None:
    """Python reads these files in the encoding of the locale: with LC_ALL=C an umlaut would keep it from starting."""
    folder = Path(sysconfig.get_path("purelib"))
    ours = [line for file in folder.glob("_perdure.pth") for line in file.read_text().splitlines()]
    assert [(folder / line).resolve() for line in ours] == [ROOT], "`make setup` writes it"
    assert str(ROOT) not in ours
