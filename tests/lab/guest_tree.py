"""What a guest is given of this machine: the checkout, compiled, and its interpreter, each to lie there at its own path."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from tests.lab.lab import CHECKOUT, ours

PACKAGES = Path(sysconfig.get_path("purelib"))
LEFT_OUT = {
    CHECKOUT: {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__"},
    Path(sys.base_prefix): {"include", "share"},
    Path(sysconfig.get_path("stdlib")): {"dist-packages", "idlelib", "lib2to3", "site-packages", "test", "tkinter"},
    PACKAGES: {"botocore", "grpc_tools", "mypy", "mypyc", "pip", "ruff", "setuptools"},
}
"""What no test in a guest needs, by the folder in which it lies: two thirds of the whole."""

LAID = """
while read -r path; do
    if [ -d "/given/tree$path" ]; then mkdir -p "$path"; else mkdir -p "${path%/*}" && : >> "$path"; fi
    mount --bind "/given/tree$path" "$path"
done < /given/paths
"""
"""The beginning of a script that finds them there."""


def lay(folder: Path) -> dict[str, str | Path]:
    """Fills a folder; answers what `Guest.run` is to give."""
    paths = ours()
    for path in paths:
        _copy(path, folder / "tree" / str(path).lstrip("/"))
    environment = Path(sys.prefix)
    if environment.is_relative_to(CHECKOUT):
        _copy(environment, folder / "tree" / str(environment).lstrip("/"))
    return {"tree": folder / "tree", "paths": "".join(f"{path}\n" for path in paths)}


def _copy(source: Path, target: Path) -> None:
    if not source.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        return
    shutil.copytree(source, target, symlinks=True, ignore=_ignored, dirs_exist_ok=True)
    if source == CHECKOUT:  # emulated, it would take half a minute, and each process again
        command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        subprocess.run([*command, "-s", str(target), "-p", str(source), str(target)], check=True, capture_output=True)


def _ignored(folder: str, names: Iterable[str]) -> set[str]:
    left_out = LEFT_OUT.get(Path(folder), set())
    packages = Path(folder) == PACKAGES
    return {name for name in names if name in left_out or name.startswith("config-") or (packages and "mypyc" in name)}
