"""Lint, strict types and warnings as errors: each tool, with the project's own settings, refuses a planted violation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = str(ROOT / "pyproject.toml")
HEADER = '"""A planted module."""\n\nfrom __future__ import annotations\n'


def tool(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, input=text, check=False, capture_output=True, text=True, timeout=300
    )


LINT = {
    "unused_import": ("F401", HEADER + "\nimport json\n"),
    "no_docstring": ("D100", "from __future__ import annotations\n"),
    "blind_except": ("BLE001", HEADER + "\ntry:\n    x = 1\nexcept Exception:\n    x = 2\n"),
    "no_future_import": ("I002", '"""A planted module."""\n\nx = 1\n'),
    "relative_import": ("TID252", HEADER + "\nfrom . import model\n\nx = model\n"),
    "long_line": ("E501", HEADER + "\n# " + "long " * 40 + "\n"),
}


@pytest.mark.parametrize(("code", "text"), LINT.values(), ids=LINT)
def test_lint_refuses(code: str, text: str) -> None:
    result = tool("ruff", "check", "--no-cache", "--stdin-filename", "reconciler/core/planted.py", "-", text=text)
    assert result.returncode == 1
    assert code in result.stdout


def test_format_refuses() -> None:
    settings = ("--no-cache", "--stdin-filename", "reconciler/core/planted.py")
    assert tool("ruff", "format", "--check", *settings, "-", text=HEADER + "\nx = 'y'\n").returncode == 1
    assert tool("ruff", "format", "--check", *settings, "-", text=HEADER + '\nx = "y"\n').returncode == 0


def test_types_refuse(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def untyped(x):\n    return x\n\n\ny: int = 'text'\n\n\ndef bare() -> list:\n    return []\n")
    result = tool("mypy", "--config-file", SETTINGS, "--cache-dir", str(tmp_path / "cache"), str(planted))
    assert result.returncode == 1
    assert [code for code in ("no-untyped-def", "assignment", "type-arg") if f"[{code}]" not in result.stdout] == []


PLANTED = """
import os, threading, warnings
import pytest

def test_warns():
    warnings.warn("planted", stacklevel=1)

def test_leaves_a_file_open():
    open(os.devnull)

def test_loses_an_error_in_a_thread():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()

@pytest.mark.xfail
def test_is_expected_to_fail_and_does_not():
    pass
"""


def test_warnings_are_errors(tmp_path: Path) -> None:
    (tmp_path / "test_planted.py").write_text(PLANTED)
    result = tool("pytest", "-c", SETTINGS, "--rootdir", str(tmp_path), "-p", "no:cacheprovider", str(tmp_path))
    assert "4 failed" in result.stdout
    assert "passed" not in result.stdout


def test_an_unknown_marker_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_planted.py").write_text("import pytest\n\n@pytest.mark.slowly\ndef test_x(): pass\n")
    result = tool("pytest", "-c", SETTINGS, "--rootdir", str(tmp_path), "-p", "no:cacheprovider", str(tmp_path))
    assert result.returncode == 2
    assert "'slowly' not found" in result.stdout
