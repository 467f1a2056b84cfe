"""One git process, and what becomes of it when this one is told to end."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator

import pytest

from reconciler import errors
from reconciler.seams.git import process


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that were started."""
    found: list[subprocess.Popen[bytes]] = []
    start = process._start

    def noted(*arguments: object, **more: object) -> subprocess.Popen[bytes]:
        found.append(start(*arguments, **more))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(process, "_start", noted)
    yield found
    assert all(one.returncode is not None for one in found)


@pytest.mark.parametrize("late", [False, True], ids=["before its thread runs", "once its thread runs"])
def test_told_to_end_while_the_timer_is_started_it_leaves_neither_git_nor_a_thread(
    begun: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    before = threading.enumerate()

    class Interrupted(threading.Timer):
        def start(self) -> None:
            if late:
                super().start()
            raise KeyboardInterrupt

    monkeypatch.setattr("threading.Timer", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.run(["hash-object", "--stdin"], dict(os.environ), timeout=600)
    assert len(begun) == 1
    assert threading.enumerate() == before


def test_a_timer_keeps_no_process_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[threading.Timer] = []

    class Noted(threading.Timer):
        def start(self) -> None:
            made.append(self)
            super().start()

    monkeypatch.setattr("threading.Timer", Noted)
    assert process.run(["--version"], dict(os.environ)).code == 0
    assert [one.daemon for one in made] == [True]


def test_where_git_cannot_be_started_that_is_trouble_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is short of memory for a moment must not end a loop."""
    process.require()

    def refused(*_given: object, **_more: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(errors.Unavailable, match="temporarily unavailable"):
        process.run(["--version"], dict(os.environ))
    with pytest.raises(errors.Unavailable), process.conversation(["cat-file", "--batch"], dict(os.environ)):
        pass
