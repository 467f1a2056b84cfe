"""The environment of the tests: nothing of the developer's gets in, nothing that a test started stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conditions, processes

ROOT = Path(__file__).resolve().parents[2]


def test_git_knows_nothing_of_the_developer(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "empty")
    assert git("log", "--format=%an <%ae>").strip() == "Perdure Tests <tests@perdure.invalid>"
    assert git("branch", "--show-current").strip() == "main"
    assert {line.split("=")[0] for line in git("config", "--list", "--global").splitlines()} == set()


def test_the_home_is_empty_and_of_this_test_alone(home: Path) -> None:
    assert os.environ["HOME"] == str(home)
    assert list(home.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are read from /proc")
def test_children_are_seen_while_they_live(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in {one.pid for one in processes.children()}
        conditions.eventually(
            lambda: child.pid in {one.pid for one in processes.with_environment("HOME", str(home))},
            message="the child is not found by its environment",
        )
        child.communicate()
    assert child.pid not in {one.pid for one in processes.children()}


NO_GRACE = """
from tests import conftest

conftest.GRACE = 0.1
"""

CHILD = """
import subprocess, sys
from pathlib import Path

def test_leaves_a_child():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    Path({pids!r}).write_text(str(child.pid))
    KEPT.append(child)

KEPT = []
"""

DETACHED = """
import subprocess, sys
from pathlib import Path

SCRIPT = '''
import os, pathlib, time
if os.fork() == 0:
    os.setsid()
    pathlib.Path({pids!r}).write_text(str(os.getpid()))
    time.sleep(600)
while not pathlib.Path({pids!r}).exists():
    pass
'''

def test_leaves_a_detached_process():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are read from /proc")
@pytest.mark.parametrize("text", [CHILD, DETACHED], ids=["child", "detached"])
def test_a_process_left_behind_fails_the_test_and_is_ended(text: str, tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    planted = tmp_path / "test_planted.py"
    planted.write_text(NO_GRACE + text.format(pids=str(pids)))
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", str(planted)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "--rootdir=" + str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"the test left processes behind: {pids.read_text()} (" in result.stdout
    conditions.eventually(lambda: not Path("/proc", pids.read_text(), "environ").exists(), message="it still lives")
