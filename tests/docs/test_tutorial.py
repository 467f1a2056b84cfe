"""The tutorial is run as it is written, block by block."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import programs
from tests.docs import pages, session

TOOLS = ("git", "sh", "nice", "cat", "cp", "grep", "mkdir", "rm", "sed", "tail")
"""All programs of the machine that it may know: those that README asks for, and what no machine lacks."""

TUTORIAL = pages.ROOT / "docs" / "tutorial" / "first-steps.md"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that jobs can pass through: where the agent is root, they run as another user."""
    made = Path(tempfile.mkdtemp(prefix="perdure-tutorial-"))
    made.chmod(0o755)
    yield made
    _end_below(made)
    shutil.rmtree(made)


@pytest.fixture
def tools(folder: Path) -> Path:
    """A PATH with nothing on it that a small machine lacks."""
    return programs.only(folder / "tools", TOOLS)


def test_the_tutorial_runs_as_it_is_written(folder: Path, tools: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(folder), "PATH": f"{Path(sys.executable).parent}:{tools}"}
    shell = session.Session(folder, pages.ROOT, environment, {"7443": str(_free_port())})
    try:
        blocks = pages.blocks(TUTORIAL)
        for block, following in zip(blocks, (*blocks[1:], None), strict=True):
            if "run" in block.options:
                shell.perform(block, following if following and "output" in following.options else None)
            elif "file" in block.options:
                shell.write(block, folder / "first-steps" / "jobs")
    except AssertionError as error:
        for log in sorted((folder / "first-steps").glob("*.log")):
            error.add_note(f"{log.name}:\n{log.read_text(errors='replace')[-2000:]}")
        raise
    finally:
        shell.close()
    assert not (folder / "first-steps").exists(), "the tutorial cleans up after itself"


def test_every_output_block_follows_a_block_that_runs() -> None:
    for page in pages.pages():
        before: pages.Block | None = None
        for block in pages.blocks(page):
            if "output" in block.options:
                assert before is not None, block.where
                assert "run" in before.options, block.where
            before = block


def test_a_missing_line_is_noticed() -> None:
    assert session.unmatched("train  running … Running\n", "JOB\ntrain running   3/9    Running\n") == ""
    assert session.unmatched("b\na\n", "a\nb\n") == "a"


def _free_port() -> int:
    """Return a port that is free together with the one after it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


def _end_below(folder: Path) -> None:
    """End what a tutorial that has failed left running: everything that was started with a path below the folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
