"""What the running loop knows of the hosts between two passes."""

from __future__ import annotations

import threading
from pathlib import Path

from reconciler import config
from reconciler.cli import bell, running
from reconciler.core import observed
from reconciler.seams import clock


class Meanwhile(threading.Event):
    """Is set by somebody else right after it was looked at."""

    def is_set(self) -> bool:
        before = super().is_set()
        self.set()
        return before


def test_what_a_host_says_while_it_is_looked_for_is_found_the_next_time(tmp_path: Path) -> None:
    given = config.Settings(data=str(tmp_path / "data"), source=config.SourceSettings(repository=str(tmp_path)))
    here = running.Running(given, clock.System(), bell.Bell())
    here._changed = Meanwhile()
    assert not here.hosts_changed()
    assert here.hosts_changed()


def test_a_state_that_differs_is_a_change_once(tmp_path: Path) -> None:
    given = config.Settings(data=str(tmp_path / "data"), source=config.SourceSettings(repository=str(tmp_path)))
    here = running.Running(given, clock.System(), bell.Bell())
    here.board.connect("berlin").hear(observed.HostState(host="berlin"))
    assert [here.hosts_changed(), here.hosts_changed()] == [True, False]
