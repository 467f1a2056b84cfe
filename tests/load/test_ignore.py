"""`.perdureignore` hides what Git would ignore by the same lines."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from reconciler.load.ignore import Ignore

PATHS = [
    "a.yaml",
    "b.yaml",
    "#x.yaml",
    "!x.yaml",
    "dir/a.yaml",
    "dir/deep/a.yaml",
    "dir/deep/keep.yaml",
    "other/dir/a.yaml",
    "other/x/dir/c.yaml",
    "deploy/helm/templates/x.yaml",
    "x1.yaml",
    "x-.yaml",
    "x].yaml",
    "a b.yaml",
    "star*.yaml",
    "end ",
    "odd[",
    "odd\\",
    "bell\x0bb.yaml",
]

LINES = [
    "*.yaml",
    "/a.yaml",
    "dir",
    "dir/",
    "/dir",
    "dir/a.yaml",
    "**/dir",
    "dir/**",
    "other/**/c.yaml",
    "deploy/*/templates",
    "deploy/*",
    "x?.yaml",
    "x[0-9].yaml",
    "x[!0-9].yaml",
    "x[]].yaml",
    "# a comment\n\n",
    "\\#x.yaml",
    "\\!x.yaml",
    "star\\*.yaml",
    "a b.yaml   ",
    "end\\ ",
    "*.yaml\n!keep.yaml",
    "dir\n!dir/deep/keep.yaml",
    "dir/*\n!dir/deep\n",
    "a.yaml/",
    "[",
    "**",
    "a**.yaml",
    "dir/**/keep.yaml",
    "*a*b*",
    "d*e*p/*e*.y*l",
    "**/d*r/**/k*p*.yaml",
    "o*r/**/d*r/**",
    "x*[0-9]*.yaml",
    "*.*.*",
    "x[]&&~~||^[-].yaml",
    "x[!--a].yaml",
    "x[+--].yaml",
    "x[[:digit:]].yaml",
    "x[^[:digit:][:alpha:]].yaml",
    "[[:upper:]",
    "x[[:number:]].yaml",
    "x[1-].yaml",
    "x[9-0].yaml",
    "x[\\]].yaml",
    "x[0\\-9].yaml",
    "x[a-",
    "odd[",
    "odd[\\]",
    "odd\\",
    "odd\\\\ ",
    "end\\  ",
    "x1.yaml\r\nb.yaml\r",
    "\ufeffa.yaml",
    "bell\x0bb.yaml",
]


@pytest.mark.parametrize("lines", LINES)
def test_the_verdict_is_that_of_git(lines: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / ".gitignore").write_text(lines + "\n")
    command = ["git", "-C", str(tmp_path), "ls-files", "-z", "--others", "--exclude-standard"]
    seen = set(subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0"))
    ours = Ignore(lines + "\n")
    assert {path for path in PATHS if not ours.hides(path)} == {path for path in PATHS if path in seen}


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("*a" * 60 + "b", "a" * 250),
        ("**/a*a*/" * 30 + "b", "aa/" * 80 + "a"),
        ("a/**/" * 30 + "b", "a/" * 100 + "a"),
        ("*/" * 90 + "b", "a/" * 100 + "a"),
    ],
)
def test_no_line_takes_longer_than_anybody_waits(line: str, path: str) -> None:
    before = time.process_time()
    assert not Ignore(line).hides(path)
    assert time.process_time() - before < 1


def test_without_lines_nothing_is_hidden() -> None:
    assert not Ignore().hides("a/b.yaml")
