"""The agent in the loop's process: what becomes of the process when its agent fails."""

from __future__ import annotations

import pytest

from agent import loop as agents
from reconciler.cli import main
from tests.cli.site import PERDURE, Site


@pytest.mark.parametrize("once", [True, False], ids=["once", "loop"])
def test_a_defect_of_the_agent_ends_the_process(
    site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], once: bool
) -> None:
    """Nobody would speak for the host any more, and the next start loses nothing."""
    site.job()
    site.push()

    def broken(_: agents.Agent) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(agents.Agent, "tick", broken)
    given = site.arguments("reconcile", *(["--once"] if once else []))
    assert main.run(given[len(PERDURE) :]) == 2
    assert "internal error: ValueError: odd" in capfd.readouterr().err
