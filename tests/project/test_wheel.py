"""An installed wheel has the same data files as a checkout, and nothing else on the top level."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from importlib import resources
from pathlib import Path

import pytest

from reconciler import data

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("schemas", "templates", "examples")

LIST_INSTALLED = """
import sys
from importlib import resources
from reconciler import data
def files(folder, prefix):
    for entry in folder.iterdir():
        name = prefix + "/" + entry.name
        if entry.is_dir():
            yield from files(entry, name)
        else:
            yield name, len(entry.read_bytes())
for name in sys.argv[1:]:
    for path, size in files(resources.files(data) / name, name):
        print(path, size)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


def build(project: Path, into: Path) -> Path:
    """Builds a wheel of a checkout or a source archive, with nothing from outside."""
    run("-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(into), str(project))
    return next(into.glob("perdure-*.whl"))


def run(*arguments: str, python: str = sys.executable, folder: Path = ROOT) -> str:
    result = subprocess.run([python, *arguments], cwd=folder, check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def in_checkout() -> list[str]:
    return sorted(
        f"{path.relative_to(ROOT)} {path.stat().st_size}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )


def test_the_top_level_is_the_two_packages(wheel: Path) -> None:
    roots = {name.split("/")[0] for name in names(wheel)}
    assert {name for name in roots if not name.endswith(".dist-info")} == {"reconciler", "agent"}


def test_an_installed_wheel_reads_the_same_data_files(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    python = str(environment / "bin" / "python")
    run("-m", "pip", "--python", python, "install", "--quiet", "--no-compile", "--no-index", "--no-deps", str(wheel))
    installed = run("-I", "-c", LIST_INSTALLED, *FOLDERS, python=python, folder=tmp_path)
    assert sorted(installed.splitlines()) == in_checkout()


def test_a_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    run("-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path))
    assert names(build(next(tmp_path.glob("perdure-*.tar.gz")), tmp_path)) == names(wheel)


def test_the_installed_version_is_the_one_of_the_sources(wheel: Path) -> None:
    assert wheel.name.split("-")[1] == run("-c", "import reconciler; print(reconciler.__version__)").strip()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_checkout_reads_the_folders_at_the_root(folder: str) -> None:
    found = resources.files(data) / folder
    assert found.is_dir()
    assert {entry.name for entry in found.iterdir()} == {entry.name for entry in (ROOT / folder).iterdir()}
