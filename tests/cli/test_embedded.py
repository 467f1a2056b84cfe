"""The agent in the loop's process: what becomes of the process when its agent fails."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.site import PERDURE, Site

BROKEN = """
import sys
from agent import loop as agents
from reconciler.cli import main

def tick(_):
    raise ValueError("odd")

agents.Agent.tick = tick
sys.exit(main.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("once", [True, False], ids=["once", "loop"])
def test_a_defect_of_the_agent_ends_the_process(site: Site, once: bool) -> None:
    """Nobody would speak for the host any more, and the next start loses nothing."""
    site.job()
    site.push()
    given = site.arguments("reconcile", *(["--once"] if once else []))[len(PERDURE) :]
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, *given], capture_output=True, text=True, timeout=120, check=False, cwd=site.root
    )
    assert done.returncode == 2
    assert "internal error: ValueError: odd" in done.stderr
